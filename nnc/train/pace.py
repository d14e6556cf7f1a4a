"""How many cycles go into one call of a backend that can run several at once.

Long calls leave less to the host between them; short ones let it react to signals and keep the
display alive.  What is computed does not depend on the cut.
"""

from __future__ import annotations

from dataclasses import dataclass

from nnc.train.runner import LONGEST

#: seconds that a call should take at most
CALL_SECONDS = 0.25


@dataclass
class Pace:
    """Begins with single cycles, since the first call also compiles."""

    count: int = 1

    def took(self, count: int, seconds: float) -> None:
        """Learn from a call of `count` cycles: twice as many if that fits, half if it was long."""
        if seconds > CALL_SECONDS:
            self.count = max(1, self.count // 2)
        elif count == self.count and 2 * seconds <= CALL_SECONDS:
            self.count = min(2 * self.count, LONGEST)
