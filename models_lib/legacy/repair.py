"""What can be mended about a network without training it: the scale of its inputs, the size of its logits, its temperature.

    x -> (x - mean) / scale -> the network as it is -> logits, clamped to +-CLAMP -> / T

The network keeps its weights, but for one thing that no probability sees: its last layer is centred, so that the three
logits of a row have mean 0. A network on raw inputs often adds the same 25 to all three, and the clamp would cut what
they agree on together with what they say.

Three scalers come into question, and they are no matter of taste, because scaling the inputs of a network that learned
on raw ones changes what it computes:

    fitted     mean and deviation of the training rows; the first layer then sees what it never learned from
    own        the scaler that the file brought, where it brought one
    identity   none: the function stays as it was, and so does the reason why it broke; feature_normalisation holds it

Each gets the temperature with the lowest NLL on the validation rows, among those that keep every emitted logit within
the clamp, whatever the rows; and the lowest NLL of all is chosen. That is calibration: it makes the confidence mean what
it says. It adds no skill.

Knowable when: the scaler looks at training rows, temperature and choice at validation rows. No test row is looked at.

What does not belong here: files, candles and gates (models_lib.steps.repair), words and the page (models_lib.reports).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models_lib.architecture import DEFAULT_CLAMP, RepairedArchitecture
from models_lib.bundle import TorchPredictor, with_temperature
from models_lib.bundle.tensors import SCALER_MEAN, SCALER_SCALE, Tensors
from models_lib.calibration import LARGEST_INVERSE, TemperatureFit, fit_temperature
from models_lib.config import NetworkSection
from models_lib.errors import BundleError
from models_lib.legacy.model import LegacyModel
from models_lib.scaling import Scaler

CLAMP = DEFAULT_CLAMP
"""Raw logits beyond this are cut; the gate's limit (SPEC 7, 9)."""
GUESSED_TEMPERATURE = 10.0
"""What an earlier repair of the V6 was given by hand, and was too timid with."""
SMALLEST_TEMPERATURE = 1.001
"""Below 1 a logit at the clamp would be emitted beyond it, and beyond the gate; at 1 it would lie on the limit."""
LARGEST_TEMPERATURE = 1_000.0
"""Logits without signal ask for an infinite temperature; clamped ones divided by this are a third for each class."""

ScalerKind = Literal["fitted", "own", "identity"]
Matrix = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Variant:
    """One way to mend a network.

    Attributes:
        scaler: which one.
        architecture: what is computed.
        tensors: weights, scaler and the fitted temperature, as a bundle holds them.
        fit: the temperature, and the NLL of the validation rows at it.
        wanted: the temperature that the NLL alone asks for, whatever becomes of the logits.
    """

    scaler: ScalerKind
    architecture: RepairedArchitecture
    tensors: Tensors
    fit: TemperatureFit
    wanted: TemperatureFit

    def predictor(self, temperature: float | None = None) -> TorchPredictor:
        """The mended model; at another temperature than the fitted one when it is given."""
        tensors = self.tensors if temperature is None else with_temperature(self.tensors, temperature)
        return TorchPredictor(self.architecture, tensors)

    def unclamped(self) -> TorchPredictor:
        """The same network and scaler with nothing cut, at temperature 1: what the clamp has to deal with."""
        return TorchPredictor(
            RepairedArchitecture(self.architecture.network, clamp=float(np.finfo(np.float32).max)),
            with_temperature(self.tensors, 1.0),
        )


def fit_variants(
    model: LegacyModel, features: Matrix, classes: NDArray[np.integer], *, fitted: Scaler
) -> tuple[Variant, ...]:
    """Every variant with its temperature, the best first.

    Args:
        model: a V6 or V7 as its file has it.
        features: float32 [n, F] of the validation rows, unscaled, finite.
        classes: [n], 0..2.
        fitted: the scaler of the training rows.

    Raises:
        BundleError: a file of another family, or one whose logits are not finite under any scaler.
    """
    if model.family == "v8":
        raise BundleError(
            f"{model.path}: a v8 network carries its scaler and temperature; repair is for v6 and v7 files that were "
            f"saved without. Train it again, with `crpbot run`."
        )
    scalers: dict[ScalerKind, Scaler] = {"fitted": fitted}
    if model.scaler is not None:
        scalers["own"] = model.scaler
    scalers["identity"] = Scaler(np.zeros(model.num_features), np.ones(model.num_features))
    variants = [
        variant
        for kind, scaler in scalers.items()
        if (variant := _fit(model, kind, scaler, features, classes)) is not None
    ]
    if not variants:
        raise BundleError(
            f"{model.path}: its logits are not finite on the {len(features):,} validation rows, under any scaler. "
            f"Nothing can be mended; train again, with `crpbot run`."
        )
    return best_first(variants)


def best_first(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """By the NLL of the validation rows; of two alike the one that was named first."""
    return tuple(sorted(variants, key=lambda variant: variant.fit.nll))


def centred(tensors: Tensors) -> dict[str, NDArray[np.float32]]:
    """The same network with logits that sum to 0 in every row: softmax, and so every probability, stays as it was."""
    last = max(name for name in tensors if name.startswith("linears.")).rpartition(".")[0]
    parts = {f"{last}.{part}": tensors[f"{last}.{part}"].astype(np.float64) for part in ("weight", "bias")}
    return {**tensors, **{name: (array - array.mean(axis=0)).astype(np.float32) for name, array in parts.items()}}


def _fit(
    model: LegacyModel, kind: ScalerKind, scaler: Scaler, features: Matrix, classes: NDArray[np.integer]
) -> Variant | None:
    """The variant of this scaler; None when it gives no finite logits."""
    mean, scale = scaler.mean.astype(np.float32), scaler.scale.astype(np.float32)
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and scale.min() > 0.0):
        return None
    network = NetworkSection(family=model.family, input_clip_std=model.input_clip_std)
    architecture = RepairedArchitecture(network, clamp=CLAMP)
    tensors = with_temperature({**centred(model.tensors), SCALER_MEAN: mean, SCALER_SCALE: scale}, 1.0)
    raw_logits = TorchPredictor(architecture, tensors).raw_logits(features)
    if not np.isfinite(raw_logits).all():
        return None
    fit = fit_temperature(raw_logits, classes, between=(SMALLEST_TEMPERATURE, LARGEST_TEMPERATURE))
    wanted = fit_temperature(raw_logits, classes, between=(1.0 / LARGEST_INVERSE, LARGEST_TEMPERATURE))
    return Variant(kind, architecture, with_temperature(tensors, fit.temperature), fit, wanted)
