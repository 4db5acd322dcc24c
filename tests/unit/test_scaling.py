"""The scaler: hand-worked moments, numbers that float32 sums get wrong, and features that cannot be scaled."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from models_lib.errors import DataError
from models_lib.scaling import fit_scaler, scaled_moments


def test_fit_gives_mean_and_population_deviation_of_the_named_rows_only() -> None:
    features = np.array([[1.0, 10.0], [3.0, 30.0], [999.0, np.nan]], dtype=np.float32)
    scaler = fit_scaler(features, np.array([0, 1]))
    assert scaler.mean.tolist() == [2.0, 20.0]
    assert scaler.scale.tolist() == [1.0, 10.0]
    assert scaler.mean.dtype == scaler.scale.dtype == np.float64


def test_fit_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    features = (rng.normal(size=(5_000, 6)) * [1, 10, 0.1, 1e-4, 3, 7] + [0, 5, 100, 0, -3, 1]).astype(np.float32)
    rows = np.arange(0, 5_000, 2)
    scaler = fit_scaler(features, rows)
    reference = StandardScaler().fit(features[rows].astype(np.float64))
    np.testing.assert_allclose(scaler.mean, reference.mean_, rtol=1e-10)
    np.testing.assert_allclose(scaler.scale, reference.scale_, rtol=1e-9)


def test_fit_keeps_its_digits_where_the_mean_dwarfs_the_deviation() -> None:
    rng = np.random.default_rng(4)
    column = (79_568.14 + rng.normal(size=200_000)).astype(np.float32)
    scaler = fit_scaler(column[:, None], np.arange(column.size))
    exact = column.astype(np.longdouble)
    assert scaler.mean[0] == pytest.approx(float(exact.mean()), rel=1e-13)
    assert scaler.scale[0] == pytest.approx(float(exact.std()), rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 1.0, 79_568.14])
def test_fit_refuses_a_constant_feature_by_name(value: float) -> None:
    features = np.stack([np.arange(50.0), np.full(50, value)], axis=1).astype(np.float32)
    with pytest.raises(DataError, match=r"rsi_14: constant on the 50 training rows"):
        fit_scaler(features, np.arange(50), names=["g_60", "rsi_14"])


def test_fit_refuses_a_feature_that_is_not_finite_by_name() -> None:
    features = np.array([[1.0, 1.0], [2.0, np.nan], [3.0, 2.0]], dtype=np.float32)
    with pytest.raises(DataError, match="feature 1: NaN or infinity"):
        fit_scaler(features, np.arange(3))


def test_no_rows_are_refused() -> None:
    features = np.ones((3, 2), dtype=np.float32)
    none = np.empty(0, dtype=np.int64)
    with pytest.raises(ValueError, match="must not be empty"):
        fit_scaler(features, none)
    with pytest.raises(ValueError, match="must not be empty"):
        scaled_moments(features, none, fit_scaler(np.eye(2, dtype=np.float32), np.arange(2)))


def test_scaled_moments_are_zero_and_one_on_the_rows_of_the_fit_and_tell_a_wrong_scaler() -> None:
    rng = np.random.default_rng(5)
    features = (rng.normal(size=(20_000, 3)) * [1, 20, 300] + [0, 100, -50]).astype(np.float32)
    rows = np.arange(20_000)
    scaler = fit_scaler(features, rows)
    mean, std = scaled_moments(features, rows, scaler)
    assert np.abs(mean).max() < 1e-6
    assert np.abs(std - 1).max() < 1e-6
    mean, std = scaled_moments(2 * features, rows, scaler)
    assert std == pytest.approx([2.0, 2.0, 2.0], abs=1e-5)
    assert mean[1] == pytest.approx(scaler.mean[1] / scaler.scale[1], abs=1e-3)
