"""What shadow checks know of one cascade: how often it answered otherwise than the full committee would have.

The lower bound is Clopper-Pearson's, one-sided and exact. It is looked at again and again while checks come in, and a
bound that holds once at 99 % is broken sooner or later when it is tried often enough. So it is worked out at growing
counts only, and look `k` gets the share `LEVEL / (k (k + 1))` of the level: over all looks ever, the chance that a
cascade which keeps its promise is accused is at most `LEVEL`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from service.pipeline.cascade.learn_then_test import lower_bound

LEVEL: Final = 0.01
"""Of a false alarm about one version of one cascade, ever."""

FIRST_LOOK: Final = 10
"""Checks before the bound is worked out for the first time."""

GROWTH: Final = 1.2
"""From look to look: an alarm comes at most a fifth later than it could, and there are few looks to share the level."""


@dataclass(slots=True)
class Tally:
    """Counts of one cascade, whose promise is about the share `epsilon`. `lower_bound` is that of the last look."""

    epsilon: float
    checked: int = 0
    disagreements: int = 0
    lower_bound: float = 0.0
    _looks: int = 0
    _next_look: int = FIRST_LOOK
    _alerted: bool = False

    @property
    def observed(self) -> float:
        """Share of the checked answers that were not the full committee's; 0 before the first."""
        return self.disagreements / max(1, self.checked)

    @property
    def excess(self) -> float:
        """By how much the promise is broken at the least; not positive while nothing speaks against it."""
        return self.lower_bound - self.epsilon

    @property
    def alert(self) -> bool:
        """Whether more disagree than promised, as of the last look."""
        return self.excess > 0

    def count(self, *, agrees: bool) -> bool:
        """Take in one check; True when it is the one that raises the first alert."""
        self.checked += 1
        self.disagreements += not agrees
        if self.checked >= self._next_look:
            self._look()
        began = self.alert and not self._alerted
        self._alerted |= began
        return began

    def _look(self) -> None:
        self._looks += 1
        self._next_look = math.ceil(self.checked * GROWTH)
        level = LEVEL / (self._looks * (self._looks + 1))
        self.lower_bound = lower_bound(self.disagreements, self.checked, level)
