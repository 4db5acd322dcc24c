"""What became of a signal once its life is over, told from the bars of that life alone.

One minute's bar does not say in which order its prices came. Every doubt is decided against the signal:

- The life is the bars that open at or after `issued_at` and close by `expires_at`.
- **Fill.** A limit order is filled, at its own price, in the first bar that reaches it. Two orders are followed: one at
  the end of the entry range that is the worst fill (sizes are computed there, so this is *the* outcome), and one at the
  published entry, the best fill.
- **Stop.** From the bar of the fill on: a bar that reaches the stop closes the position there, or at its open where that
  is already worse. A bar that reaches stop and target counts as stopped.
- **Target.** Closes at the target, never better. In the bar of the fill it counts only when that bar opened at the limit
  or better, because otherwise the target may have been reached before the fill.
- **Expiry.** What is open after the last bar of the life is closed at that bar's close; what is not filled by then lapses.
- **Unknown.** A hole in the bars before anything of this was decided.

What does not belong here: the label of the signal's bar and the figures over many signals (scoring.py).
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, FiniteFloat

from models_lib.candles.schema import BAR_MS
from models_lib.runtime.moments import from_ms, to_ms
from models_lib.signals.signal import Signal

Floats = NDArray[np.float64]
Ending = Literal["not_filled", "stop", "target", "expired", "unknown"]
ClassName = Literal["DOWN", "NEUTRAL", "UP"]
_BP: Final = 1e4


class Candles(NamedTuple):
    """Closed bars of one symbol as columns, sorted by time; a missing minute is a hole. Views of the window will do."""

    times_ms: NDArray[np.int64]
    """Open times."""
    opens: Floats
    high: Floats
    low: Floats
    close: Floats

    def part(self, first: int, last: int) -> "Candles":
        """Rows first to last - 1."""
        rows = slice(first, last)
        return Candles(self.times_ms[rows], self.opens[rows], self.high[rows], self.low[rows], self.close[rows])


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Position(_Said):
    """What came of one limit order."""

    ending: Ending
    limit: FiniteFloat
    """Price of the order, and of its fill."""
    filled_at: AwareDatetime | None = None
    """Close time of the bar that filled it."""
    ended_at: AwareDatetime | None = None
    """Close time of the bar that ended it; None while nothing was filled."""
    exit: FiniteFloat | None = None
    """Price at which the position was closed."""
    r: FiniteFloat | None = None
    """Result in units of the risk between fill and stop, before costs."""
    r_after_costs: FiniteFloat | None = None
    bp: FiniteFloat | None = None
    """Result in basis points of the fill, before costs."""
    bp_after_costs: FiniteFloat | None = None


class Outcome(_Said):
    """What became of one signal."""

    number: int
    """Running number of the signal."""
    worst: Position
    """Filled at the worst end of the entry range: the outcome."""
    best: Position
    """Filled at the published entry."""
    costs_bp: FiniteFloat
    """Of a round trip, as the bundle's evaluation takes them."""
    label: ClassName | None = None
    """The label of the signal's bar; None where a hole makes it unknowable."""
    hit: bool | None = None
    """Whether the label is the class that was called."""


def positions(signal: Signal, candles: Candles, *, costs_bp: float) -> tuple[Position, Position] | None:
    """What came of the order at the worst fill and of the one at the published entry.

    Args:
        signal: its life should be over by the newest bar.
        candles: bars up to now.
        costs_bp: of a round trip.

    Returns:
        Both positions; None while the bars may still decide.
    """
    wanted = (to_ms(signal.expires_at) - to_ms(signal.issued_at)) // BAR_MS
    life, whole = _life(to_ms(signal.issued_at), wanted, candles)
    ends = [_follow(signal, float(limit), life, costs_bp) for limit in (signal.worst_entry, signal.entry)]
    if not whole:
        undecided = [end.ending in {"not_filled", "expired"} for end in ends]
        if any(undecided) and len(candles.times_ms) and candles.times_ms[-1] < to_ms(signal.expires_at) - BAR_MS:
            return None
        ends = [
            Position(ending="unknown", limit=end.limit) if lacks else end
            for end, lacks in zip(ends, undecided, strict=True)
        ]
    return ends[0], ends[1]


def _life(issued_ms: int, wanted: int, candles: Candles) -> tuple[Candles, bool]:
    """The bars of the life up to the first hole, and whether these are all of them."""
    first = int(np.searchsorted(candles.times_ms, issued_ms))
    found = candles.times_ms[first : first + wanted]
    expected = issued_ms + BAR_MS * np.arange(found.size)
    holes = np.flatnonzero(found != expected)
    bars = int(holes[0]) if holes.size else found.size
    return candles.part(first, first + bars), bars == wanted


class _Bar(NamedTuple):
    """A bar seen from a LONG position: for SHORT every price is negative, and high and low change places."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float


def _follow(signal: Signal, limit: float, life: Candles, costs_bp: float) -> Position:
    """One order through the bars of its life."""
    side = 1.0 if signal.direction == "LONG" else -1.0
    bars = _seen_from(side, life)
    stop, target = side * float(signal.stop), side * float(signal.target)
    filled = next((place for place, bar in enumerate(bars) if bar.low <= side * limit), None)
    if filled is None:
        return Position(ending="not_filled", limit=limit)
    ending, leaves, last = _first_exit(bars[filled:], side * limit, stop, target)
    gain = leaves - side * limit
    cost = costs_bp / _BP * limit
    risk = side * limit - stop
    return Position(
        ending=ending,
        limit=limit,
        filled_at=from_ms(bars[filled].open_ms + BAR_MS),
        ended_at=from_ms(last.open_ms + BAR_MS),
        exit=side * leaves,
        r=gain / risk,
        r_after_costs=(gain - cost) / risk,
        bp=gain / limit * _BP,
        bp_after_costs=gain / limit * _BP - costs_bp,
    )


def _seen_from(side: float, life: Candles) -> list[_Bar]:
    columns = life.times_ms, life.opens, life.high, life.low, life.close
    rows = zip(*(column.tolist() for column in columns), strict=True)
    if side > 0:
        return [_Bar(*row) for row in rows]
    return [_Bar(time, -opens, -low, -high, -close) for time, opens, high, low, close in rows]


def _first_exit(bars: Sequence[_Bar], limit: float, stop: float, target: float) -> tuple[Ending, float, _Bar]:
    """How, at which price and in which bar a LONG position ends that was filled in the first of these bars."""
    for place, bar in enumerate(bars):
        if bar.low <= stop:
            return "stop", min(stop, bar.open), bar
        if bar.high >= target and (place > 0 or bar.open <= limit):
            return "target", target, bar
    return "expired", bars[-1].close, bars[-1]
