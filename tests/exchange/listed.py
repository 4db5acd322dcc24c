"""What one market of the local exchange holds, and what of it can be seen at a moment.

What does not belong here: how it is written (wire.py and the dialects).
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

MINUTE_MS = 60_000
Row = list[Any]
"""Open time in ms as int, then open, high, low, close and volume as float."""


class Listed:
    """One market, its bars sorted and unique.

    Attributes:
        symbol: BTC-USD.
        delisted: nothing is traded there any more; what was, can still be asked for.
        lags_ms: its bars are so far behind the exchange's clock: one that has closed is served unfinished for so long.

    Args:
        symbol: base and quote with a dash between them.
        stamps: open times in ms, int64 [N].
        values: open, high, low, close, volume, float64 [N, 5].
    """

    def __init__(self, symbol: str, stamps: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        assert values.shape == (stamps.size, 5), (stamps.shape, values.shape)
        assert stamps.size < 2 or bool(np.all(np.diff(stamps) > 0)), f"{symbol}: stamps must be sorted and unique"
        self.symbol = symbol
        self.base, self.quote = symbol.split("-")
        self.delisted = False
        self.lags_ms = 0
        self._stamps, self._values = stamps, values
        self._shown = np.ones(stamps.size, dtype=bool)
        self._at_first: dict[int, Row] = {}
        self._lock = threading.Lock()

    @property
    def last_ms(self) -> int | None:
        """The open time of the newest bar, however far in the future; None without bars."""
        return int(self._stamps[-1]) if self._stamps.size else None

    def hide(self, first_ms: int, end_ms: int) -> int:
        """The bars that open from `first_ms` up to, but without, `end_ms` are never served; how many those are."""
        first, end = np.searchsorted(self._stamps, (first_ms, end_ms))
        self._shown[first:end] = False
        return int(end - first)

    def show(self, first_ms: int, end_ms: int) -> None:
        """Those bars are served from now on."""
        first, end = np.searchsorted(self._stamps, (first_ms, end_ms))
        self._shown[first:end] = True

    def serve_at_first(self, stamp: int, values: list[float]) -> None:
        """The bar, once closed, is served with these values one time that reaches the client; afterwards as it is."""
        assert int(self._stamps[np.searchsorted(self._stamps, stamp)]) == stamp, f"{self.symbol} has no bar at {stamp}"
        with self._lock:
            self._at_first[stamp] = [stamp, *values]

    def rows(self, first_ms: int, last_ms: int, limit: int, now_ms: int, *, from_the_end: bool) -> list[Row]:
        """At most `limit` bars that open from `first_ms` to `last_ms`, both included, as they stand at `now_ms`.

        A bar that opens later does not exist; the one of the running minute is unfinished.
        """
        now_ms -= self.lags_ms
        first = int(np.searchsorted(self._stamps, first_ms))
        end = int(np.searchsorted(self._stamps, min(last_ms, now_ms), side="right"))
        places = first + np.flatnonzero(self._shown[first:end])
        places = places[-limit:] if from_the_end else places[:limit]
        rows = [
            [stamp, *values]
            for stamp, values in zip(self._stamps[places].tolist(), self._values[places].tolist(), strict=True)
        ]
        if rows and rows[-1][0] + MINUTE_MS > now_ms:
            rows[-1] = _unfinished(rows[-1], (now_ms - rows[-1][0]) / MINUTE_MS)
        return rows

    def as_seen_first(self, rows: list[Row], now_ms: int) -> list[Row]:
        """The rows as whoever sees them first is told them; from now on they are what they are."""
        if not self._at_first:
            return rows
        with self._lock:
            return [self._at_first.pop(row[0], row) if row[0] + MINUTE_MS <= now_ms else row for row in rows]


def _unfinished(row: Row, share: float) -> Row:
    """The bar when `share` of its minute is over, as if it went from its open straight to its close."""
    stamp, opened, high, low, close, volume = row
    price = opened + (close - opened) * share
    top, bottom = max(opened, price), min(opened, price)
    return [
        stamp,
        opened,
        top + (high - max(opened, close)) * share,
        bottom - (min(opened, close) - low) * share,
        price,
        volume * share,
    ]
