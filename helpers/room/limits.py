"""How much one seat or one address may ask: budgets that fill up again."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable


class Budget:
    """So much at once, and so much more each second."""

    __slots__ = ("_clock", "_filled_at", "_left", "most", "per_s")

    def __init__(
        self, most: float, per_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most, self.per_s, self._clock = most, per_s, clock
        self._left, self._filled_at = most, clock()

    @property
    def left(self) -> float:
        """What may be spent now."""
        now = self._clock()
        self._left = min(self.most, self._left + (now - self._filled_at) * self.per_s)
        self._filled_at = now
        return self._left

    def allows(self, cost: float) -> bool:
        """Whether so much may be spent; nothing is."""
        return self.left >= min(cost, self.most)

    def spend(self, cost: float = 1) -> bool:
        """Spend so much if it is there."""
        allowed = self.allows(cost)
        if allowed:
            self._left -= cost
        return allowed

    def wait_s(self, cost: float = 1) -> int:
        """In how many whole seconds, at least one, so much will be there."""
        return 1 + int(max(0.0, min(cost, self.most) - self.left) / self.per_s)


class Budgets:
    """A budget for each address, of those heard of last."""

    def __init__(self, most: float, per_s: float, *, kept: int = 10_000) -> None:
        self._new, self._kept = (most, per_s), kept
        self._of: OrderedDict[str, Budget] = OrderedDict()

    def of(self, address: str) -> Budget:
        """The budget of an address."""
        budget = self._of.setdefault(address, Budget(*self._new))
        self._of.move_to_end(address)
        if len(self._of) > self._kept:
            self._of.popitem(last=False)
        return budget
