"""Compare what a learner predicts with what the server does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from numbers import Number
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
        reason = f"{why[case][:1].upper()}{why[case][1:]}."
        _expect_kind(case, said, right, reason)
        if said != right:
            raise Wrong(reason, expected=f"`{case}`: {right}", instead=said)


def _expect_kind(case: str, said: Any, right: object, reason: str) -> None:
    """A number, or True or False, where the server's answer is one."""
    kind = "True or False" if isinstance(right, bool) else "a number"
    if isinstance(right, str) or isinstance(said, Number):
        return
    hint = f"Write {kind}. {reason}"
    if isinstance(said, str):
        hint = f"Write {kind}, without quotes: with quotes it's a string."
    elif isinstance(said, Sized):
        hint = f"Write {kind}, and not a {type(said).__name__}. {reason}"
    raise Wrong(hint, expected=f"`{case}`: {kind}", instead=said)


def choice_of(said: Any, choices: Sequence[str]) -> Any:
    """The choice that a learner names, whether in capitals or not; what is none as it is."""
    known = {one.casefold(): one for one in choices}
    return known.get(said.strip().casefold(), said) if isinstance(said, str) else said
