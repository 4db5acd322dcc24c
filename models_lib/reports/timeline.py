"""The data window as a strip: train, validation, test, and the holes between the candles.

Thousands of holes are merged where they fall on the same thousandth of the window, so the strip stays small; the table
beside it lists the longest ones by their exact times.

What does not belong here: the rules by which holes are found, and the split itself.
"""

from dataclasses import dataclass
from datetime import datetime

from models_lib.reports.inputs import DataWindow, Hole

STEPS = 1_000
"""Width of the strip in its own units."""


@dataclass(frozen=True)
class Stretch:
    """A piece of the strip, in units of `STEPS` from the window's first bar."""

    name: str
    start: float
    width: float


def part_stretches(data: DataWindow) -> tuple[Stretch, ...]:
    """Where each part lies."""
    return tuple(_stretch(data, part.name, part.first, part.last) for part in data.parts)


def hole_stretches(data: DataWindow) -> tuple[Stretch, ...]:
    """Where candles are missing, each at least one unit wide, touching ones merged."""
    merged: list[Stretch] = []
    for hole in sorted(data.holes, key=lambda hole: hole.start):
        piece = _stretch(data, "hole", hole.start, hole.end)
        start, end = int(piece.start), max(int(piece.start) + 1, round(piece.start + piece.width))
        if merged and start <= merged[-1].start + merged[-1].width:
            last = merged.pop()
            start, end = int(last.start), max(end, int(last.start + last.width))
        merged.append(Stretch("hole", start, end - start))
    return tuple(merged)


def longest_holes(data: DataWindow, count: int) -> tuple[Hole, ...]:
    """The longest holes, in order of time."""
    longest = sorted(data.holes, key=lambda hole: (-hole.minutes, hole.start))[:count]
    return tuple(sorted(longest, key=lambda hole: hole.start))


def _stretch(data: DataWindow, name: str, first: datetime, last: datetime) -> Stretch:
    span = max(60.0, (data.last - data.first).total_seconds())

    def place(when: datetime) -> float:
        return STEPS * min(1.0, max(0.0, (when - data.first).total_seconds() / span))

    return Stretch(name, round(place(first), 2), round(place(last) - place(first), 2))
