"""The data window as a strip: train, validation, test, and how many candles are missing where.

The window is cut into a thousand cells; a cell with holes is coloured by the share of its minutes that are missing, so
ten thousand short holes look like what they are and a long one is not lost. The table beside the strip lists the
longest holes by their exact times.

What does not belong here: the rules by which holes are found, and the split itself.
"""

import itertools
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from models_lib.reports.inputs import DataWindow, Hole

STEPS = 1_000
"""Width of the strip in its own units, and its number of cells."""
_LEVELS = 10


@dataclass(frozen=True)
class Stretch:
    """A piece of the strip, in units of `STEPS` from the window's first bar."""

    name: str
    start: float
    width: float


@dataclass(frozen=True)
class Missing:
    """Neighbouring cells of about the same share of missing minutes, rounded up to a tenth."""

    start: int
    width: int
    share: float


def part_stretches(data: DataWindow) -> tuple[Stretch, ...]:
    """Where each part lies."""

    def stretch(name: str, first: datetime, last: datetime) -> Stretch:
        start = _place(data, first)
        return Stretch(name, round(start, 2), round(_place(data, last) - start, 2))

    return tuple(stretch(part.name, part.first, part.last) for part in data.parts)


def missing_stretches(data: DataWindow) -> tuple[Missing, ...]:
    """Where candles are missing, and which share of them; cells without a hole are left out."""
    levels = np.ceil(np.round(_missing_shares(data) * _LEVELS, 6)).astype(np.int64).tolist()
    stretches, start = [], 0
    for level, cells in itertools.groupby(levels):
        width = len(list(cells))
        if level:
            stretches.append(Missing(start, width, min(1.0, level / _LEVELS)))
        start += width
    return tuple(stretches)


def longest_holes(data: DataWindow, count: int) -> tuple[Hole, ...]:
    """The longest holes, in order of time."""
    longest = sorted(data.holes, key=lambda hole: (-hole.minutes, hole.start))[:count]
    return tuple(sorted(longest, key=lambda hole: hole.start))


def _missing_shares(data: DataWindow) -> NDArray[np.float64]:
    """Share of missing time in each cell, float64 [STEPS]; holes do not overlap."""
    holes = sorted(data.holes, key=lambda hole: hole.start)
    borders = np.array([_place(data, when) for hole in holes for when in (hole.start, hole.end)])
    if not borders.size:
        return np.zeros(STEPS)
    lengths = borders[1::2] - borders[::2]
    missing_until = np.zeros(borders.size)
    missing_until[1::2] = np.cumsum(lengths)
    missing_until[2::2] = missing_until[1:-1:2]
    return np.diff(np.interp(np.arange(STEPS + 1), borders, missing_until))


def _place(data: DataWindow, when: datetime) -> float:
    """The time on the strip, 0 at the first bar and `STEPS` at the last."""
    span = max(60.0, (data.last - data.first).total_seconds())
    return STEPS * min(1.0, max(0.0, (when - data.first).total_seconds() / span))
