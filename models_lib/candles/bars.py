"""Bars as arrays, and spans of minutes: what an exchange is asked for, what it gave, and what is still missing.

A span is half-open: the open times from `start_ms` up to, but without, `end_ms`, both on whole minutes, in milliseconds
since 1970 UTC. `Spans` are sorted, disjoint and never touch, so equal sets of minutes are equal values.

What does not belong here: frames of pandas (schema.py), and what is done about a missing minute.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models_lib.candles.schema import BAR_MS, VALUE_COLUMNS


class Span(NamedTuple):
    """Minutes from `start_ms`, included, to `end_ms`, excluded."""

    start_ms: int
    end_ms: int

    @property
    def minutes(self) -> int:
        """How many; 0 for an empty span."""
        return max(0, (self.end_ms - self.start_ms) // BAR_MS)


def floor_minute(time_ms: int) -> int:
    """The open time of the minute that `time_ms` lies in."""
    return time_ms - time_ms % BAR_MS


def moment(time_ms: float) -> str:
    """As in 2026-01-02T00:00Z."""
    return f"{datetime.fromtimestamp(time_ms / 1000.0, UTC):%Y-%m-%dT%H:%MZ}"


@dataclass(frozen=True)
class Spans:
    """A set of minutes; make it with `Spans.of`."""

    spans: tuple[Span, ...] = ()

    @classmethod
    def of(cls, spans: Iterable[Span]) -> Self:
        """The minutes of all of them."""
        merged: list[Span] = []
        for span in sorted(span for span in spans if span.minutes):
            if merged and span.start_ms <= merged[-1].end_ms:
                merged[-1] = Span(merged[-1].start_ms, max(merged[-1].end_ms, span.end_ms))
            else:
                merged.append(span)
        return cls(tuple(merged))

    @classmethod
    def of_stamps(cls, stamps: NDArray[np.int64]) -> Self:
        """The minutes of these open times, int64 [N], sorted and unique."""
        if stamps.size == 0:
            return cls()
        breaks = np.flatnonzero(np.diff(stamps) != BAR_MS)
        first, last = stamps[np.append(0, breaks + 1)], stamps[np.append(breaks, stamps.size - 1)]
        return cls(tuple(Span(a, b + BAR_MS) for a, b in zip(first.tolist(), last.tolist(), strict=True)))

    def __iter__(self) -> Iterator[Span]:
        return iter(self.spans)

    def __bool__(self) -> bool:
        return bool(self.spans)

    @property
    def minutes(self) -> int:
        """How many minutes are in the set."""
        return sum(span.minutes for span in self.spans)

    def union(self, other: "Spans") -> "Spans":
        """The minutes of both."""
        return Spans.of((*self.spans, *other.spans))

    def minus(self, other: "Spans") -> "Spans":
        """The minutes that are not in `other`."""
        left: list[Span] = []
        rest = iter(other.spans)
        taken = next(rest, None)
        for span in self.spans:
            start = span.start_ms
            while taken is not None and taken.end_ms <= start:
                taken = next(rest, None)
            while taken is not None and taken.start_ms < span.end_ms:
                if taken.start_ms > start:
                    left.append(Span(start, taken.start_ms))
                start = max(start, taken.end_ms)
                if taken.end_ms > span.end_ms:
                    break
                taken = next(rest, None)
            if start < span.end_ms:
                left.append(Span(start, span.end_ms))
        return Spans(tuple(left))

    def within(self, span: Span) -> "Spans":
        """The minutes that lie in `span`."""
        cut = (Span(max(one.start_ms, span.start_ms), min(one.end_ms, span.end_ms)) for one in self.spans)
        return Spans(tuple(one for one in cut if one.minutes))


@dataclass(frozen=True, eq=False)
class Bars:
    """Closed bars, sorted and unique.

    Attributes:
        stamps: int64 [N], open times in ms.
        values: float64 [N, 5]: open, high, low, close, volume.
    """

    stamps: NDArray[np.int64]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        assert self.values.shape == (self.stamps.size, len(VALUE_COLUMNS)), (self.stamps.shape, self.values.shape)

    @classmethod
    def none(cls) -> Self:
        """No bars."""
        return cls(np.empty(0, dtype=np.int64), np.empty((0, len(VALUE_COLUMNS))))

    def __len__(self) -> int:
        return self.stamps.size

    def same_as(self, other: "Bars") -> bool:
        """Whether both are the same to the bit."""
        return bool(np.array_equal(self.stamps, other.stamps) and self.values.tobytes() == other.values.tobytes())

    def within(self, span: Span) -> "Bars":
        """The bars that open in `span`; a view."""
        first, end = np.searchsorted(self.stamps, span)
        return Bars(self.stamps[first:end], self.values[first:end])

    @property
    def spans(self) -> Spans:
        """The minutes that have a bar."""
        return Spans.of_stamps(self.stamps)
