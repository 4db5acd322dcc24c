"""Temperature: planted ones are found, scikit-learn's own calibration agrees, bounds are reported, the sweep is plain."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from models_lib.calibration import (
    expected_calibration_error,
    fit_temperature,
    log_softmax,
    negative_log_likelihood,
    softmax,
    sweep_temperatures,
)
from models_lib.config import TemperatureSection


def planted(temperature: float, rows: int = 60_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Raw logits, and classes drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, 3)) * 1.5 * temperature
    cumulative = softmax(logits, temperature).cumsum(axis=1)
    return logits, (rng.random((rows, 1)) > cumulative[:, :2]).sum(axis=1)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (7, 2), (4_097, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_log_probabilities_are_bit_for_bit_those_of_reductions_over_rows(shape: tuple[int, int], order: str) -> None:
    drawn = np.random.default_rng(shape[0]).normal(scale=8.0, size=shape).astype(np.float32)
    logits = np.asarray(drawn, order=order)
    scaled = logits.astype(np.float64) / 1.7
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    by_row = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    np.testing.assert_array_equal(log_softmax(logits, 1.7), by_row)


def test_row_that_is_no_number_stays_the_only_one() -> None:
    log_p = log_softmax(np.array([[0.0, np.nan, 1.0], [0.0, 0.0, 0.0]]))
    assert np.isnan(log_p[0]).all()
    np.testing.assert_allclose(log_p[1], -math.log(3.0))


@pytest.mark.parametrize("temperature", [0.3, 0.5, 1.0, 1.7, 2.5, 5.0, 10.0])
def test_fit_finds_a_planted_temperature(temperature: float) -> None:
    logits, classes = planted(temperature)
    fit = fit_temperature(logits, classes)
    assert fit.temperature == pytest.approx(temperature, rel=0.02)  # sampling error of 60,000 rows
    assert not fit.at_bound


@pytest.mark.parametrize("temperature", [0.3, 1.7, 10.0])
def test_fit_is_the_minimum_to_a_millionth(temperature: float) -> None:
    logits, classes = planted(temperature, rows=5_000)
    fit = fit_temperature(logits, classes)

    def nll(log_temperature: float) -> float:
        return negative_log_likelihood(logits, classes, math.exp(log_temperature))

    reference = minimize_scalar(nll, bounds=(math.log(0.05), math.log(20)), method="bounded", options={"xatol": 1e-9})
    assert fit.temperature == pytest.approx(math.exp(reference.x), rel=1e-6)
    assert fit.nll == pytest.approx(reference.fun, abs=1e-12)
    slope = (nll(math.log(fit.temperature) + 1e-4) - nll(math.log(fit.temperature) - 1e-4)) / 2e-4
    assert abs(slope) < 1e-8


def test_fit_agrees_with_scikit_learn() -> None:
    logits, classes = planted(2.2, rows=20_000, seed=3)

    class Logits(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        """Hands its inputs through as decision values."""

        def fit(self, x: np.ndarray, y: np.ndarray) -> "Logits":
            self.classes_ = np.unique(y)
            return self

        def decision_function(self, x: np.ndarray) -> np.ndarray:
            return x

        def predict(self, x: np.ndarray) -> np.ndarray:
            return x.argmax(axis=1)

    frozen = FrozenEstimator(Logits().fit(logits, classes))
    theirs = CalibratedClassifierCV(frozen, method="temperature").fit(logits, classes)
    np.testing.assert_allclose(
        theirs.predict_proba(logits[:500]),
        softmax(logits[:500], fit_temperature(logits, classes).temperature),
        atol=1e-5,
    )


def test_fit_works_on_float32_logits_of_any_offset() -> None:
    logits, classes = planted(1.7, rows=5_000)
    shifted = fit_temperature(logits + 40.0, classes)
    assert shifted.temperature == pytest.approx(fit_temperature(logits, classes).temperature, rel=1e-9)
    narrow = fit_temperature(logits.astype(np.float32), classes)
    assert narrow.temperature == pytest.approx(fit_temperature(logits, classes).temperature, rel=1e-5)


def test_logits_against_the_classes_stop_at_the_bound_and_say_so() -> None:
    logits, classes = planted(1.0, rows=5_000)
    fit = fit_temperature(-logits, classes)
    assert fit.at_bound
    assert fit.temperature == pytest.approx(20.0)


def test_separable_logits_stop_at_the_other_bound() -> None:
    classes = np.arange(300) % 3
    fit = fit_temperature(np.eye(3)[classes], classes)
    assert fit.at_bound
    assert fit.temperature == pytest.approx(0.05)


def test_logits_without_any_information_are_reported_as_undetermined() -> None:
    fit = fit_temperature(np.full((10, 3), 7.0), np.arange(10) % 3)
    assert fit.at_bound
    assert fit.nll == pytest.approx(math.log(3))


def test_fit_within_other_bounds_is_the_same_inside_and_ends_at_them() -> None:
    logits, classes = planted(1.7, rows=5_000)
    free = fit_temperature(logits, classes)
    wide = fit_temperature(logits, classes, between=(0.001, 1_000.0))
    assert wide.temperature == pytest.approx(free.temperature, rel=1e-9)
    narrow = fit_temperature(logits, classes, between=(free.temperature * 1.2, 1_000.0))
    assert narrow.at_bound
    assert narrow.temperature == pytest.approx(free.temperature * 1.2)
    far = fit_temperature(logits * 400, classes, between=(1.001, 1_000.0))
    assert not far.at_bound
    assert far.temperature == pytest.approx(free.temperature * 400, rel=1e-9)


def test_raw_price_logits_still_have_a_fit() -> None:
    logits, classes = planted(1.0, rows=2_000)
    fit = fit_temperature(logits * 50_000, classes)
    assert fit.at_bound  # 1 / T would be 2e-5, far below 0.05
    assert math.isfinite(fit.nll)


@pytest.mark.parametrize(
    ("logits", "classes", "message"),
    [
        (np.empty((0, 3)), np.empty(0, int), "N > 0"),
        (np.zeros((2, 3)), np.array([0, 3]), r"classes must lie in 0..2"),
        (np.zeros((2, 3)), np.array([-1, 0]), r"classes must lie in 0..2"),
        (np.array([[0.0, np.nan, 1.0]]), np.array([0]), "finite"),
        (np.zeros((2, 3)), np.array([0]), "one class a row"),
    ],
)
def test_bad_input_is_refused(logits: np.ndarray, classes: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_temperature(logits, classes)


def test_temperature_never_changes_the_predicted_class() -> None:
    logits, _ = planted(1.0, rows=1_000)
    for temperature in TemperatureSection().sweep:
        np.testing.assert_array_equal(softmax(logits, temperature).argmax(axis=1), logits.argmax(axis=1))


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.85, 0.55, 0.52])
    correct = np.array([True, False, True, False])
    # two bins: [0.5, 1] holds all four: |2 - (0.95 + 0.85 + 0.55 + 0.52)| / 4
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx(0.87 / 4)
    # ten bins: 0.95 right, 0.85 wrong, the last two together
    assert expected_calibration_error(confidence, correct, bins=10) == pytest.approx((0.05 + 0.85 + 0.07) / 4)
    assert expected_calibration_error(np.array([1.0]), np.array([True]), bins=15) == 0.0


def test_sweep_names_the_best_temperature_in_the_band() -> None:
    logits, classes = planted(2.0, seed=5)
    section = TemperatureSection()
    sweep = sweep_temperatures(logits, classes, section, ece_limit=0.05, bins=15)
    assert [row.temperature for row in sweep.rows] == list(section.sweep)
    confidences = [row.mean_confidence for row in sweep.rows]
    assert confidences == sorted(confidences, reverse=True)
    assert min(sweep.rows, key=lambda row: row.nll).temperature == 2.0
    assert sweep.chosen == 2.0
    chosen = next(row for row in sweep.rows if row.temperature == 2.0)
    probabilities = softmax(logits, 2.0).max(axis=1)
    assert chosen.share_over_90 == np.mean(probabilities > 0.9)
    assert chosen.share_over_99 == np.mean(probabilities > 0.99)
    assert chosen.ece < 0.01


def test_sweep_says_why_none_meets_the_target() -> None:
    logits, classes = planted(2.0, seed=5)
    narrow = TemperatureSection(target_low=0.985, target_high=0.99)
    sweep = sweep_temperatures(logits, classes, narrow, ece_limit=0.05, bins=15)
    assert sweep.chosen is None
    assert sweep.reason == "No temperature meets the target: none of the 13 gives a mean confidence 0.98-0.99."
    overconfident = TemperatureSection(target_low=0.9, target_high=0.99)
    sweep = sweep_temperatures(logits, classes, overconfident, ece_limit=0.05, bins=15)
    assert sweep.chosen is None
    assert "ECE of at least" in sweep.reason
