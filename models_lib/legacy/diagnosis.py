"""What a model does with the rows that it is given, in numbers: its inputs, its first layer, its answers.

Everything here is a plain function of arrays, so that it holds for any file and any bundle. Figures that need the true
classes are in models_lib.evaluation; only the temperature that would fit best is looked for here.

What does not belong here: reading files, choosing rows, gates, and what the numbers mean (causes.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models_lib.calibration import SweepRow, fit_temperature, softmax, sweep_temperatures
from models_lib.config import TemperatureSection

_BLOCK_ROWS = 8_192
_MEDIAN_ROWS = 4_096
_SAME = 1e-6
"""float32 logits that a temperature made of a size of about 1 are the same within this."""

Floats = NDArray[np.float64]
Triple = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class FirstLayer:
    """How features become the answers of layer 1: scaled where there is a scaler, clipped, weighed, the bias added.

    Attributes:
        weight: [H, F].
        bias: [H].
        mean: float64 [F]; None without a scaler.
        scale: float64 [F]; None without a scaler.
        clip: float64 [F], the size that a scaled input is clipped to; infinity where nothing is clipped.
    """

    weight: Floats
    bias: Floats
    mean: Floats | None
    scale: Floats | None
    clip: Floats

    def scaled(self, features: NDArray[np.floating]) -> Floats:
        """Inputs before the clip, float64 [n, F]; a scale of 0 gives infinity or NaN, as it would in production."""
        x_NF = features.astype(np.float64)
        if self.mean is None or self.scale is None:
            return x_NF
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scaled: Floats = (x_NF - self.mean) / self.scale
        return scaled

    def inputs(self, features: NDArray[np.floating]) -> Floats:
        """What the layer sees, float64 [n, F]."""
        return np.clip(self.scaled(features), -self.clip, self.clip)

    def answers(self, features: NDArray[np.floating]) -> Floats:
        """What the layer answers before anything else acts, float64 [n, H]."""
        with np.errstate(over="ignore", invalid="ignore"):
            activations: Floats = self.inputs(features) @ self.weight.T + self.bias
        return activations


@dataclass(frozen=True, kw_only=True)
class FeatureFigures:
    """What one feature brings into the first layer, over the rows that were examined.

    Attributes:
        number: place in the ordered list, counted from 1.
        name: of the feature.
        scale: that the scaler divides it by; None without a scaler.
        largest_input: largest |input| that the layer sees, after scaler and clip.
        mean: of the inputs before the clip.
        std: population standard deviation of them.
        largest_weight: largest |weight| from this feature to a unit of the layer.
        largest_activation: largest |weight x input|: what this feature alone can cause in a unit.
    """

    number: int
    name: str
    scale: float | None
    largest_input: float
    mean: float
    std: float
    largest_weight: float
    largest_activation: float

    @property
    def off_norm(self) -> float:
        """Distance from mean 0 and deviation 1, as the gate feature_normalisation measures it."""
        return max(abs(self.mean), abs(self.std - 1.0)) if np.isfinite((self.mean, self.std)).all() else float("inf")


@dataclass(frozen=True, kw_only=True)
class LayerFigures:
    """The first layer over the rows that were examined.

    Attributes:
        features: in the order of the list.
        largest: largest |activation| of a unit in any row.
        median: median |activation| over all units of at most 4,096 rows, evenly spaced.
    """

    features: tuple[FeatureFigures, ...]
    largest: float
    median: float

    def worst(self) -> tuple[FeatureFigures, ...]:
        """The features, those that cause the largest activation first."""
        return tuple(sorted(self.features, key=lambda feature: -_or_infinity(feature.largest_activation)))

    def furthest_off(self) -> FeatureFigures:
        """The feature whose inputs are furthest from mean 0 and deviation 1."""
        return max(self.features, key=lambda feature: feature.off_norm)


@dataclass(frozen=True, kw_only=True)
class AnswerFigures:
    """The answers over the rows that were examined; triples are DOWN, NEUTRAL, UP; None where no row was finite.

    Attributes:
        rows: that were examined.
        non_finite_rows: in which a logit was NaN or infinite; they are left out of everything else.
        logit_min: smallest emitted logit of each output.
        logit_mean: mean of each output.
        logit_max: largest of each output.
        class_shares: share of the predictions that each class takes.
        mean_confidence: mean of the largest probability.
        share_over_90: share of rows with confidence > 0.9.
        share_over_99: share of rows with confidence > 0.99.
        share_50_90: share of rows with confidence in 0.5..0.9, both included.
        alike_share: share of rows in which every logit is the median one: a network whose units are dead.
    """

    rows: int
    non_finite_rows: int
    logit_min: Triple | None = None
    logit_mean: Triple | None = None
    logit_max: Triple | None = None
    class_shares: Triple | None = None
    mean_confidence: float | None = None
    share_over_90: float | None = None
    share_over_99: float | None = None
    share_50_90: float | None = None
    alike_share: float | None = None

    @property
    def largest_logit(self) -> float | None:
        """Largest |emitted logit|."""
        if self.logit_min is None or self.logit_max is None:
            return None
        return max(abs(value) for value in (*self.logit_min, *self.logit_max))


@dataclass(frozen=True, kw_only=True)
class BestTemperature:
    """The temperature of the lowest NLL on the rows that were examined, and what it would do there.

    Attributes:
        row: the temperature and its figures.
        at_bound: the end of the range that is searched: the logits say nothing that a temperature could bring out.
    """

    row: SweepRow
    at_bound: bool


def examine_layer(layer: FirstLayer, features: NDArray[np.float32], names: Sequence[str]) -> LayerFigures:
    """The first layer's figures over feature rows [n, F] without NaN, n > 0.

    Raises:
        ValueError: no rows, or shapes that do not fit.
    """
    num_features = layer.weight.shape[1]
    if features.shape != (len(features), num_features) or len(features) == 0 or len(names) != num_features:
        raise ValueError(
            f"features must be [n, {num_features}] with n > 0 and one name each, "
            f"was {features.shape} and {len(names)} names"
        )
    weights_F = np.abs(layer.weight).max(axis=0)
    mean_F, std_F, reach_F, largest = _over_blocks(layer, features)
    some = np.linspace(0, len(features) - 1, min(len(features), _MEDIAN_ROWS)).astype(np.int64)
    figures = tuple(
        FeatureFigures(
            number=column + 1,
            name=name,
            scale=None if layer.scale is None else float(layer.scale[column]),
            largest_input=float(reach_F[column]),
            mean=float(mean_F[column]),
            std=float(std_F[column]),
            largest_weight=float(weights_F[column]),
            largest_activation=float(weights_F[column] * reach_F[column]) if weights_F[column] else 0.0,
        )
        for column, name in enumerate(names)
    )
    return LayerFigures(
        features=figures,
        largest=largest,
        median=float(np.median(np.abs(layer.answers(features[some])))),
    )


def _over_blocks(layer: FirstLayer, features: NDArray[np.float32]) -> tuple[Floats, Floats, Floats, float]:
    """Mean and deviation of the scaled inputs, the largest |input| of each feature, the largest |activation|.

    In blocks, so that two years of rows need no second matrix. Sums are of differences from the first row: the square of
    a price is far larger than its variance.
    """
    shift_F = layer.scaled(features[:1])[0]
    total_F, squares_F, reach_F = np.zeros_like(shift_F), np.zeros_like(shift_F), np.zeros_like(shift_F)
    largest = 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        for block in _blocks(features):
            difference_NF = layer.scaled(block) - shift_F
            total_F += difference_NF.sum(axis=0)
            squares_F += (difference_NF * difference_NF).sum(axis=0)
            reach_F = np.maximum(reach_F, np.abs(layer.inputs(block)).max(axis=0))
            largest = float(np.maximum(largest, np.abs(layer.answers(block)).max()))
        mean_F = total_F / len(features)
        std_F = np.sqrt(np.maximum(squares_F / len(features) - mean_F * mean_F, 0.0))
    return shift_F + mean_F, std_F, reach_F, largest


def _blocks(features: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for first in range(0, len(features), _BLOCK_ROWS):
        yield features[first : first + _BLOCK_ROWS]


def examine_answers(logits: NDArray[np.floating]) -> AnswerFigures:
    """The figures of emitted logits [n, 3], after temperature; rows that are not finite are counted and left out."""
    finite = np.isfinite(logits).all(axis=1)
    z_NC = logits[finite].astype(np.float64)
    left_out = int(len(logits) - len(z_NC))
    if len(z_NC) == 0:
        return AnswerFigures(rows=len(logits), non_finite_rows=left_out)
    confidence = softmax(z_NC).max(axis=1)
    return AnswerFigures(
        rows=len(logits),
        non_finite_rows=left_out,
        logit_min=_triple(z_NC.min(axis=0)),
        logit_mean=_triple(z_NC.mean(axis=0)),
        logit_max=_triple(z_NC.max(axis=0)),
        class_shares=_triple(np.bincount(z_NC.argmax(axis=1), minlength=3) / len(z_NC)),
        mean_confidence=float(confidence.mean()),
        share_over_90=float((confidence > 0.9).mean()),
        share_over_99=float((confidence > 0.99).mean()),
        share_50_90=float(((confidence >= 0.5) & (confidence <= 0.9)).mean()),
        alike_share=float((np.abs(z_NC - np.median(z_NC, axis=0)) < _SAME).all(axis=1).mean()),
    )


def best_temperature(
    raw_logits: NDArray[np.floating], classes: NDArray[np.integer], *, ece_limit: float, bins: int
) -> BestTemperature | None:
    """The temperature of the lowest NLL for finite raw logits [n, 3]; None where a logit is not finite.

    Logits of tens of thousands are brought to a size of about 1 first, because the fit searches T in 0.05..20: what comes
    back divides the raw logits as they are.
    """
    z_NC = raw_logits.astype(np.float64)
    if not np.isfinite(z_NC).all():
        return None
    size = max(1.0, float((z_NC - z_NC.mean(axis=1, keepdims=True)).std()))
    fit = fit_temperature(z_NC / size, classes)
    section = TemperatureSection(sweep=(fit.temperature * size,))
    (row,) = sweep_temperatures(z_NC, classes, section, ece_limit=ece_limit, bins=bins).rows
    return BestTemperature(row=row, at_bound=fit.at_bound)


def _triple(values: Floats) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])


def _or_infinity(value: float) -> float:
    """NaN sorts as the worst."""
    return value if np.isfinite(value) else float("inf")
