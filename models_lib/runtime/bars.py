"""The newest closed bars of one symbol, and what is no bar.

A source may give anything. `checked_bar` lets through what a bar can be; `BarWindow` takes one bar after the other and
refuses what does not follow. What is refused changes nothing in the window, except that the minutes in doubt are never
filled: they stay a hole, and the features start anew behind it.

Minutes in which nobody traded are missing in what exchanges give. When the next bar comes, a short run of them is filled
exactly as `models_lib.candles.fill` does for training: last close, no volume. A longer run is a hole.

What does not belong here: where bars come from, and what is said about a bar (decide.py).
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models_lib.candles.checks import LARGEST_PRICE, LARGEST_VOLUME
from models_lib.candles.schema import BAR_MS
from models_lib.errors import DataError
from models_lib.features import SERVING_BARS, WARM_UP_BARS
from models_lib.runtime.moments import from_ms
from models_lib.runtime.outcomes import Candles

_EARLIEST_MS: Final = 1_230_940_800_000  # 2009-01-03, the first block of Bitcoin, as in candles/checks.py
_LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01


class Bar(NamedTuple):
    """One closed minute."""

    open_ms: int
    """Open time, milliseconds since 1970 UTC."""
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def opens_at(self) -> datetime:
        """Open time, aware, UTC."""
        return from_ms(self.open_ms)

    @property
    def closes_at(self) -> datetime:
        """Open time plus one minute: from then on the bar is known."""
        return from_ms(self.open_ms + BAR_MS)


@dataclass(frozen=True)
class Hole:
    """Minutes without bars, behind which a segment started."""

    first_ms: int
    """Open time of the first missing minute."""
    minutes: int
    spoiled: bool
    """Whether something came for these minutes that was no bar: then they are not filled, however few."""

    def sentence(self) -> str:
        """How many minutes from when, and why they were not filled."""
        fact = f"{self.minutes:,} {'minute' if self.minutes == 1 else 'minutes'} from {from_ms(self.first_ms):%Y-%m-%dT%H:%MZ}"
        return f"{fact} came damaged" if self.spoiled else f"{fact} are missing"


def checked_bar(raw: object, *, now_ms: int | None = None) -> Bar:
    """What the source gave, when it can be a closed bar.

    Args:
        raw: should be (open time in ms, open, high, low, close, volume).
        now_ms: a bar that closes later than this is refused; None: not judged.

    Raises:
        DataError: it is no bar, and why.
    """
    if not isinstance(raw, list | tuple) or len(raw) != len(Bar._fields):
        raise DataError(
            f"a bar must be a list of {len(Bar._fields)} values ({', '.join(Bar._fields)}), was {_shown(raw)}"
        )
    open_ms, *values = raw
    if type(open_ms) is not int:
        raise DataError(f"the open time must be whole milliseconds, was {_shown(open_ms)}")
    for name, value in zip(Bar._fields[1:], values, strict=True):
        if type(value) not in {int, float}:
            raise DataError(f"{name} must be a number, was {_shown(value)}")
    _check_time(open_ms, now_ms)
    bar = Bar(open_ms, *(_float(value) for value in values))
    _check_values(bar)
    return bar


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an int of hundreds of digits
        return math.inf


def _check_time(open_ms: int, now_ms: int | None) -> None:
    if not _EARLIEST_MS <= open_ms < _LATEST_MS:
        raise DataError(f"the open time must lie between 2009 and 2100, was {open_ms} ms")
    if open_ms % BAR_MS:
        raise DataError(f"the bar opens at {from_ms(open_ms).isoformat()}, which is no whole minute")
    if now_ms is not None and open_ms + BAR_MS > now_ms:
        raise DataError(
            f"the bar closes at {from_ms(open_ms + BAR_MS):%Y-%m-%dT%H:%M:%SZ}, and it is only {from_ms(now_ms):%Y-%m-%dT%H:%M:%SZ}; "
            f"check this host's clock if that goes on"
        )


def _check_values(bar: Bar) -> None:
    """The rules of candles/checks.py, for one bar; comparisons are False for NaN."""
    for name in ("open", "high", "low", "close"):
        price = getattr(bar, name)
        if not 0.0 < price <= LARGEST_PRICE:
            raise DataError(f"{name} must be above zero and at most {LARGEST_PRICE:g}, was {price:g}")
    if not 0.0 <= bar.volume <= LARGEST_VOLUME:
        raise DataError(f"volume must be zero or more and at most {LARGEST_VOLUME:g}, was {bar.volume:g}")
    if bar.high < max(bar.open, bar.close, bar.low) or bar.low > min(bar.open, bar.close):
        raise DataError(
            f"high {bar.high:.10g} and low {bar.low:.10g} contradict open {bar.open:.10g} and close {bar.close:.10g}"
        )


class BarWindow:
    """The last bars of a symbol, filled ones included.

    Args:
        fill_no_trade_minutes: longest run of missing minutes that is filled; the one that the model was trained with.
    """

    def __init__(self, *, fill_no_trade_minutes: int) -> None:
        self._longest_fill = fill_no_trade_minutes
        self._stamps = np.zeros(2 * SERVING_BARS, dtype=np.int64)
        self._values = np.zeros((5, 2 * SERVING_BARS))
        self._stop = 0  # the newest bar is the column before; the window is the last SERVING_BARS columns
        self.in_doubt = False
        """Whether something came since the newest bar that was none: then minutes before the next one are not filled."""
        self.segment_bars = 0
        """Bars since the last hole; may be more than the window holds."""
        self.hole: Hole | None = None
        """The last hole; None when there was none."""
        self.filled_minutes = 0
        """Minutes without trades that were filled so far."""

    @property
    def last_ms(self) -> int | None:
        """Open time of the newest bar."""
        return int(self._stamps[self._stop - 1]) if self._stop else None

    @property
    def warm(self) -> bool:
        """Whether the newest bar has features."""
        return self.segment_bars > WARM_UP_BARS

    @property
    def missing_bars(self) -> int:
        """Bars without a hole that are wanting until the newest has features."""
        return max(0, WARM_UP_BARS + 1 - self.segment_bars)

    def newest(self, bars: int) -> tuple[NDArray[np.float64], ...]:
        """Open, high, low, close and volume of the newest bars of the segment: at most `bars`, contiguous views."""
        first = self._stop - min(bars, self.segment_bars, self._stop)
        return tuple(row[first : self._stop] for row in self._values)

    def candles(self) -> Candles:
        """All bars of the window, holes as holes; views that the next bar changes."""
        held = slice(max(0, self._stop - SERVING_BARS), self._stop)
        opened, high, low, close, _ = self._values[:, held]
        return Candles(self._stamps[held], opened, high, low, close)

    def take(self, raw: object, *, now_ms: int | None = None) -> Bar | None:
        """Takes the next bar into the window.

        Args:
            raw: what the source gave.
            now_ms: see `checked_bar`.

        Returns:
            The bar; None when it came before with the same values, which changes nothing.

        Raises:
            DataError: it is no bar, or it does not follow; the window is as it was.
        """
        try:
            bar = checked_bar(raw, now_ms=now_ms)
        except DataError:
            self.in_doubt = True
            raise
        last_ms = self.last_ms
        if last_ms is not None and bar.open_ms <= last_ms:
            self._check_repeated(bar, last_ms)
            return None
        self._follow(bar, last_ms)
        self.in_doubt = False
        return bar

    def _check_repeated(self, bar: Bar, last_ms: int) -> None:
        held = slice(max(0, self._stop - SERVING_BARS), self._stop)
        place = held.start + int(np.searchsorted(self._stamps[held], bar.open_ms))
        if self._stamps[place] != bar.open_ms:
            raise DataError(
                f"the bar of {bar.opens_at:%Y-%m-%dT%H:%MZ} comes out of order, after that of {from_ms(last_ms):%Y-%m-%dT%H:%MZ}"
            )
        if tuple(self._values[:, place].tolist()) != bar[1:]:
            raise DataError(
                f"the bar of {bar.opens_at:%Y-%m-%dT%H:%MZ} comes again with other values (close {bar.close:.10g}, was "
                f"{self._values[3, place]:.10g}); the first one counts"
            )

    def _follow(self, bar: Bar, last_ms: int | None) -> None:
        missing = 0 if last_ms is None else (bar.open_ms - last_ms) // BAR_MS - 1
        if last_ms is not None and 0 < missing <= self._longest_fill and not self.in_doubt:
            close = float(self._values[3, self._stop - 1])
            for step in range(1, missing + 1):
                self._append(Bar(last_ms + step * BAR_MS, close, close, close, close, 0.0))
            self.filled_minutes += missing
        elif last_ms is not None and missing > 0:
            self.hole = Hole(last_ms + BAR_MS, missing, spoiled=self.in_doubt)
            self.segment_bars = 0
        self._append(bar)

    def _append(self, bar: Bar) -> None:
        if self._stop == len(self._stamps):
            self._stamps[:SERVING_BARS] = self._stamps[SERVING_BARS:]
            self._values[:, :SERVING_BARS] = self._values[:, SERVING_BARS:]
            self._stop = SERVING_BARS
        self._stamps[self._stop] = bar.open_ms
        self._values[:, self._stop] = bar[1:]
        self._stop += 1
        self.segment_bars += 1


def _shown(value: object) -> str:
    """At most 60 characters of a value that anybody may have sent."""
    text = (
        repr(value)
        if not isinstance(value, str | bytes | list | tuple | dict)
        else repr(value[:20])
        if not isinstance(value, dict)
        else "an object"
    )
    return text if len(text) <= 60 else f"{text[:57]}..."
