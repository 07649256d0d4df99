"""The checks of lab 05, and what only they need."""

from helpers.checks.lab05.exercises import lab

__all__ = ["lab"]
