"""Sliding-window kernels over the bars of one segment, laid out in blocks: the only loops over bars that the features have.

The law that all of them keep: **a bar's bits do not depend on where the slice starts**. Sums that slide carry rounding
errors along, so they are computed afresh from their whole window at every bar whose epoch minute is a multiple of BLOCK
(and at the first bar with a full window), and slide only within a block. Exponential means are started afresh there too,
from a stated number of bars back. A value therefore depends on at most `window - 1 + BLOCK - 1` earlier bars. This also
stops the drift of rolling variances, and one absurd print cannot poison the rest of a file.

**Layout.** Because every block begins afresh, blocks are independent, and one step is taken in all of them at once. A Column
is float64 [BLOCK, lanes]: each lane is one block, from minute 0 of the block (row 0) downwards, and neighbours in memory are
the same minute of neighbouring blocks. The inner loops run over lanes and become vector instructions, which a chain of
sums along time cannot. The bar `n` minutes earlier lies n rows up, or in the lane to the left: `_past`. What lies before the first
bar is NaN; what lies behind the last one means nothing (it repeats it: a NaN would slow the logarithms).

Every kernel gives NaN until its window is full, counted from the first number; a NaN may stand only at the front of its
input. In a slice that was **cut** from a longer segment it gives NaN until the first block that begins
with a full window: what lies before would depend on the cut.

The short functions that take the lanes one row on cut their rows out themselves: so numba need not count references to them
at every step, which costs more than the arithmetic.

No fastmath: reassociation would give other bits for another slice length. A window in which every value is the same has
exactly that value as its mean and exactly 0 as its deviation (no rounding residue of what left the window).

What does not belong here: the meaning of a window (measures.py) and of a feature (definitions.py).
"""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Column = NDArray[np.float64]
Lanes = NDArray[np.float64]
"""One row of some lanes."""
Counts = NDArray[np.int64]
"""By lane, too."""

BLOCK: Final = 256
"""Minutes between two fresh starts; a power of two."""


@njit(cache=True, nogil=True)
def lay_out(values: NDArray[np.float64], offset: int) -> Column:
    """The values of consecutive bars as a Column, the first of them in row `offset` of lane 0."""
    lanes = -(-(offset + len(values)) // BLOCK)
    out = np.empty((BLOCK, lanes))
    for row in range(BLOCK):
        for lane in range(lanes):
            bar = lane * BLOCK + row - offset
            out[row, lane] = values[min(bar, len(values) - 1)] if bar >= 0 else np.nan
    return out


@njit(cache=True, nogil=True)
def _first_number(values: Column) -> int:
    """How many bars after the first row of lane 0 the first number stands."""
    rows, lanes = values.shape
    bar = 0
    while bar < rows * lanes and np.isnan(values[bar % BLOCK, bar // BLOCK]):
        bar += 1
    return bar


@njit(cache=True, nogil=True)
def _first_full(values: Column, window: int, cut: bool) -> int:
    """The number of the first bar with a full window; in a cut slice, of the first block that begins with one."""
    full = _first_number(values) + window - 1
    return -(-full // BLOCK) * BLOCK if cut else full


@njit(cache=True, nogil=True)
def _unknown_before(full: int, lanes: int) -> Column:
    """A Column to fill, in which the bars before the one of number `full` are NaN."""
    out = np.empty((BLOCK, lanes))
    for row in range(BLOCK):
        for lane in range(min(full // BLOCK + (row < full % BLOCK), lanes)):
            out[row, lane] = np.nan
    return out


@njit(cache=True, nogil=True)
def _past(values: Column, row: int, first: int, stop: int) -> Lanes:
    """Row `row` of the lanes first .. stop - 1; a negative one is a row of the lanes before them."""
    return values[row % BLOCK, first + row // BLOCK : stop + row // BLOCK]


@njit(cache=True, nogil=True)
def _equal_bars(values: Column, row: int, first: int, stop: int, most: int) -> NDArray[np.int64]:
    """By lane, how many bars up to `row` have the value of that row, counted up to `most`."""
    out = np.ones(stop - first, dtype=np.int64)
    for lane in range(first, stop):
        equal = 1
        while equal < most and values[(row - equal) % BLOCK, lane + (row - equal) // BLOCK] == values[row, lane]:
            equal += 1
        out[lane - first] = equal
    return out


@njit(cache=True, nogil=True)
def _stretches(full: int, lanes: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """What is computed from where: (first row, first lane, lane after the last).

    The first is the lane in which the bar `full` stands, from that bar on, and is empty where it begins a block; the
    second is all lanes after it.
    """
    whole = min(-(-full // BLOCK), lanes)
    return (full % BLOCK, min(full // BLOCK, lanes), whole), (0, whole, lanes)


@njit(cache=True, nogil=True)
def rolling_mean(values: Column, window: int, cut: bool) -> Column:
    """The mean of the last `window` bars, this one included; for what is never negative or lies around 0."""
    full = _first_full(values, window, cut)
    out = _unknown_before(full, values.shape[1])
    for begin, first, stop in _stretches(full, values.shape[1]):
        if first == stop:
            continue
        total = np.zeros(stop - first)
        for row in range(begin - window + 1, begin + 1):
            _add(total, values, row, first)
        equal = _equal_bars(values, begin, first, stop, window)
        for row in range(begin, BLOCK):
            if row > begin:
                _slide(total, values, window, equal, row, first)
            _write_means(out, values, total, window, equal, row, first)
    return out


@njit(cache=True, nogil=True)
def _add(total: Lanes, values: Column, row: int, first: int) -> None:
    new = _past(values, row, first, first + len(total))
    for lane in range(len(total)):
        total[lane] += new[lane]


@njit(cache=True, nogil=True)
def _slide(total: Lanes, values: Column, window: int, equal: Counts, row: int, first: int) -> None:  # noqa: PLR0917  numba compiles positional arguments only
    """Takes the sums, and `_equal_bars`, to `row` from the row before."""
    stop = first + len(total)
    new, last, old = values[row, first:stop], values[row - 1, first:stop], _past(values, row - window, first, stop)
    for lane in range(len(total)):
        total[lane] += new[lane] - old[lane]
        equal[lane] = equal[lane] + 1 if new[lane] == last[lane] else 1


@njit(cache=True, nogil=True, error_model="numpy")
def _write_means(out: Column, values: Column, total: Lanes, window: int, equal: Counts, row: int, first: int) -> None:  # noqa: PLR0917  numba compiles positional arguments only
    """The sums over the window; where all its values are equal, that value."""
    mean, new = out[row, first : first + len(total)], values[row, first : first + len(total)]
    for lane in range(len(total)):
        mean[lane] = new[lane] if equal[lane] >= window else total[lane] / window


@njit(cache=True, nogil=True)
def rolling_mean_and_variance(values: Column, window: int, cut: bool) -> tuple[Column, Column]:
    """The mean and the population variance of the last `window` bars; for levels far from 0.

    Deviations are taken from the value at the block's start, so the squares stay small beside the level (Chan, Golub,
    LeVeque 1983, shifted data).
    """
    full = _first_full(values, window, cut)
    means, variances = _unknown_before(full, values.shape[1]), _unknown_before(full, values.shape[1])
    for begin, first, stop in _stretches(full, values.shape[1]):
        if first == stop:
            continue
        level = values[begin, first:stop].copy()
        total, squares = np.zeros(stop - first), np.zeros(stop - first)
        for row in range(begin - window + 1, begin + 1):
            _add_deviations(total, squares, level, values, row, first)
        equal = _equal_bars(values, begin, first, stop, window)
        for row in range(begin, BLOCK):
            if row > begin:
                _slide_deviations(total, squares, level, values, window, row, first)
                _count_equal(equal, values, row, first)
            _write_levels(means, values, level, total, window, equal, row, first)
            _write_variances(variances, total, squares, window, equal, row, first)
    return means, variances


@njit(cache=True, nogil=True)
def _add_deviations(total: Lanes, squares: Lanes, level: Lanes, values: Column, row: int, first: int) -> None:  # noqa: PLR0917  numba compiles positional arguments only
    new = _past(values, row, first, first + len(total))
    for lane in range(len(total)):
        deviation = new[lane] - level[lane]
        total[lane] += deviation
        squares[lane] += deviation * deviation


@njit(cache=True, nogil=True)
def _slide_deviations(  # noqa: PLR0917  numba compiles positional arguments only
    total: Lanes, squares: Lanes, level: Lanes, values: Column, window: int, row: int, first: int
) -> None:
    new, old = values[row, first : first + len(total)], _past(values, row - window, first, first + len(total))
    for lane in range(len(total)):
        come, gone = new[lane] - level[lane], old[lane] - level[lane]
        total[lane] += come - gone
        squares[lane] += come * come - gone * gone


@njit(cache=True, nogil=True)
def _count_equal(equal: Counts, values: Column, row: int, first: int) -> None:
    new, last = values[row, first : first + len(equal)], values[row - 1, first : first + len(equal)]
    for lane in range(len(equal)):
        equal[lane] = equal[lane] + 1 if new[lane] == last[lane] else 1


@njit(cache=True, nogil=True, error_model="numpy")
def _write_levels(  # noqa: PLR0917  numba compiles positional arguments only
    means: Column, values: Column, level: Lanes, total: Lanes, window: int, equal: Counts, row: int, first: int
) -> None:
    mean, new = means[row, first : first + len(total)], values[row, first : first + len(total)]
    for lane in range(len(total)):
        mean[lane] = new[lane] if equal[lane] >= window else level[lane] + total[lane] / window


@njit(cache=True, nogil=True, error_model="numpy")
def _write_variances(  # noqa: PLR0917  numba compiles positional arguments only
    variances: Column, total: Lanes, squares: Lanes, window: int, equal: Counts, row: int, first: int
) -> None:
    variance = variances[row, first : first + len(total)]
    for lane in range(len(total)):
        spread = squares[lane] - total[lane] * total[lane] / window
        variance[lane] = spread / window if equal[lane] < window and spread > 0.0 else 0.0


@njit(cache=True, nogil=True)
def exponential_mean(values: Column, weight: float, memory: int, cut: bool) -> Column:
    """The exponential mean e = (1 - weight) e + weight x; NaN until `memory` bars are there.

    At each fresh start the recursion begins anew at the value `memory - 1` bars back. It runs in four stretches that are
    joined by the weight which a whole stretch leaves of what came before it; models were trained on its rounding.

    Args:
        values: NaN only at the front.
        weight: of the newest value, in (0, 1].
        memory: bars looked back at a fresh start.
        cut: see `_first_full`.
    """
    full = _first_full(values, memory, cut)
    out = _unknown_before(full, values.shape[1])
    stretch = (memory - 1) // 4
    left = (1.0 - weight) ** stretch
    for begin, first, stop in _stretches(full, values.shape[1]):
        if first == stop:
            continue
        mean, newer = np.zeros(stop - first), np.zeros(stop - first)
        _add(newer, values, begin - memory + 1, first)
        row = begin - memory + 2
        for last in (begin - 3 * stretch, begin - 2 * stretch, begin - stretch, begin):
            while row <= last:
                _recur(newer, values, weight, row, first)
                row += 1
            _join(mean, left, newer)
        for row in range(begin, BLOCK):
            if row > begin:
                _recur(mean, values, weight, row, first)
            _write(out, mean, row, first)
    return out


@njit(cache=True, nogil=True)
def _recur(mean: Lanes, values: Column, weight: float, row: int, first: int) -> None:
    """Takes the exponential means to `row` from the row before."""
    keep = 1.0 - weight
    new = _past(values, row, first, first + len(mean))
    for lane in range(len(mean)):
        mean[lane] = keep * mean[lane] + weight * new[lane]


@njit(cache=True, nogil=True)
def _join(mean: Lanes, left: float, newer: Lanes) -> None:
    """Adds the mean of a newer stretch, which begins at 0 again."""
    for lane in range(len(mean)):
        mean[lane] = mean[lane] * left + newer[lane]
        newer[lane] = 0.0


@njit(cache=True, nogil=True)
def _write(out: Column, lanes: Lanes, row: int, first: int) -> None:
    to = out[row, first : first + len(lanes)]
    for lane in range(len(lanes)):
        to[lane] = lanes[lane]


@njit(cache=True, nogil=True)
def rolling_max(values: Column, window: int) -> Column:
    """The largest of the last `window` bars: exact, so nothing has to be started afresh.

    The maxima of 1, 2, 4, ... bars are each two of the ones before, and the last step joins two that overlap.
    """
    lanes = values.shape[1]
    largest, reach = values, 1
    while reach < window:
        step = min(reach, window - reach)
        longer = _unknown_before(_first_number(largest) + step, lanes)
        for begin, first, stop in _stretches(_first_number(largest) + step, lanes):
            for row in range(begin, BLOCK):
                new, old, both = (
                    largest[row, first:stop],
                    _past(largest, row - step, first, stop),
                    longer[row, first:stop],
                )
                for lane in range(len(new)):
                    both[lane] = max(old[lane], new[lane])
        largest, reach = longer, reach + step
    return largest


@njit(cache=True, nogil=True, error_model="numpy")
def rolling_mean_deviation(values: Column, means: Column, window: int, cut: bool) -> Column:
    """The mean of |x - mean of the window| over the last `window` bars, every window from scratch.

    Args:
        values: NaN only at the front.
        means: `rolling_mean_and_variance` of the same window.
        window: bars.
        cut: see `_first_full`.
    """
    full = _first_full(values, window, cut)
    out = _unknown_before(full, values.shape[1])
    for begin, first, stop in _stretches(full, values.shape[1]):
        if first == stop:
            continue
        for row in range(begin, BLOCK):
            centre, total = means[row, first:stop], out[row, first:stop]
            total[:] = 0.0
            for back in range(window):
                old = _past(values, row - back, first, stop)
                for lane in range(len(total)):
                    total[lane] += abs(old[lane] - centre[lane])
            total /= window
    return out


@njit(cache=True, nogil=True)
def store_rows(block: NDArray[np.float32], out: NDArray[np.float32], begin: int) -> None:
    """Writes the bars of block [BLOCK, F, lanes] from number `begin` on as the rows of out [n, F].

    Column by column would pass over every cache line of `out` once for each feature.
    """
    _, num_features, lanes = block.shape
    for row in range(BLOCK):
        for lane in range(lanes):
            bar = lane * BLOCK + row - begin
            if 0 <= bar < len(out):
                for feature in range(num_features):
                    out[bar, feature] = block[row, feature, lane]
