"""Intervals that know that neighbouring rows are not independent: the moving-block bootstrap (Kuensch 1989).

Labels of neighbouring minutes share most of their bars, so intervals for independent rows are two to three times too
narrow. Whole blocks of consecutive rows are drawn instead; paired figures are differences per row, and every figure of
an evaluation uses the same seed and therefore the same blocks.

What does not belong here: which figure is measured, and the choice of block length (configuration).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NO_WEIGHT = 1e-6
"""Sums of weights (counts of rows) at or below this are 0 but for rounding."""


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Attributes:
        low: lower end.
        high: upper end.
        blocks: number of whole blocks that fit into the rows.
        effective_rows: independent rows that would give the same variance of the mean, at most the number of rows.
    """

    low: float
    high: float
    blocks: int
    effective_rows: float


def block_interval(
    per_row: Floats, *, block_bars: int, samples: int, seed: int, min_blocks: int, level: float = 0.95
) -> Interval | None:
    """The interval of the mean of `per_row`, from resampled blocks of consecutive rows.

    Args:
        per_row: float64 [n], one figure a row, rows in order of time.
        block_bars: rows of a block.
        samples: number of resamples.
        seed: of the block starts.
        min_blocks: with fewer whole blocks the answer is None: not measured.
        level: share of resampled means within the interval.

    Returns:
        The interval, or None when there are fewer than `min_blocks` blocks or a figure is not finite.
    """
    return block_interval_ratio(
        per_row,
        np.ones_like(per_row),
        block_bars=block_bars,
        samples=samples,
        seed=seed,
        min_blocks=min_blocks,
        level=level,
    )


def block_interval_ratio(
    numerator: Floats,
    denominator: Floats,
    *,
    block_bars: int,
    samples: int,
    seed: int,
    min_blocks: int,
    level: float = 0.95,
) -> Interval | None:
    """The interval of sum(numerator) / sum(denominator): a mean over some rows, such as accuracy over called rows.

    Args:
        numerator: float64 [n]; 0 where the denominator is 0.
        denominator: float64 [n], the weight of each row, >= 0.
        block_bars: as `block_interval`.
        samples: as `block_interval`.
        seed: as `block_interval`.
        min_blocks: as `block_interval`.
        level: as `block_interval`.

    Returns:
        The interval, or None when there are too few blocks, a figure is not finite, or a resample has no weight.
    """
    rows = numerator.size
    blocks = rows // block_bars
    if blocks < max(min_blocks, 1) or not (np.isfinite(numerator).all() and np.isfinite(denominator).all()):
        return None
    starts = _block_starts(rows, block_bars, samples, seed)
    tops = _resampled_sums(numerator, starts, block_bars)
    weights = _resampled_sums(denominator, starts, block_bars)
    if not weights.min() > _NO_WEIGHT:
        return None
    ratios = tops / weights
    low, high = np.quantile(ratios, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    weight = float(denominator.sum())
    return Interval(
        float(low), float(high), blocks, _effective_rows(_influence(numerator, denominator), ratios, weight)
    )


def block_interval_difference(
    first: tuple[Floats, Floats],
    second: tuple[Floats, Floats],
    *,
    block_bars: int,
    samples: int,
    seed: int,
    min_blocks: int,
    level: float = 0.95,
) -> Interval | None:
    """The interval of the difference of two ratios on the same blocks, such as the mean on UP calls minus on DOWN calls.

    Args:
        first: numerator and denominator, float64 [n] each.
        second: numerator and denominator, float64 [n] each.
        block_bars: as `block_interval`.
        samples: as `block_interval`.
        seed: as `block_interval`.
        min_blocks: as `block_interval`.
        level: as `block_interval`.

    Returns:
        The interval, or None as `block_interval_ratio`.
    """
    rows = first[0].size
    if rows // block_bars < max(min_blocks, 1) or not all(np.isfinite(part).all() for part in (*first, *second)):
        return None
    starts = _block_starts(rows, block_bars, samples, seed)
    tops = [_resampled_sums(pair[0], starts, block_bars) for pair in (first, second)]
    weights = [_resampled_sums(pair[1], starts, block_bars) for pair in (first, second)]
    if not (weights[0].min() > _NO_WEIGHT and weights[1].min() > _NO_WEIGHT):
        return None
    differences = tops[0] / weights[0] - tops[1] / weights[1]
    low, high = np.quantile(differences, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    influence = _influence(*first) - _influence(*second)
    return Interval(float(low), float(high), rows // block_bars, _effective_rows(influence, differences, float(rows)))


def _block_starts(rows: int, block_bars: int, samples: int, seed: int) -> NDArray[np.int64]:
    """First rows of the drawn blocks, int64 [samples, blocks]; depends on nothing but its arguments."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, rows - block_bars + 1, size=(samples, rows // block_bars))


def _resampled_sums(per_row: Floats, starts: NDArray[np.int64], block_bars: int) -> Floats:
    """Sum over the drawn blocks of each resample, by differences of one cumulative sum (of centred figures)."""
    centre = per_row.mean()
    cumulative = np.concatenate(([0.0], np.cumsum(per_row - centre)))
    sums: Floats = (cumulative[starts + block_bars] - cumulative[starts]).sum(axis=1)
    sums += centre * block_bars * starts.shape[1]
    return sums


def _influence(numerator: Floats, denominator: Floats) -> Floats:
    """What each row adds to the deviation of the ratio: their squares sum to its variance for independent rows."""
    weight = denominator.sum()
    influence: Floats = (numerator - denominator * (numerator.sum() / weight)) / weight
    return influence


def _effective_rows(influence: Floats, resampled: Floats, weight: float) -> float:
    """The weighted rows divided by the inflation of the variance over that of independent rows; at most the rows."""
    variance_independent = float((influence * influence).sum())
    variance_blocks = float(resampled.var())
    if variance_blocks <= variance_independent:
        return weight
    return weight * variance_independent / variance_blocks
