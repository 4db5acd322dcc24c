"""What an old model answered in production: its own scaler when it has one, the inputs as they come when it has none.

What does not belong here: what would have been better (repair).
"""

import numpy as np
import torch

from models_lib.bundle.predictor import Matrix, in_blocks, probabilities_of
from models_lib.bundle.tensors import SCALER_MEAN, SCALER_SCALE, TEMPERATURE, Tensors
from models_lib.config import NetworkSection
from models_lib.legacy.model import LegacyModel
from models_lib.networks import network_from_tensors


class LegacyPredictor:
    """A `models_lib.bundle.Predictor` over an old model, in float32 on the CPU as it ran.

    Args:
        model: as `read_legacy` gives it.

    Raises:
        BundleError: the tensors are not those of the network.
    """

    def __init__(self, model: LegacyModel) -> None:
        self.temperature = 1.0 if model.temperature is None else model.temperature
        self._clip_std = model.input_clip_std
        self._scaler = None
        if model.scaler is not None:
            self._scaler = tuple(part.astype(np.float32) for part in (model.scaler.mean, model.scaler.scale))
        # The network is given a scaler that changes nothing: rows are scaled here, in one way for the three families.
        section = NetworkSection(family=model.family, input_clip_std=None)
        self._network = network_from_tensors(section, {**model.tensors, **_no_scaler(model)})

    def raw_logits(self, features: Matrix) -> Matrix:
        """Logits before the temperature, float32 [N, 3], of unscaled features; not finite where the model gives that."""
        return in_blocks(self._raw_logits_of_block, features)

    def logits(self, features: Matrix) -> Matrix:
        """Logits after the temperature."""
        return self.raw_logits(features) / np.float32(self.temperature)

    def probabilities(self, features: Matrix) -> Matrix:
        """Probabilities as the model emitted them."""
        return probabilities_of(self.logits(features))

    def inputs(self, features: Matrix) -> Matrix:
        """What the first layer sees, float32 [N, F], of unscaled features."""
        if self._scaler is None:
            return features
        mean, scale = self._scaler
        with np.errstate(all="ignore"):  # a scale of 0 answers NaN, as it did in production
            z = (features - mean) / scale
        return z if self._clip_std is None else z.clip(-self._clip_std, self._clip_std)

    def _raw_logits_of_block(self, block: Matrix) -> Matrix:
        with torch.inference_mode():
            answer: Matrix = self._network.raw_logits(torch.from_numpy(self.inputs(block))).numpy()
        return answer


def _no_scaler(model: LegacyModel) -> Tensors:
    if model.family == "v6":
        return {}
    return {
        SCALER_MEAN: np.zeros(model.num_features, dtype=np.float32),
        SCALER_SCALE: np.ones(model.num_features, dtype=np.float32),
        TEMPERATURE: np.ones(1, dtype=np.float32),
    }
