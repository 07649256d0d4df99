"""Compare what a learner predicts with what the server does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from helpers.checks.verdict import Wrong


def expect_predicted(
    predicted: Any, actual: Mapping[str, object], why: Mapping[str, str], keep: str
) -> None:
    """Make sure that a dict of predictions matches what the server did.

    Args:
        predicted: the learner's.
        actual: what the server did in each case.
        why: the reason for each; a sentence without its capital letter and full stop.
        keep: what the dict holds, for those who have changed it.

    Raises:
        Wrong: the first that differs.
    """
    if not isinstance(predicted, dict) or set(predicted) != set(actual):
        raise Wrong(f"Keep the dict in the form that the lab gives it: {keep}.")
    for case, right in actual.items():
        said = predicted[case]
        if isinstance(said, str) and not isinstance(right, str):
            raise Wrong(
                "Write it without quotes: with quotes it's a string, and a string never equals "
                "a number.",
                expected=f"`{case}`: a number",
                instead=said,
            )
        if said != right:
            reason = why[case]
            raise Wrong(
                f"{reason[:1].upper()}{reason[1:]}.", expected=f"`{case}`: {right}", instead=said
            )


def choice_of(said: Any, choices: Sequence[str]) -> Any:
    """The choice that a learner names, whether in capitals or not; what is none as it is."""
    known = {one.casefold(): one for one in choices}
    return known.get(said.strip().casefold(), said) if isinstance(said, str) else said
