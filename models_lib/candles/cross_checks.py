"""Whether fetched candles can be what the market did: held against a second exchange, their own past and themselves.

No check refuses anything: each gives its figure beside the limit, and an alarm where the figure is beyond it. What could
not be measured is said. Bars are never changed here.

What does not belong here: the rules that candles must satisfy (checks.py), and asking the exchanges.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models_lib.candles.bars import Bars
from models_lib.candles.schema import BAR_MS, VALUE_COLUMNS
from models_lib.config import ExchangeSection

FEWEST_COMMON_MINUTES: Final = 60
"""With fewer minutes that both have, nothing is said about them."""
FACTOR_BESIDE_SECOND: Final = 100.0
"""Two exchanges of the same coin differ in size, but hardly by more."""
FACTOR_BESIDE_PAST: Final = 20.0
"""A day beside the weeks before it; studied on real candles, see docs/market-data.md."""
_BP: Final = 1e4
_NEAR_PRICE: Final = 3.0
_NEAR_POWER: Final = 2.0
_POWERS: Final = tuple(k for k in range(-9, 10) if abs(k) > 1)
_CLOSE, _VOLUME = VALUE_COLUMNS.index("close"), VALUE_COLUMNS.index("volume")

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One figure beside its limit.

    Attributes:
        name: the same from night to night.
        value: what was measured; None: it was not.
        limit: the largest value without an alarm.
        alarm: whether somebody should look.
        words: the whole of it as a sentence, without the symbol.
    """

    name: str
    value: float | None
    limit: float
    alarm: bool
    words: str

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**vars(self)}


@dataclass(frozen=True)
class Checks:
    """All checks of one symbol, in a fixed order."""

    symbol: str
    checks: tuple[Check, ...]

    @property
    def alarms(self) -> tuple[Check, ...]:
        """Those beyond their limits."""
        return tuple(check for check in self.checks if check.alarm)

    def to_json(self) -> list[dict[str, Any]]:
        """As plain JSON values."""
        return [check.to_json() for check in self.checks]


def cross_check(
    symbol: str,
    first: Bars,
    second: Bars | None,
    past: Bars,
    section: ExchangeSection,
    *,
    changed: Sequence[int] | None = None,
) -> Checks:
    """Every check of the newest bars of one symbol.

    Args:
        symbol: whose.
        first: the newest bars of the archive, a day of them as a rule.
        second: what the second exchange says about the same minutes; None: it was not asked, or gave nothing.
        past: the archive's bars of the weeks before `first`.
        section: the exchanges' names and the limits.
        changed: open times in ms of stored bars that came back with other values; None: nothing was fetched twice.
    """
    raise NotImplementedError
