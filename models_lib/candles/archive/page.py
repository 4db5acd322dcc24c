"""A page: one answer of an exchange, checked; only what is surely a closed bar gets past this point.

What does not belong here: what happens to bars that are stored already (merge.py).
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from models_lib.candles.bars import Bars, Span, Spans, floor_minute, moment
from models_lib.candles.exchange import Answer
from models_lib.candles.schema import BAR_MS, VALUE_COLUMNS
from models_lib.errors import DataError, excerpt

_COLUMNS: Final = 1 + len(VALUE_COLUMNS)
_BESIDE_MINUTES: Final = 1_440
"""Exchanges answer with some bars beside the span; one further away than this has a stamp in another unit."""


@dataclass(frozen=True, eq=False)
class Page:
    """A checked answer.

    Attributes:
        span: what the exchange was asked for.
        bars: closed bars, also beside the span.
        closed_ms: the exchange's clock when it was asked: minutes that end later are not closed.
        received_ms: when the answer was there, by this machine's clock.
        troubled: the exchange failed right before it gave this answer, so what is missing in it may be an outage.
    """

    span: Span
    bars: Bars
    closed_ms: int
    received_ms: int
    troubled: bool = False

    @classmethod
    def of(cls, symbol: str, answer: Answer, *, troubled: bool = False) -> Self:
        """The answer's closed bars, sorted; the same row twice counts once.

        Raises:
            DataError: a row is no bar, or two rows contradict each other; nothing of the answer is used.
        """
        table = _table(symbol, answer)
        stamps = _stamps(symbol, answer.span, table[:, 0])
        closed = stamps + BAR_MS <= answer.asked_ms
        stamps, values = stamps[closed], table[closed, 1:]
        _refuse_no_bars(symbol, stamps, values)
        return cls(answer.span, _sorted_bars(symbol, stamps, values), answer.asked_ms, answer.received_ms, troubled)

    @property
    def answered(self) -> Spans:
        """The minutes that it speaks about: those of its span that were closed when it was asked."""
        return Spans.of([Span(self.span.start_ms, min(self.span.end_ms, floor_minute(self.closed_ms)))])

    def final(self, revise_minutes: int) -> Spans:
        """Those of its minutes that had been closed for `revise_minutes`: the exchange corrects them no more."""
        end_ms = floor_minute(self.closed_ms) - revise_minutes * BAR_MS
        return Spans.of([Span(self.span.start_ms, min(self.span.end_ms, end_ms))])


def _table(symbol: str, answer: Answer) -> NDArray[np.float64]:
    """The rows as numbers, float64 [N, 6]; milliseconds are exact in it."""
    for row in answer.rows:
        numbers = isinstance(row, list | tuple) and len(row) >= _COLUMNS
        if not numbers or not all(isinstance(value, int | float) for value in row[:_COLUMNS]):
            raise _no_bar(symbol, row, "it must be a list of six numbers")
    try:
        return np.array([row[:_COLUMNS] for row in answer.rows], dtype=np.float64).reshape(-1, _COLUMNS)
    except OverflowError as error:
        longest = max(answer.rows, key=lambda row: len(str(row)))
        raise _no_bar(symbol, longest, "its numbers must fit into 64 bits") from error


def _stamps(symbol: str, span: Span, times: NDArray[np.float64]) -> NDArray[np.int64]:
    off = ~np.isfinite(times)
    off[~off] = times[~off] % BAR_MS != 0.0
    if off.any():
        raise _no_bar(symbol, times[off][0], "its time must be a whole minute in milliseconds since 1970")
    beside = _BESIDE_MINUTES * BAR_MS
    away = (times < span.start_ms - beside) | (times >= span.end_ms + beside)
    if away.any():
        raise _no_bar(
            symbol,
            times[away][0],
            f"{moment(span.start_ms)} to {moment(span.end_ms)} was asked for, and it lies more than a day beside that",
        )
    return times.astype(np.int64)


def _refuse_no_bars(symbol: str, stamps: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    opens, high, low, close, volume = values.T
    rules = {
        "every value must be finite": ~np.isfinite(values).all(axis=1),
        "every price must be above 0": (values[:, :4] <= 0.0).any(axis=1),
        "the volume must be at least 0": volume < 0.0,
        "high and low must enclose open and close": (high < np.maximum(opens, close))
        | (low > np.minimum(opens, close)),
    }
    for rule, broken in rules.items():
        if broken.any():
            row = int(np.flatnonzero(broken)[0])
            raise _no_bar(symbol, values[row].tolist(), rule, f" at {moment(int(stamps[row]))}")


def _sorted_bars(symbol: str, stamps: NDArray[np.int64], values: NDArray[np.float64]) -> Bars:
    order = np.argsort(stamps, kind="stable")
    stamps, values = stamps[order], np.ascontiguousarray(values[order])
    again = np.zeros(stamps.size, dtype=bool)
    again[1:] = stamps[1:] == stamps[:-1]
    differs = again & (values != np.roll(values, 1, axis=0)).any(axis=1)
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        raise _no_bar(
            symbol,
            values[row].tolist(),
            f"another row of the same minute says {values[row - 1].tolist()}",
            f" at {moment(int(stamps[row]))}",
        )
    return Bars(stamps[~again], values[~again])


def _no_bar(symbol: str, row: object, rule: str, where: str = "") -> DataError:
    return DataError(
        f"{symbol}: the exchange answered with a row that is no bar{where} ({excerpt(row)}): {rule}. Nothing of that answer "
        f"is used. Fetch again; if it stays so, leave the symbol out or take another exchange.name."
    )
