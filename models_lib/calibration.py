"""Temperature: the one number that turns logits into probabilities that mean what they say.

The temperature is absolute: it replaces a learned one, so every function takes RAW logits (temperature 1). It never
changes the predicted class. Guo et al. 2017, "On calibration of modern neural networks"; refine-then-calibrate,
arXiv 2501.19195.

What does not belong here: the network (torch), gates, plots. Only numpy, because the trading host loads this module.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from models_lib.config import TemperatureSection

SMALLEST_INVERSE, LARGEST_INVERSE = 0.05, 20.0
"""Bounds of 1 / T where nothing else is asked for. Logits without signal send T to infinity, perfectly separable ones to zero; the fit stops here and
says so."""
_STEPS = 100
_RELATIVE_STEP = 1e-11

Floats = NDArray[np.float64]
SlopeAt = Callable[[float], tuple[float, float]]
"""1 / T -> slope and curvature of the NLL there."""


@dataclass(frozen=True)
class TemperatureFit:
    """The temperature with the lowest NLL.

    Attributes:
        temperature: > 0; 1 / temperature lies in [0.05, 20], where nothing else was asked for.
        nll: mean negative log-likelihood at that temperature, in nats.
        at_bound: the optimum lies on or past a bound, or the logits carry no information at all.
    """

    temperature: float
    nll: float
    at_bound: bool


@dataclass(frozen=True)
class SweepRow:
    """What one temperature would do: figures on the rows of the sweep, shares in 0..1, nll in nats."""

    temperature: float
    mean_confidence: float
    share_over_90: float
    share_over_99: float
    ece: float
    nll: float


@dataclass(frozen=True)
class TemperatureSweep:
    """The table over temperatures, and the one that meets the target band.

    Attributes:
        rows: one entry a temperature, in the configured order.
        chosen: the temperature of lowest NLL among those within the band and below the ECE limit; None when none is.
        reason: one sentence on the choice or on why there is none.
    """

    rows: tuple[SweepRow, ...]
    chosen: float | None
    reason: str


def log_softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Log probabilities float64 [N, C] of logits [N, C] divided by the temperature.

    Column by column: numpy's reductions over so short a last axis take most of the time, and give the same bits.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled = scaled - reduce(np.maximum, scaled.T)[:, None]
    log_probabilities: Floats = scaled - np.log(reduce(np.add, np.exp(scaled).T))[:, None]
    return log_probabilities


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Probabilities float64 [N, C] of logits [N, C] divided by the temperature."""
    probabilities: Floats = np.exp(log_softmax(logits, temperature))
    return probabilities


def negative_log_likelihood(
    logits: NDArray[np.floating], classes: NDArray[np.integer], temperature: float = 1.0
) -> float:
    """Mean negative log-likelihood of the classes, in nats; log(3) = 1.0986 is what knowing nothing gives."""
    return float(-log_softmax(logits, temperature)[np.arange(len(classes)), classes].mean())


def expected_calibration_error(confidence: Floats, correct: NDArray[np.bool_], *, bins: int) -> float:
    """Mean gap between confidence and accuracy over equal-width confidence bins, weighted by rows (Naeini 2015).

    A confidence on an inner bin edge belongs to the upper bin; 1 belongs to the last.
    """
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = np.bincount(place, weights=correct.astype(np.float64) - confidence, minlength=bins)
    return float(np.abs(gap).sum() / confidence.size)


def fit_temperature(
    logits: NDArray[np.floating],
    classes: NDArray[np.integer],
    *,
    between: tuple[float, float] = (1.0 / LARGEST_INVERSE, 1.0 / SMALLEST_INVERSE),
) -> TemperatureFit:
    """The temperature that minimises the NLL, exact to 1e-6.

    With b = 1 / T the NLL is convex: its slope is mean(E_p[z] - z_class), its curvature mean(Var_p[z]). Newton on b,
    kept inside a shrinking bracket, in float64.

    Args:
        logits: raw logits [N, 3].
        classes: [N], 0..2, every one known.
        between: smallest and largest temperature that come into question.

    Raises:
        ValueError: no rows, unknown classes, or logits that are not finite.
    """
    smallest_inverse, largest_inverse = 1.0 / between[1], 1.0 / between[0]
    z_NC = np.asarray(logits, dtype=np.float64)
    _check(z_NC, classes)
    z_NC = z_NC - z_NC.mean(axis=1, keepdims=True)
    z_class = z_NC[np.arange(len(classes)), classes]
    if not np.any(z_NC):
        return TemperatureFit(1.0, math.log(z_NC.shape[1]), at_bound=True)
    inverse, at_bound = lowest_inverse(
        lambda inverse: _slope(z_NC, z_class, inverse), low=smallest_inverse, high=largest_inverse
    )
    return TemperatureFit(1.0 / inverse, negative_log_likelihood(z_NC, classes, 1.0 / inverse), at_bound)


def lowest_inverse(slope_at: SlopeAt, *, low: float, high: float) -> tuple[float, bool]:
    """The 1 / T between the bounds with the lowest NLL, and whether that is one of them.

    Args:
        slope_at: slope and curvature of the NLL, which is convex, in 1 / T.
        low: smallest 1 / T that comes into question.
        high: the largest.
    """
    if slope_at(low)[0] >= 0.0:
        return low, True
    if slope_at(high)[0] <= 0.0:
        return high, True
    return _root(slope_at, low, high), False


def _root(slope_at: SlopeAt, low: float, high: float) -> float:
    """The 1 / T at which the slope is zero; the slope is negative at the lower bound and positive at the upper."""
    inverse = min(max(1.0, low), high)
    for _ in range(_STEPS):
        slope, curvature = slope_at(inverse)
        low, high = (inverse, high) if slope < 0.0 else (low, inverse)
        step = slope / curvature if curvature > 0.0 else math.inf
        proposal = inverse - step
        if not low <= proposal <= high:
            proposal = math.sqrt(low * high)
        if abs(proposal - inverse) <= _RELATIVE_STEP * inverse:
            return proposal
        inverse = proposal
    return inverse


def _slope(z_NC: Floats, z_class: Floats, inverse: float) -> tuple[float, float]:
    """Slope and curvature of the NLL in 1 / T."""
    p_NC = softmax(z_NC, 1.0 / inverse)
    expected = (p_NC * z_NC).sum(axis=1)
    variance = (p_NC * z_NC * z_NC).sum(axis=1) - expected * expected
    return float((expected - z_class).mean()), float(variance.mean())


def _check(logits: Floats, classes: NDArray[np.integer]) -> None:
    if logits.ndim != 2 or len(logits) != len(classes) or len(classes) == 0:
        raise ValueError(
            f"logits must be [N, 3] with one class a row and N > 0, was {logits.shape} and {np.shape(classes)}"
        )
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite, were NaN or infinite in places")
    if classes.min() < 0 or classes.max() >= logits.shape[1]:
        raise ValueError(f"classes must lie in 0..{logits.shape[1] - 1}, were {classes.min()}..{classes.max()}")


def sweep_temperatures(
    logits: NDArray[np.floating],
    classes: NDArray[np.integer],
    section: TemperatureSection,
    *,
    ece_limit: float,
    bins: int,
) -> TemperatureSweep:
    """The table over `section.sweep`; it informs, the bundle takes `fit_temperature`.

    Args:
        logits: raw logits [N, 3].
        classes: [N], 0..2.
        section: temperatures and the target band of the mean confidence.
        ece_limit: calibration error that a chosen temperature stays below.
        bins: confidence bins of the calibration error.

    Raises:
        ValueError: as `fit_temperature`.
    """
    z_NC = np.asarray(logits, dtype=np.float64)
    _check(z_NC, classes)
    rows = tuple(_sweep_row(z_NC, classes, temperature, bins) for temperature in section.sweep)
    in_band = [row for row in rows if section.target_low <= row.mean_confidence <= section.target_high]
    calibrated = [row for row in in_band if row.ece < ece_limit]
    band = f"mean confidence {section.target_low:.2f}-{section.target_high:.2f}"
    if calibrated:
        best = min(calibrated, key=lambda row: row.nll)
        return TemperatureSweep(
            rows,
            best.temperature,
            f"T = {best.temperature:g} has the lowest NLL of those with {band} and ECE below {ece_limit:.1%}.",
        )
    if in_band:
        lowest = min(row.ece for row in in_band)
        why = f"No temperature meets the target: those with {band} have an ECE of at least {lowest:.1%} (limit {ece_limit:.1%})."
    else:
        why = f"No temperature meets the target: none of the {len(rows)} gives a {band}."
    return TemperatureSweep(rows, None, why)


def _sweep_row(logits: Floats, classes: NDArray[np.integer], temperature: float, bins: int) -> SweepRow:
    log_probabilities = log_softmax(logits, temperature)
    confidence = np.exp(log_probabilities.max(axis=1))
    correct = log_probabilities.argmax(axis=1) == classes
    return SweepRow(
        temperature=float(temperature),
        mean_confidence=float(confidence.mean()),
        share_over_90=float((confidence > 0.9).mean()),
        share_over_99=float((confidence > 0.99).mean()),
        ece=expected_calibration_error(confidence, correct, bins=bins),
        nll=float(-log_probabilities[np.arange(len(classes)), classes].mean()),
    )
