"""The checks of lab 03, and what only they need."""

from helpers.checks.lab03.exercises import lab

__all__ = ["lab"]
