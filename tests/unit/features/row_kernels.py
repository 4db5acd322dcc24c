"""The windows of the features one bar after another over plain arrays: what the product's kernels are held to, bit for bit.

Every function takes contiguous float64 arrays in the order of time and the epoch minute of their first bar, and gives arrays
of the same length, NaN until its window is full. `RowMeasures` computes all features with them.
"""

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from models_lib.candles.schema import BAR_MS, epoch_ms
from models_lib.features import FeatureSet
from models_lib.features.kernels import BLOCK
from models_lib.features.measures import DAY_MINUTES, MEMORY_SPANS, Measures

Column = NDArray[np.float64]


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
def rolling_mean_and_variance(values: Column, window: int, phase: int) -> tuple[Column, Column]:
    """The mean and the population variance of the last `window` rows; for levels far from 0.

    Deviations are taken from the value at the block's start, so the squares stay small beside the level (Chan, Golub,
    LeVeque 1983, shifted data).

    Args:
        values: shape [N], NaN only at the front.
        window: rows.
        phase: epoch minute of the first row.
    """
    mean = np.full(len(values), np.nan)
    variance = np.full(len(values), np.nan)
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
            mean[row], variance[row] = values[row], 0.0
        else:
            mean[row] = level + total / window
            variance[row] = max(squares - total * total / window, 0.0) / window
    return mean, variance


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
        means: `rolling_mean_and_variance` of the same window, shape [N].
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


class RowMeasures(Measures):
    """The product's measures with the windows of this module; a column is in the order of time."""

    def laid_out(self, values: Column) -> Column:
        return np.ascontiguousarray(values)

    def earlier(self, values: Column, bars: int) -> Column:
        return np.concatenate((np.full(min(bars, len(values)), np.nan), values[:-bars]))

    def mean(self, values: Column, window: int) -> Column:
        return rolling_mean(values, window, self.minute)

    def mean_and_variance(self, values: Column, window: int) -> tuple[Column, Column]:
        return rolling_mean_and_variance(values, window, self.minute)

    def mean_deviation(self, values: Column, means: Column, window: int) -> Column:
        return rolling_mean_deviation(values, means, window)

    def largest(self, values: Column, window: int) -> Column:
        return rolling_max(values, window)

    def ema(self, values: Column, span: int) -> Column:
        memory = min(MEMORY_SPANS * span, DAY_MINUTES)
        return exponential_mean(values, 2.0 / (span + 1.0), memory, self.minute)


def row_features(candles: pd.DataFrame, features: FeatureSet) -> np.ndarray:
    """All features of one segment without a hole, float32 [N, F], each NaN until its own window is full."""
    columns = {name: candles[name].to_numpy() for name in ("high", "low", "close", "volume")}
    measures = RowMeasures(int(epoch_ms(candles)[0]) // BAR_MS, open_=candles["open"].to_numpy(), **columns)
    return np.stack([feature.compute(measures) for feature in features.features], axis=1).astype(np.float32)
