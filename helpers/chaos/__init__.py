"""Real failures: processes that are killed and paused, and a proxy that loses what passes.

Crew, start         functions and programs at work, in processes of their own
Proxy, Fault        lost replies, broken connections, commands that stand still
Distance            a server that is far away
SpareServer         a server that nobody else uses
LocalCluster        a Redis Cluster of real nodes, to be killed, cut off and moved
"""

from __future__ import annotations

from helpers.chaos.cluster import LocalCluster, Node, NodeStatus
from helpers.chaos.crew import Crew, course, start
from helpers.chaos.distance import Distance
from helpers.chaos.outcome import CLIENT, CannotTravel, Failure, Outcome, Returned, Unfinished
from helpers.chaos.process import Process
from helpers.chaos.proxy import LOSSES, Fault, Proxy
from helpers.chaos.running import Running
from helpers.chaos.spare import SpareServer

__all__ = [
    "CLIENT",
    "LOSSES",
    "CannotTravel",
    "Crew",
    "Distance",
    "Failure",
    "Fault",
    "LocalCluster",
    "Node",
    "NodeStatus",
    "Outcome",
    "Process",
    "Proxy",
    "Returned",
    "Running",
    "SpareServer",
    "Unfinished",
    "course",
    "start",
]
