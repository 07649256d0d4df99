"""Whether a function spreads names over n streams, always and everywhere in the same way."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from helpers.checks.verdict import Wrong

WEATHER = "lab03:weather:"
FEWEST = 0.3  # of its fair share, what a stream has at least
TAMIL_NADU = """
ambur arakkonam ariyalur arni avadi bhavani chengalpattu chennai chidambaram coimbatore
coonoor cuddalore dharmapuri dindigul erode gudiyatham hosur kallakurichi kanchipuram
karaikudi karur kovilpatti krishnagiri kumbakonam madurai mannargudi mayiladuthurai
nagapattinam nagercoil namakkal ooty palani pattukkottai perambalur pollachi pudukkottai
rajapalayam ramanathapuram ranipet salem sivaganga sivakasi tambaram tenkasi thanjavur
theni thoothukudi tindivanam tiruchengode tiruchirappalli tirunelveli tirupathur tiruppur
tiruttani tiruvallur tiruvannamalai tiruvarur udumalaipettai vaniyambadi vellore viluppuram
virudhachalam virudhunagar
"""
TOWNS = TAMIL_NADU.split()
STATIONS = [f"chennai-{number}" for number in range(100, 400)]

Chosen = dict[tuple[str, int], Any]  # what was answered for a city and n


@contextmanager
def hash_seed(seed: int) -> Iterator[None]:
    """Begin processes whose `hash()` differs, even where the environment has fixed it."""
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = str(seed)
    try:
        yield
    finally:
        del os.environ["PYTHONHASHSEED"]
        if before is not None:
            os.environ["PYTHONHASHSEED"] = before


def expect_names(chosen: Chosen) -> None:
    """Each is one of the n streams."""
    for (city, n), got in chosen.items():
        if got in [f"{WEATHER}{k}" for k in range(n)]:
            continue
        hint = f"Return the name of a stream, such as `{WEATHER}0`: `f'{WEATHER}{{…}}'`."
        if str(got).startswith(WEATHER) and not str(got).removeprefix(WEATHER).isdecimal():
            hint = f"The name is `{WEATHER}` and one number from 0 on, and nothing more."
        elif str(got).startswith(WEATHER):
            hint = f"There are {n} streams here: the number is one of 0 to `n - 1`."
        raise Wrong(
            hint,
            expected=f"`{city}`, {n}: `{WEATHER}0`" + (f" to `{WEATHER}{n - 1}`" if n > 1 else ""),
            instead=got,
        )


def expect_same(chosen: Chosen, other: Chosen, hint: str) -> None:
    """Asked once more, the function has said the same."""
    for (city, n), got in chosen.items():
        if other[city, n] != got:
            raise Wrong(
                hint,
                expected=f"`{city}` always on one stream",
                found=f"`{got}`, then `{other[city, n]}`",
            )


def expect_spread(cities: Sequence[str], chosen: Chosen, n: int) -> None:
    """No stream has next to nothing; a good hash of so many names passes all but surely."""
    counts = Counter(chosen[city, n] for city in cities)
    fewest = min(counts[f"{WEATHER}{k}"] for k in range(n))
    if cities is TOWNS and len(counts) < n:
        raise Wrong(
            f"Of {n} streams only {len(counts)} get cities. `number % n` can be each of 0 to "
            "`n - 1`.",
            expected=f"cities on all {n} streams",
            found=", ".join(sorted(counts)),
        )
    if fewest < FEWEST * len(cities) / n:
        raise Wrong(
            "One worker would have next to nothing to do. Names may have the same length and "
            "begin or end alike: let every letter count, as a checksum does, and all `n` streams.",
            expected=f"{len(cities)} names spread over {n} streams, about {len(cities) // n} each",
            found=", ".join(str(counts[f"{WEATHER}{k}"]) for k in range(n)),
        )
