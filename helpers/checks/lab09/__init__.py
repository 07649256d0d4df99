"""The checks of lab 09, and what only they need."""

from helpers.checks.lab09.exercises import lab
from helpers.checks.lab09.nodes import lab_cluster

__all__ = ["lab", "lab_cluster"]
