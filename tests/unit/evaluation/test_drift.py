"""Drift: an index by hand, limits from past weeks, and histories that are too short."""

from pathlib import Path

import numpy as np
import pytest

from models_lib.candles.schema import epoch_ms
from models_lib.candles.sources import read_parquet
from models_lib.evaluation.drift import feature_drift
from models_lib.features import FEATURE_NAMES, compute_features

MINUTE, WEEK = 60_000, 7 * 1_440
START = 1_746_403_200_000


def history(weeks: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    features = np.random.default_rng(seed).normal(size=(weeks * WEEK, 2)).astype(np.float32)
    return features, START + MINUTE * np.arange(weeks * WEEK)


def test_bins_are_the_deciles_of_the_training_rows_feature_by_feature() -> None:
    """By numpy's quantiles of the whole sample and its own histogram; a NaN row is in no week."""
    features, times = history(4, seed=3)
    features[5:9, 1] = np.nan
    train = np.arange(9, 2 * WEEK)
    drift = feature_drift(features, times, train, names=["a", "b"], floor=0.0)
    assert drift is not None
    edges = np.quantile(features[train].astype(np.float64), np.arange(1, 10) / 10, axis=0)
    for f in range(2):
        in_train, newest = (
            np.bincount(np.searchsorted(edges[:, f], features[rows, f], side="left"), minlength=10) / len(rows)
            for rows in (train, np.arange(3 * WEEK, 4 * WEEK))
        )
        assert drift.psi[f] == ((newest - in_train) * np.log(newest / in_train)).sum()


def test_unchanged_features_have_no_drift_and_the_floor_as_limit() -> None:
    features, times = history(6)
    drift = feature_drift(features, times, np.arange(4 * WEEK), names=["a", "b"], floor=0.25)
    assert drift is not None
    assert (drift.psi < 0.01).all()
    assert (drift.limit == 0.25).all()
    assert drift.num_past_weeks == 5
    assert drift.names == ("a", "b")


def test_index_of_a_shift_by_hand() -> None:
    """All of the newest week in the top decile: (1 - .1) ln(1 / .1) + 9 (.0001 - .1) ln(.0001 / .1)."""
    features, times = history(6)
    features[5 * WEEK :, 1] = 50.0
    drift = feature_drift(features, times, np.arange(4 * WEEK), names=["a", "b"], floor=0.25)
    assert drift is not None
    expected = 0.9 * np.log(10) + 9 * (1e-4 - 0.1) * np.log(1e-3)
    assert drift.psi[1] == pytest.approx(expected, rel=1e-3)
    assert drift.psi[0] < 0.01


def test_limit_follows_the_past_weeks_of_a_restless_feature() -> None:
    features, times = history(8)
    for week in range(8):
        features[week * WEEK : (week + 1) * WEEK, 1] += 2.0 * (-1) ** week
    drift = feature_drift(features, times, np.arange(5 * WEEK), names=["a", "b"], floor=0.25)
    assert drift is not None
    assert drift.limit[0] == 0.25
    assert drift.limit[1] > 0.5
    assert drift.psi[1] <= drift.limit[1]


def test_warm_up_rows_are_left_out() -> None:
    features, times = history(5)
    features[: 2 * WEEK] = np.nan
    drift = feature_drift(features, times, np.arange(2 * WEEK, 4 * WEEK), names=["a", "b"], floor=0.25)
    assert drift is not None
    assert drift.num_past_weeks == 2
    assert (drift.psi < 0.01).all()


def test_a_constant_stretch_in_the_newest_week_is_drift_and_finite() -> None:
    features, times = history(5)
    features[4 * WEEK :] = 0.0
    drift = feature_drift(features, times, np.arange(3 * WEEK), names=["a", "b"], floor=0.25)
    assert drift is not None
    assert np.isfinite(drift.psi).all()
    assert (drift.psi > 1).all()


def test_short_histories_are_not_measured() -> None:
    features, times = history(3)
    rows = np.arange(WEEK)
    assert feature_drift(features, times, rows, names=["a", "b"], floor=0.25) is not None
    assert feature_drift(features[10:], times[10:], rows, names=["a", "b"], floor=0.25) is None
    assert feature_drift(features[:0], times[:0], rows[:0], names=["a", "b"], floor=0.25) is None
    assert feature_drift(np.full_like(features, np.nan), times, rows, names=["a", "b"], floor=0.25) is None


def test_weeks_inside_a_hole_are_not_counted() -> None:
    features, times = history(5)
    times = np.concatenate((times[: 3 * WEEK], times[3 * WEEK :] + 4 * WEEK * MINUTE))
    drift = feature_drift(features, times, np.arange(3 * WEEK), names=["a", "b"], floor=0.25)
    assert drift is not None
    assert drift.num_past_weeks == 4


@pytest.mark.long
def test_limits_from_past_weeks_do_not_cry_wolf_on_real_candles(real_candles: Path) -> None:
    """Every third of the newest 27 weeks of two years, each the end of its own year of which the first 70 % trains.

    A fixed limit of 0.25 has features above it in every one of the 27, 18 in the mean, so that nobody would look. Above
    the limits of their own past are features in 3 of the 27 (5 for ETH).
    """
    frame = read_parquet(real_candles / "spot-2y" / "BTC-USD.parquet", symbol="BTC-USD")
    features, times = compute_features(frame), epoch_ms(frame)
    fixed, own = [], []
    for weeks_ago in range(0, 27, 3):
        year = slice(len(times) - (weeks_ago + 52) * WEEK, len(times) - weeks_ago * WEEK)
        known = np.flatnonzero(np.isfinite(features[year]).all(axis=1))
        train = known[: int(0.7 * known.size)]
        drift = feature_drift(features[year], times[year], train, names=FEATURE_NAMES, floor=0.25)
        assert drift is not None
        assert drift.num_past_weeks == 51
        fixed.append(int((drift.psi > 0.25).sum()))
        own.append(int((drift.psi > drift.limit).sum()))
    assert min(fixed) > 0
    assert np.mean(fixed) > 15
    assert np.count_nonzero(own) <= 2
