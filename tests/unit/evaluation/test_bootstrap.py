"""Block bootstrap: coverage on dependent rows, exact small cases, and what is not measured."""

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from models_lib.evaluation.bootstrap import block_interval, block_interval_difference, block_interval_ratio

SETTINGS = {"block_bars": 240, "samples": 1_000, "seed": 1, "min_blocks": 30}


def autoregressive(rows: int, *, phi: float, seed: int) -> np.ndarray:
    """AR(1) of variance 1 and mean 0."""
    noise = np.random.default_rng(seed).normal(size=rows + 500) * math.sqrt(1 - phi * phi)
    return lfilter([1.0], [1.0, -phi], noise)[500:]


def test_interval_covers_the_mean_of_dependent_rows() -> None:
    """95 % intervals over 300 AR(1) series: at least 88 % must cover; intervals for independent rows cover about 45 %.

    43 blocks give a percentile interval a true coverage of 92-94 %; below 88 % is four binomial deviations off.
    """
    covered = naive = 0
    for seed in range(300):
        series = autoregressive(10_500, phi=0.9, seed=seed)
        interval = block_interval(series, **SETTINGS)
        assert interval is not None
        covered += interval.low <= 0.0 <= interval.high
        naive += abs(series.mean()) <= 1.96 * series.std() / math.sqrt(series.size)
    assert covered / 300 >= 0.88
    assert covered / 300 <= 0.99
    assert naive / 300 < 0.60


def test_effective_rows_follow_the_variance_inflation() -> None:
    """AR(1) with phi = 0.9 inflates the variance of the mean by (1 + phi) / (1 - phi) = 19; independent rows by 1."""
    dependent = np.mean(
        [block_interval(autoregressive(24_000, phi=0.9, seed=s), **SETTINGS).effective_rows for s in range(20)]  # type: ignore[union-attr]
    )
    assert 24_000 / dependent == pytest.approx(19, rel=0.20)
    independent = block_interval(np.random.default_rng(0).normal(size=24_000), **SETTINGS)
    assert independent is not None
    assert independent.effective_rows <= 24_000
    assert independent.effective_rows > 15_000


def test_resampled_means_equal_a_plain_loop() -> None:
    """The cumulative-sum form against an explicit gather of the same blocks."""
    series = np.random.default_rng(3).normal(size=1_000) + 5
    interval = block_interval(series, block_bars=20, samples=200, seed=9, min_blocks=30)
    starts = np.random.default_rng(9).integers(0, 981, size=(200, 50))
    means = [np.concatenate([series[s : s + 20] for s in row]).mean() for row in starts]
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), rel=1e-12)
    assert interval.blocks == 50


def test_constant_figures_have_an_interval_of_no_width() -> None:
    interval = block_interval(np.full(8_000, 0.25), **SETTINGS)
    assert interval is not None
    assert (interval.low, interval.high) == (0.25, 0.25)
    assert interval.effective_rows == 8_000


def test_fewer_than_thirty_blocks_are_not_measured() -> None:
    assert block_interval(np.random.default_rng(0).normal(size=30 * 240 - 1), **SETTINGS) is None
    assert block_interval(np.random.default_rng(0).normal(size=30 * 240), **SETTINGS) is not None
    assert block_interval(np.empty(0), **SETTINGS) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_figure_that_is_not_finite_is_not_measured(bad: float) -> None:
    series = np.zeros(8_000)
    series[5] = bad
    ones = np.ones(8_000)
    assert block_interval(series, **SETTINGS) is None
    assert block_interval_ratio(ones, series, **SETTINGS) is None
    assert block_interval_difference((ones, ones), (series, ones), **SETTINGS) is None


def test_same_seed_draws_the_same_blocks_so_that_paired_figures_are_differences() -> None:
    rng = np.random.default_rng(4)
    a = autoregressive(8_000, phi=0.9, seed=1)
    paired = block_interval(a - (a + 0.1 + 0.001 * rng.normal(size=8_000)), **SETTINGS)
    assert paired is not None
    assert -0.1001 < paired.low < paired.high < -0.0999
    alone, again = block_interval(a, **SETTINGS), block_interval(a, **SETTINGS)
    moved = block_interval(a + 0.1, **SETTINGS)
    assert alone == again
    assert alone is not None
    assert moved is not None
    assert (moved.low - 0.1, moved.high - 0.1) == pytest.approx((alone.low, alone.high), rel=1e-9)


def test_ratio_is_the_mean_over_the_weighted_rows() -> None:
    rng = np.random.default_rng(5)
    called = (rng.random(8_000) < 0.6).astype(float)
    right = called * (rng.random(8_000) < 0.52)
    interval = block_interval_ratio(right, called, **SETTINGS)
    assert interval is not None
    assert interval.low < right.sum() / called.sum() < interval.high
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / called.sum()), rel=0.35)
    assert interval.effective_rows <= called.sum()


def test_resamples_without_any_call_are_not_measured() -> None:
    called = np.zeros(8_000)
    assert block_interval_ratio(called, called, **SETTINGS) is None
    called[17] = 1.0  # most resamples miss the only call
    assert block_interval_ratio(called, called, **SETTINGS) is None


def test_difference_of_ratios_covers_a_planted_difference() -> None:
    rng = np.random.default_rng(6)
    side = rng.integers(0, 3, 20_000)
    up, down = (side == 2).astype(float), (side == 0).astype(float)
    value = rng.normal(size=20_000) + 0.5 * (side == 2)
    interval = block_interval_difference((up * value, up), (down * value, down), **SETTINGS)
    assert interval is not None
    assert interval.low < 0.5 < interval.high
    # independent rows: standard error sqrt(1/n_up + 1/n_down)
    width = 2 * 1.96 * math.sqrt(1 / up.sum() + 1 / down.sum())
    assert interval.high - interval.low == pytest.approx(width, rel=0.35)
