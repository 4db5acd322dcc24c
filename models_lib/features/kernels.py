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

Rows and lanes are counted in unsigned numbers within the loops: a signed place could count from the end, which numba would ask
at every step, and a row that is cut out has its references counted, which costs as much as the arithmetic on eight lanes.

A host without compiled kernels waits for them at its first start, so they are few, each with one signature, and use no
numpy function that has to be compiled with them but np.empty; blocks are counted with shifts and masks for the same reason.

No fastmath: reassociation would give other bits for another slice length. A window in which every value is the same has
exactly that value as its mean and exactly 0 as its deviation (no rounding residue of what left the window).

What does not belong here: the meaning of a window (measures.py) and of a feature (definitions.py).
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

Column = NDArray[np.float64]
Lanes = NDArray[np.float64]
"""One row of some lanes."""

BLOCK_BITS: Final = 8
BLOCK: Final = 1 << BLOCK_BITS
"""Minutes between two fresh starts: row n of a lane is row n & LAST_ROW of the lane n >> BLOCK_BITS after it."""
LAST_ROW: Final = BLOCK - 1

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


def _compiled(function: _Kernel) -> _Kernel:
    """The function, compiled at its first call; without the entry for C, which nobody calls."""
    kernel: _Kernel = njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)(function)  # type: ignore[call-overload]
    return kernel


_within = njit(inline="always")
"""For parts of one kernel: not compiled by themselves as well."""


@_compiled
def lay_out(values: NDArray[np.float64], offset: int) -> Column:
    """The values of consecutive bars as a Column, the first of them in row `offset` of lane 0."""
    lanes = (offset + len(values) + LAST_ROW) >> BLOCK_BITS
    out = np.empty((BLOCK, lanes))
    for row in range(BLOCK):
        for lane in range(lanes):
            bar = lane * BLOCK + row - offset
            out[row, lane] = values[bar if bar < len(values) else len(values) - 1] if bar >= 0 else np.nan
    return out


@_compiled
def _first_number(values: Column) -> int:
    """How many bars after row 0 of lane 0 the first number stands."""
    bar = 0
    while bar < values.size and np.isnan(values[bar & LAST_ROW, bar >> BLOCK_BITS]):
        bar += 1
    return bar


@_compiled
def _first_full(values: Column, window: int, cut: bool) -> int:
    """The number of the first bar with a full window; in a cut slice, of the first block that begins with one."""
    full = _first_number(values) + window - 1
    return ((full + LAST_ROW) >> BLOCK_BITS) << BLOCK_BITS if cut else full


@_compiled
def _unknown_before(full: int, lanes: int) -> Column:
    """A Column to fill, in which the bars before the one of number `full` are NaN."""
    out = np.empty((BLOCK, lanes))
    for row in range(BLOCK):
        for lane in range(min((full + LAST_ROW - row) >> BLOCK_BITS, lanes)):
            out[row, lane] = np.nan
    return out


@_compiled
def _stretches(full: int, lanes: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """What is computed from where: (first row, first lane, lane after the last).

    The first is the lane in which the bar `full` stands, from that bar on, and is empty where it begins a block; the
    second is all lanes after it.
    """
    whole = min((full + LAST_ROW) >> BLOCK_BITS, lanes)
    return (full & LAST_ROW, min(full >> BLOCK_BITS, lanes), whole), (0, whole, lanes)


def rolling_mean(values: Column, window: int, cut: bool) -> Column:
    """The mean of the last `window` bars, this one included; for what is never negative or lies around 0."""
    return _means_and_variances(values, window, cut, False)[0]


def rolling_mean_and_variance(values: Column, window: int, cut: bool) -> tuple[Column, Column]:
    """The mean and the population variance of the last `window` bars; for levels far from 0.

    Deviations are taken from the value at the block's start, so the squares stay small beside the level (Chan, Golub,
    LeVeque 1983, shifted data).
    """
    return _means_and_variances(values, window, cut, True)


@_compiled
def _means_and_variances(values: Column, window: int, cut: bool, levelled: bool) -> tuple[Column, Column]:
    """Both, or where nothing is levelled the sums of the values themselves and no variances: a mean is one about 0."""
    lanes = values.shape[1]
    full = _first_full(values, window, cut)
    means, variances = _unknown_before(full, lanes), _unknown_before(full, lanes if levelled else 0)
    for begin, first, stop in _stretches(full, lanes):
        if first < stop:
            _slide(means, variances, values, window, begin, first, stop)
    return means, variances


@_within
def _slide(means: Column, variances: Column, values: Column, window: int, begin: int, first: int, stop: int) -> None:  # noqa: PLR0917  numba compiles positional arguments only
    """Fills the rows from `begin` on; where all values of a window are equal, its mean is that value and its variance 0.

    The first row goes through the loop as one whose oldest bar is its own: it adds what it takes away, no bit changes.
    """
    num = np.uintp(stop - first)
    levelled = variances.shape[1] > 0
    level, total, squares, equal = np.empty(num), np.empty(num), np.empty(num), np.empty(num)
    _sum_up(level, total, squares, equal, values, window, begin, first, levelled)
    here = np.uintp(first)
    for row in range(begin, BLOCK):
        gone, last = (row - window, row - 1) if row > begin else (row, row)
        new, old, before = np.uintp(row), np.uintp(gone & LAST_ROW), np.uintp(last)
        there = np.uintp(first + (gone >> BLOCK_BITS))
        for lane in range(num):
            value = values[new, here + lane]
            total[lane] += (value - level[lane]) - (values[old, there + lane] - level[lane])
            equal[lane] = equal[lane] + 1.0 if value == values[before, here + lane] else 1.0
            means[new, here + lane] = value if equal[lane] >= window else level[lane] + total[lane] / window
        if levelled:
            for lane in range(num):
                come, went = values[new, here + lane] - level[lane], values[old, there + lane] - level[lane]
                squares[lane] += come * come - went * went
                spread = squares[lane] - total[lane] * total[lane] / window
                variances[new, here + lane] = spread / window if equal[lane] < window and spread > 0.0 else 0.0


@_within
def _sum_up(  # noqa: PLR0917  numba compiles positional arguments only
    level: Lanes,
    total: Lanes,
    squares: Lanes,
    equal: Lanes,
    values: Column,
    window: int,
    begin: int,
    first: int,
    levelled: bool,
) -> None:
    """What `_slide` begins with: the sums over the window up to row `begin`, afresh, and `_equal_before`."""
    num = np.uintp(len(total))
    here, top = np.uintp(first), np.uintp(begin)
    for lane in range(num):
        level[lane] = values[top, here + lane] if levelled else 0.0
        total[lane], squares[lane] = 0.0, 0.0
    for place in range(len(equal)):
        equal[place] = _equal_before(values, begin, first + place, window)
    for row in range(begin - window + 1, begin + 1):
        old, there = np.uintp(row & LAST_ROW), np.uintp(first + (row >> BLOCK_BITS))
        for lane in range(num):
            total[lane] += values[old, there + lane] - level[lane]
        if levelled:
            for lane in range(num):
                deviation = values[old, there + lane] - level[lane]
                squares[lane] += deviation * deviation


@_within
def _equal_before(values: Column, row: int, lane: int, most: int) -> int:
    """How many bars before this one have its value without a break, counted up to `most` - 1."""
    equal = 0
    while (
        equal < most - 1
        and values[(row - equal - 1) & LAST_ROW, lane + ((row - equal - 1) >> BLOCK_BITS)] == values[row, lane]
    ):
        equal += 1
    return equal


@_compiled
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
    keep = 1.0 - weight
    for begin, first, stop in _stretches(full, values.shape[1]):
        if first == stop:
            continue
        num, here = np.uintp(stop - first), np.uintp(first)
        mean, newer = np.empty(num), np.empty(num)
        _recur_afresh(mean, newer, values, weight, memory, begin, first)
        for lane in range(num):
            out[np.uintp(begin), here + lane] = mean[lane]
        for row in range(begin + 1, BLOCK):
            new = np.uintp(row)
            for lane in range(num):
                mean[lane] = keep * mean[lane] + weight * values[new, here + lane]
                out[new, here + lane] = mean[lane]
    return out


@_within
def _recur_afresh(  # noqa: PLR0917  numba compiles positional arguments only
    mean: Lanes, newer: Lanes, values: Column, weight: float, memory: int, begin: int, first: int
) -> None:
    """The exponential means of row `begin`, from `memory` bars; `newer` is room for the stretch that is run through."""
    num, keep, stretch = np.uintp(len(mean)), 1.0 - weight, (memory - 1) >> 2
    left = keep**stretch
    for lane in range(num):
        mean[lane], newer[lane] = 0.0, 0.0
    for row in range(begin - memory + 1, begin + 1):
        old, there = np.uintp(row & LAST_ROW), np.uintp(first + (row >> BLOCK_BITS))
        share = weight if row > begin - memory + 1 else 1.0
        for lane in range(num):
            newer[lane] = keep * newer[lane] + share * values[old, there + lane]
        if row in (begin - 3 * stretch, begin - 2 * stretch, begin - stretch, begin):
            for lane in range(num):
                mean[lane] = mean[lane] * left + newer[lane]
                newer[lane] = 0.0


@_compiled
def rolling_max(values: Column, window: int) -> Column:
    """The largest of the last `window` bars: exact, so nothing has to be started afresh.

    The maxima of 1, 2, 4, ... bars are each two of the ones before, and the last step joins two that overlap.
    """
    largest, reach = values, 1
    first_number = _first_number(values)
    while reach < window:
        step = min(reach, window - reach)
        full = first_number + reach + step - 1
        longer = _unknown_before(full, values.shape[1])
        for begin, first, stop in _stretches(full, values.shape[1]):
            num, here = np.uintp(stop - first), np.uintp(first)
            for row in range(begin, BLOCK):
                gone = row - step
                new, old, there = np.uintp(row), np.uintp(gone & LAST_ROW), np.uintp(first + (gone >> BLOCK_BITS))
                for lane in range(num):
                    longer[new, here + lane] = max(largest[old, there + lane], largest[new, here + lane])
        largest, reach = longer, reach + step
    return largest


@_compiled
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
        num, here = np.uintp(stop - first), np.uintp(first)
        total = np.empty(num)
        for row in range(begin, BLOCK):
            new = np.uintp(row)
            for lane in range(num):
                total[lane] = 0.0
            for past in range(row, row - window, -1):
                old, there = np.uintp(past & LAST_ROW), np.uintp(first + (past >> BLOCK_BITS))
                for lane in range(num):
                    total[lane] += abs(values[old, there + lane] - means[new, here + lane])
            for lane in range(num):
                out[new, here + lane] = total[lane] / window
    return out


@_compiled
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
