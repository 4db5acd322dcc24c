"""From features to calibrated probabilities with the tensors of a bundle: what serving, judging and golden vectors share.

torch is imported when a predictor is made, not before: a process that only verifies hashes does without it.

What does not belong here: features (models_lib.features) and files.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from models_lib.bundle.tensors import TEMPERATURE
from models_lib.calibration import softmax
from models_lib.config import NetworkSection

BLOCK_ROWS = 512
"""Rows go through the network in blocks of exactly this many, the last one padded: matrix products of another height
take other code paths and other last bits, and a row's logits shall not depend on its neighbours."""

Matrix = npt.NDArray[np.float32]


class Predictor:
    """The network of a bundle in evaluation mode, with its scaler and fitted temperature.

    Args:
        section: the network's family and numbers.
        tensors: weights, scaler and `temperature` [1], checked.

    Raises:
        BundleError: the tensors are not those of the network.
    """

    def __init__(self, section: NetworkSection, tensors: Mapping[str, Matrix]) -> None:
        from models_lib.networks import network_from_tensors  # noqa: PLC0415 - see the module's docstring

        self.temperature = float(tensors[TEMPERATURE][0])
        self._network = network_from_tensors(section, tensors)

    def raw_logits(self, features: Matrix) -> Matrix:
        """Logits before the temperature, float32 [N, 3], of unscaled features float32 [N, F] without NaN."""
        import torch  # noqa: PLC0415 - see the module's docstring

        raw_logits = np.empty((len(features), 3), dtype=np.float32)
        block = np.zeros((BLOCK_ROWS, features.shape[1]), dtype=np.float32)
        with torch.inference_mode():
            for first in range(0, len(features), BLOCK_ROWS):
                rows = features[first : first + BLOCK_ROWS]
                block[: len(rows)] = rows
                raw_logits[first : first + len(rows)] = self._network.raw_logits(torch.from_numpy(block))[: len(rows)]
        return raw_logits

    def logits(self, features: Matrix) -> Matrix:
        """Logits after the temperature, float32 [N, 3]: what the logit gate judges."""
        return self.raw_logits(features) / np.float32(self.temperature)

    def probabilities(self, features: Matrix) -> Matrix:
        """Calibrated probabilities float32 [N, 3] of DOWN, NEUTRAL, UP."""
        return probabilities_of(self.logits(features))


def probabilities_of(logits: Matrix) -> Matrix:
    """Probabilities float32 [N, 3] of logits [N, 3] that are divided by the temperature already."""
    return softmax(logits).astype(np.float32)
