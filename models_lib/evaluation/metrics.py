"""How good a set of predictions is, in numbers that need nothing but the predictions and the classes.

What does not belong here: baselines, intervals, returns, and any verdict.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models_lib.calibration import expected_calibration_error, log_softmax

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """The reliability diagram: equal-width confidence bins.

    Attributes:
        edges: float64 [bins + 1], 0..1.
        counts: int64 [bins], predictions in each bin.
        confidence: float64 [bins], mean confidence; NaN in an empty bin.
        accuracy: float64 [bins], share of right predictions; NaN in an empty bin.
    """

    edges: Floats
    counts: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats


@dataclass(frozen=True, eq=False)
class EmittedFigures:
    """Figures of n predictions that need no classes; shares are in 0..1.

    Attributes:
        mean_confidence: mean of the largest probability.
        share_over_90: share of rows with confidence > 0.9.
        share_over_99: share of rows with confidence > 0.99.
        share_50_90: share of rows with confidence in 0.5..0.9, both included.
        max_abs_logit: largest |logit| after temperature.
        class_shares: share of DOWN, NEUTRAL, UP among the predictions.
    """

    mean_confidence: float
    share_over_90: float
    share_over_99: float
    share_50_90: float
    max_abs_logit: float
    class_shares: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class ClassificationMetrics(EmittedFigures):
    """Figures of n predictions against their classes.

    Attributes:
        accuracy: share of rows whose largest probability is on the right class.
        nll: mean negative log-likelihood in nats; 1.0986 is what knowing nothing gives.
        ece: expected calibration error.
        confusion: int64 [3, 3], rows are true classes, columns predictions.
        reliability: the bins behind `ece`.
    """

    accuracy: float
    nll: float
    ece: float
    confusion: NDArray[np.int64]
    reliability: ReliabilityBins


def nll_per_row(logits: NDArray[np.floating], classes: NDArray[np.integer]) -> Floats:
    """Negative log-likelihood of each row in nats, float64 [n], from logits after temperature.

    Taken from the logits, because a float32 probability rounds to 0 long before its logarithm is out of range.
    """
    per_row: Floats = -log_softmax(logits)[np.arange(len(classes)), classes]
    return per_row


def emitted_figures(logits: NDArray[np.floating], probabilities: NDArray[np.floating]) -> EmittedFigures:
    """The figures of one set of predictions that say nothing about right or wrong.

    Args:
        logits: [n, 3] after temperature, as the bundle emits them, finite.
        probabilities: [n, 3], as the bundle emits them, finite.

    Raises:
        ValueError: no rows.
    """
    if len(probabilities) == 0:
        raise ValueError("there must be at least one prediction")
    p_NC = probabilities.astype(np.float64)
    confidence = p_NC.max(axis=1)
    shares = np.bincount(p_NC.argmax(axis=1), minlength=3) / len(p_NC)
    return EmittedFigures(
        mean_confidence=float(confidence.mean()),
        share_over_90=float((confidence > 0.9).mean()),
        share_over_99=float((confidence > 0.99).mean()),
        share_50_90=float(((confidence >= 0.5) & (confidence <= 0.9)).mean()),
        max_abs_logit=float(np.abs(logits).max()),
        class_shares=(float(shares[0]), float(shares[1]), float(shares[2])),
    )


def classification_metrics(
    logits: NDArray[np.floating],
    probabilities: NDArray[np.floating],
    classes: NDArray[np.integer],
    *,
    bins: int,
) -> ClassificationMetrics:
    """The figures of one set of predictions.

    Args:
        logits: [n, 3] after temperature, as the bundle emits them.
        probabilities: [n, 3], as the bundle emits them.
        classes: [n], 0..2, every one known.
        bins: equal-width confidence bins of the calibration error.

    Raises:
        ValueError: no rows, shapes that differ, unknown classes, or a value that is not finite.
    """
    _check(logits, probabilities, classes)
    p_NC = probabilities.astype(np.float64)
    predicted = p_NC.argmax(axis=1)
    confidence = p_NC.max(axis=1)
    correct = predicted == classes
    confusion = np.bincount(3 * classes.astype(np.int64) + predicted, minlength=9).reshape(3, 3)
    return ClassificationMetrics(
        **vars(emitted_figures(logits, probabilities)),
        accuracy=float(correct.mean()),
        nll=float(nll_per_row(logits, classes).mean()),
        ece=expected_calibration_error(confidence, correct, bins=bins),
        confusion=confusion.astype(np.int64),
        reliability=reliability_bins(confidence, correct, bins=bins),
    )


def reliability_bins(confidence: Floats, correct: NDArray[np.bool_], *, bins: int) -> ReliabilityBins:
    """Counts, mean confidence and accuracy by equal-width confidence bin; binned as the calibration error is."""
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    weight = np.where(counts > 0, counts, np.nan)
    return ReliabilityBins(
        edges=np.linspace(0.0, 1.0, bins + 1),
        counts=counts,
        confidence=np.bincount(place, weights=confidence, minlength=bins) / weight,
        accuracy=np.bincount(place, weights=correct.astype(np.float64), minlength=bins) / weight,
    )


def _check(logits: NDArray[np.floating], probabilities: NDArray[np.floating], classes: NDArray[np.integer]) -> None:
    if logits.shape != (len(classes), 3) or probabilities.shape != logits.shape or len(classes) == 0:
        raise ValueError(
            f"logits and probabilities must be [n, 3] with one class a row and n > 0, "
            f"was {logits.shape}, {probabilities.shape} and {classes.shape}"
        )
    if not (np.isfinite(logits).all() and np.isfinite(probabilities).all()):
        raise ValueError("logits and probabilities must be finite, were NaN or infinite in places")
    if classes.min() < 0 or classes.max() > 2:
        raise ValueError(f"classes must lie in 0..2, were {classes.min()}..{classes.max()}")
