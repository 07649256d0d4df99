"""The blank `____` of a lab: a value that stands for an answer not given yet."""

from __future__ import annotations


class Blank:
    """Stands where the learner's answer belongs. A check recognizes it."""

    def __repr__(self) -> str:
        return "____"


BLANK = Blank()
