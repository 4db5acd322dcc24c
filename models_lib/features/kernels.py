"""Sliding-window kernels over one segment's columns: the only loops over rows that the features have.

Every kernel takes contiguous float64 columns and gives columns of the same length, NaN until its window is full. NaN may
stand only at the front of an input (the warm-up of an earlier stage); the window is counted from the first number.

The law that all of them keep: **a row's bits do not depend on where the slice starts**. Sums that slide carry rounding
errors along, so they are computed afresh from their whole window at every row whose epoch minute is a multiple of BLOCK
(and at the first full row of the slice), and slide only within a block. Exponential means are started afresh there
too, from a stated number of rows back. A value therefore depends on at most `window - 1 + BLOCK - 1` earlier rows. This also
stops the drift of rolling variances, and one absurd print cannot poison the rest of a file.

No fastmath: reassociation would give other bits for another slice length. A window in which every value is the same has
exactly that value as its mean and exactly 0 as its deviation (no rounding residue of what left the window).

What does not belong here: the meaning of a window (measures.py) and of a feature (definitions.py).
"""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Column = NDArray[np.float64]

BLOCK: Final = 256
"""Minutes between two fresh starts; a power of two."""


@njit(cache=True, nogil=True)
def _first_number(values: Column) -> int:
    row = 0
    while row < len(values) and np.isnan(values[row]):
        row += 1
    return row


@njit(cache=True, nogil=True)
def rolling_mean(values: Column, window: int, phase: int) -> Column:
    """The mean of the last `window` rows, this one included; for what is never negative or lies around 0.

    Args:
        values: shape [N], NaN only at the front.
        window: rows.
        phase: epoch minute of the first row.
    """
    out = np.full(len(values), np.nan)
    start = _first_number(values)
    full = start + window - 1
    total = 0.0
    same = 0
    for row in range(start, len(values)):
        same = same + 1 if row > start and values[row] == values[row - 1] else 1
        if row < full:
            continue
        if row == full or (row + phase) % BLOCK == 0:
            total = 0.0
            for past in range(row - window + 1, row + 1):
                total += values[past]
        else:
            total += values[row] - values[row - window]
        out[row] = values[row] if same >= window else total / window
    return out


@njit(cache=True, nogil=True)
def rolling_mean_and_std(values: Column, window: int, phase: int) -> tuple[Column, Column]:
    """The mean and the population standard deviation of the last `window` rows; for levels far from 0.

    Deviations are taken from the value at the block's start, so the squares stay small beside the level (Chan, Golub,
    LeVeque 1983, shifted data).

    Args:
        values: shape [N], NaN only at the front.
        window: rows.
        phase: epoch minute of the first row.
    """
    mean = np.full(len(values), np.nan)
    std = np.full(len(values), np.nan)
    start = _first_number(values)
    full = start + window - 1
    level, total, squares = 0.0, 0.0, 0.0
    same = 0
    for row in range(start, len(values)):
        same = same + 1 if row > start and values[row] == values[row - 1] else 1
        if row < full:
            continue
        if row == full or (row + phase) % BLOCK == 0:
            level, total, squares = values[row], 0.0, 0.0
            for past in range(row - window + 1, row + 1):
                deviation = values[past] - level
                total += deviation
                squares += deviation * deviation
        else:
            new, old = values[row] - level, values[row - window] - level
            total += new - old
            squares += new * new - old * old
        if same >= window:
            mean[row], std[row] = values[row], 0.0
        else:
            mean[row] = level + total / window
            std[row] = np.sqrt(max(squares - total * total / window, 0.0) / window)
    return mean, std


@njit(cache=True, nogil=True)
def _fresh_exponential_mean(values: Column, weight: float, memory: int, row: int) -> float:
    """The recursion begun at the value `memory - 1` rows before `row` and run up to `row`.

    Four stretches of it run side by side (each step waits for the one before it, not for the other stretches) and are
    joined by the weight that a whole stretch leaves of what came before it.
    """
    keep = 1.0 - weight
    stretch = (memory - 1) // 4
    first = row - 4 * stretch
    oldest = values[row - memory + 1]
    for past in range(row - memory + 2, first + 1):
        oldest = keep * oldest + weight * values[past]
    second, third, newest = 0.0, 0.0, 0.0
    for past in range(first + 1, first + 1 + stretch):
        oldest = keep * oldest + weight * values[past]
        second = keep * second + weight * values[past + stretch]
        third = keep * third + weight * values[past + 2 * stretch]
        newest = keep * newest + weight * values[past + 3 * stretch]
    left = keep**stretch
    joined: float = ((oldest * left + second) * left + third) * left + newest
    return joined


@njit(cache=True, nogil=True)
def exponential_mean(values: Column, weight: float, memory: int, phase: int) -> Column:
    """The exponential mean e = (1 - weight) e + weight x; NaN until `memory` rows are there.

    At each fresh start the recursion begins anew at the value `memory - 1` rows back.

    Args:
        values: shape [N], NaN only at the front.
        weight: of the newest value, in (0, 1].
        memory: rows looked back at a fresh start.
        phase: epoch minute of the first row.
    """
    out = np.full(len(values), np.nan)
    full = _first_number(values) + memory - 1
    keep = 1.0 - weight
    mean = 0.0
    for row in range(full, len(values)):
        if row == full or (row + phase) % BLOCK == 0:
            mean = _fresh_exponential_mean(values, weight, memory, row)
        else:
            mean = keep * mean + weight * values[row]
        out[row] = mean
    return out


@njit(cache=True, nogil=True)
def rolling_max(values: Column, window: int) -> Column:
    """The largest of the last `window` rows: exact, so nothing has to be started afresh.

    Prefix maxima forwards and suffix maxima backwards within stretches of `window` rows (van Herk 1992; Gil, Werman
    1993): three comparisons a row, whatever the window.

    Args:
        values: shape [N], no NaN.
        window: rows.
    """
    num_rows = len(values)
    out = np.full(num_rows, np.nan)
    suffix = np.empty(num_rows)
    for row in range(num_rows - 1, -1, -1):
        last_of_stretch = row == num_rows - 1 or (row + 1) % window == 0
        suffix[row] = values[row] if last_of_stretch else max(values[row], suffix[row + 1])
    prefix = 0.0
    for row in range(num_rows):
        prefix = values[row] if row % window == 0 else max(values[row], prefix)
        if row >= window - 1:
            out[row] = max(suffix[row - window + 1], prefix)
    return out


@njit(cache=True, nogil=True)
def rolling_mean_deviation(values: Column, means: Column, window: int) -> Column:
    """The mean of |x - mean of the window| over the last `window` rows, every window from scratch.

    A block of rows at a time and lag by lag, so the inner loop is over neighbours and its sums stay in the cache.

    Args:
        values: shape [N], no NaN.
        means: `rolling_mean_and_std` of the same window, shape [N].
        window: rows.
    """
    out = np.full(len(values), np.nan)
    total = np.empty(BLOCK)
    for tile in range(window - 1, len(values), BLOCK):
        num_rows = min(BLOCK, len(values) - tile)
        centre = means[tile : tile + num_rows]
        total[:] = 0.0
        for lag in range(window):
            lagged = values[tile - lag : tile - lag + num_rows]
            for row in range(num_rows):
                total[row] += abs(lagged[row] - centre[row])
        for row in range(num_rows):
            out[tile + row] = total[row] / window
    return out


@njit(cache=True, nogil=True)
def store_rows(block: NDArray[np.float32], out: NDArray[np.float32], first_row: int) -> None:
    """Writes block [F, n] as the rows first_row .. first_row + n - 1 of out [N, F], a few rows at a time.

    Column by column would pass over every cache line of `out` once for each feature; this is most of the time of the
    plain version.
    """
    num_features, num_rows = block.shape
    for tile in range(0, num_rows, 64):
        for row in range(tile, min(tile + 64, num_rows)):
            for feature in range(num_features):
                out[first_row + row, feature] = block[feature, row]
