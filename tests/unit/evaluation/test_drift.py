"""Drift: an index by hand, limits from past weeks, and histories that are too short."""

import numpy as np
import pytest

from models_lib.evaluation.drift import feature_drift

MINUTE, WEEK = 60_000, 7 * 1_440
START = 1_746_403_200_000


def history(weeks: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    features = np.random.default_rng(seed).normal(size=(weeks * WEEK, 2)).astype(np.float32)
    return features, START + MINUTE * np.arange(weeks * WEEK)


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
