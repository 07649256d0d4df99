"""The theatre of a cluster: its nodes, the parts of a stream on them, and who owns each part."""

from helpers.views.nodes.look import ClusterLook, PartLook, look, text
from helpers.views.nodes.widget import ClusterTheatre

__all__ = ["ClusterLook", "ClusterTheatre", "PartLook", "look", "text"]
