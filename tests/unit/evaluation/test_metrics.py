"""Classification figures by hand, and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, log_loss

from models_lib.calibration import softmax
from models_lib.evaluation.metrics import classification_metrics, nll_per_row, reliability_bins

P = np.array([[0.95, 0.03, 0.02], [0.2, 0.6, 0.2], [0.005, 0.0, 0.995], [0.45, 0.3, 0.25]])
CLASSES = np.array([0, 2, 2, 1], dtype=np.int8)


def test_figures_by_hand() -> None:
    figures = classification_metrics(np.log(P + 1e-9), P, CLASSES, bins=10)
    assert figures.accuracy == 0.5
    assert figures.mean_confidence == pytest.approx((0.95 + 0.6 + 0.995 + 0.45) / 4)
    assert figures.share_over_90 == 0.5
    assert figures.share_over_99 == 0.25
    assert figures.share_50_90 == 0.25
    assert figures.class_shares == (0.5, 0.25, 0.25)
    assert figures.max_abs_logit == pytest.approx(-math.log(1e-9))
    assert figures.nll == pytest.approx(-np.log([0.95, 0.2, 0.995, 0.3]).mean(), abs=1e-6)
    # bins of 0.1: 0.95 and 0.995 both right, 0.6 wrong, 0.45 wrong
    assert figures.ece == pytest.approx((abs(0.05 + 0.005) + 0.6 + 0.45) / 4)
    assert figures.confusion.tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 1]]


def test_figures_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(5_000, 3)) * 2
    classes = rng.integers(0, 3, 5_000).astype(np.int8)
    p = softmax(logits)
    figures = classification_metrics(logits, p, classes, bins=15)
    assert figures.nll == pytest.approx(log_loss(classes, p), rel=1e-12)
    np.testing.assert_array_equal(figures.confusion, confusion_matrix(classes, p.argmax(axis=1)))
    assert sum(figures.class_shares) == pytest.approx(1.0)


def test_reliability_bins_hold_every_row_once_and_agree_with_the_calibration_error() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.uniform(1 / 3, 1, 10_000)
    correct = rng.random(10_000) < confidence**2
    bins = reliability_bins(confidence, correct, bins=15)
    filled = bins.counts > 0
    assert bins.counts.sum() == 10_000
    assert np.isnan(bins.accuracy[~filled]).all()
    logits = np.log(np.stack([confidence, (1 - confidence) / 2, (1 - confidence) / 2], axis=1))
    classes = np.where(correct, 0, 1).astype(np.int8)
    figures = classification_metrics(logits, np.exp(logits), classes, bins=15)
    gaps = np.abs(bins.accuracy - bins.confidence)[filled]
    assert figures.ece == pytest.approx((gaps * bins.counts[filled]).sum() / 10_000)


def test_nll_of_a_row_survives_where_a_float32_probability_is_zero() -> None:
    logits = np.array([[0.0, 200.0, 0.0]], dtype=np.float32)
    assert nll_per_row(logits, np.array([0]))[0] == pytest.approx(200.0)


@pytest.mark.parametrize(
    ("logits", "classes", "message"),
    [
        (np.empty((0, 3)), np.empty(0, np.int8), "n > 0"),
        (np.zeros((2, 2)), np.zeros(2, np.int8), r"\[n, 3\]"),
        (np.full((2, 3), np.inf), np.zeros(2, np.int8), "finite"),
        (np.zeros((2, 3)), np.array([0, -1], np.int8), r"0\.\.2"),
    ],
)
def test_bad_input_is_refused(logits: np.ndarray, classes: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classification_metrics(logits, np.full(logits.shape, 1 / 3), classes, bins=15)
