"""The checks of lab 02, and what only they need."""

from helpers.checks.lab02.exercises import lab

__all__ = ["lab"]
