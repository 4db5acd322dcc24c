"""From features to calibrated probabilities with a bundle's model: what serving, judging and golden vectors share.

Two engines give the same answers (within 1e-5, which the golden vectors prove at every load): torch from the tensors,
for what is not a bundle yet and for bundles without model.onnx; ONNX Runtime from model.onnx, wherever there is one, so
that what is judged is what the trading host runs. Each is imported when its predictor is made: a process that only
verifies hashes needs neither, and the trading host has no torch.

What does not belong here: features (models_lib.features) and files.
"""

import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models_lib.architecture import Architecture
from models_lib.bundle.layout import ONNX_FILE
from models_lib.bundle.tensors import TEMPERATURE
from models_lib.calibration import softmax
from models_lib.errors import BundleError

BLOCK_ROWS = 512
"""Rows go through torch in blocks of exactly this many, the last one padded: matrix products of another height take
other code paths and other last bits, and a row's logits shall not depend on its neighbours."""

_PIECE_ROWS = 1_024
"""Rows go through ONNX Runtime in pieces of at most this many."""

Matrix = npt.NDArray[np.float32]


class Predictor(Protocol):
    """A model with its scaler and fitted temperature; rows are independent of each other."""

    @property
    def temperature(self) -> float:
        """What the raw logits are divided by."""

    def raw_logits(self, features: Matrix) -> Matrix:
        """Logits before the temperature, float32 [N, 3], of unscaled features float32 [N, F] without NaN."""

    def logits(self, features: Matrix) -> Matrix:
        """Logits after the temperature, float32 [N, 3]: what the logit gate judges."""

    def probabilities(self, features: Matrix) -> Matrix:
        """Calibrated probabilities float32 [N, 3] of DOWN, NEUTRAL, UP."""


class TorchPredictor:
    """A `Predictor` over the tensors of a bundle in evaluation mode.

    Args:
        architecture: one network, a repaired one or an ensemble.
        tensors: weights, scaler and `temperature` [1], checked.

    Raises:
        BundleError: the tensors are not those of the network.
    """

    def __init__(self, architecture: Architecture, tensors: Mapping[str, Matrix]) -> None:
        from models_lib.networks import network_from_tensors  # noqa: PLC0415 - see the module's docstring

        self.temperature = float(tensors[TEMPERATURE][0])
        self._network = network_from_tensors(architecture, tensors)

    def raw_logits(self, features: Matrix) -> Matrix:
        """Logits before the temperature."""
        return in_blocks(self._raw_logits_of_block, features)

    def logits(self, features: Matrix) -> Matrix:
        """Logits after the temperature."""
        return self.raw_logits(features) / np.float32(self.temperature)

    def probabilities(self, features: Matrix) -> Matrix:
        """Calibrated probabilities."""
        return probabilities_of(self.logits(features))

    def _raw_logits_of_block(self, block: Matrix) -> Matrix:
        import torch  # noqa: PLC0415 - see the module's docstring

        with torch.inference_mode():
            answer: Matrix = self._network.raw_logits(torch.from_numpy(block)).numpy()
        return answer


def in_blocks(raw_logits: Callable[[Matrix], Matrix], features: Matrix) -> Matrix:
    """What `raw_logits` [BLOCK_ROWS, F] -> [BLOCK_ROWS, 3] gives for all rows [N, F], float32 [N, 3]."""
    answers = np.empty((len(features), 3), dtype=np.float32)
    block = np.zeros((BLOCK_ROWS, features.shape[1]), dtype=np.float32)
    for first in range(0, len(features), BLOCK_ROWS):
        rows = features[first : first + BLOCK_ROWS]
        block[: len(rows)] = rows
        answers[first : first + len(rows)] = raw_logits(block)[: len(rows)]
    return answers


def onnx_runtime() -> ModuleType:
    """ONNX Runtime's module, which nobody imports elsewhere: it must be silenced first.

    Its official builds keep a device id below the user's home and report sessions to their maker over the network, unless
    this variable is set before they are loaded.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415 - see the module's docstring

    module: ModuleType = onnxruntime
    return module


class OnnxPredictor:
    """A `Predictor` over the content of model.onnx, on one thread.

    Args:
        content: the file's bytes.
        tensors: of the same bundle; the temperature and the number of features are taken from them.

    Raises:
        BundleError: damaged, or not a model of so many features.
    """

    def __init__(self, content: bytes, tensors: Mapping[str, Matrix]) -> None:
        onnxruntime = onnx_runtime()
        from onnxruntime.capi import onnxruntime_pybind11_state as errors  # noqa: PLC0415 - after it was silenced

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what is wrong comes as an exception; its own log goes to stderr
        refusals = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf)
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except (*refusals, errors.NotImplemented, errors.RuntimeException) as error:
            raise BundleError(f"{ONNX_FILE} is damaged ({error}). Take the bundle from the store again.") from error
        self.temperature = float(tensors[TEMPERATURE][0])
        self._session = session
        self._check_interface(len(tensors["scaler_mean"]))

    def raw_logits(self, features: Matrix) -> Matrix:
        """Logits before the temperature."""
        return self._answer("raw_logits", features)

    def logits(self, features: Matrix) -> Matrix:
        """Logits after the temperature."""
        return self._answer("logits", features)

    def probabilities(self, features: Matrix) -> Matrix:
        """Calibrated probabilities."""
        return probabilities_of(self.logits(features))

    def _answer(self, output: str, features: Matrix) -> Matrix:
        """The answer of every row, asked in pieces; a row's bits are the same.

        The activations of a whole test part take half a gigabyte, which the session keeps, and three times as long as
        those of a piece, which stay in the processor's cache.
        """
        answer = np.empty((len(features), 3), dtype=np.float32)
        for first in range(0, len(features), _PIECE_ROWS):
            rows = slice(first, first + _PIECE_ROWS)
            answer[rows] = self._session.run([output], {"features": features[rows]})[0]
        return answer

    def _check_interface(self, num_features: int) -> None:
        found = {entry.name: (entry.type, *entry.shape) for entry in self._session.get_inputs()}
        found |= {entry.name: (entry.type, *entry.shape) for entry in self._session.get_outputs()}
        answers = dict.fromkeys(("raw_logits", "logits", "probabilities"), ("tensor(float)", "rows", 3))
        wanted = {"features": ("tensor(float)", "rows", num_features), **answers}
        if found != wanted:
            raise BundleError(
                f"{ONNX_FILE}: inputs and outputs must be {wanted}, were {found}. It is no model of ours: take the "
                f"bundle from the store again."
            )


def probabilities_of(logits: Matrix) -> Matrix:
    """Probabilities float32 [N, 3] of logits [N, 3] that are divided by the temperature already."""
    return softmax(logits).astype(np.float32)
