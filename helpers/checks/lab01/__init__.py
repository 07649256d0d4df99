"""The checks of lab 01, and what only they need."""

from helpers.checks.lab01.exercises import lab

__all__ = ["lab"]
