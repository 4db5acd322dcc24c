"""A network as ONNX: raw features in, logits and calibrated probabilities out, scaler and fitted temperature inside.

The graph is written down node by node instead of traced: the same tensors give the same bytes on every machine, so the
file can count for a bundle's hash, and it reads as the network does (direction.py, norms.py).

    features [rows, F] -> Sub, Div, Clip -> 3 x (Gemm, norm, Relu) -> Gemm = raw_logits -> Div = logits
                       -> Softmax = probabilities [rows, 3]

What does not belong here: running it (models_lib.bundle.predictor).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from models_lib.config import NetworkSection
from models_lib.errors import BundleError
from models_lib.networks.norms import EPSILON

OPERATOR_SET = 17
"""The first with LayerNormalization; every runtime since 2022 reads it."""
FORMAT_VERSION = 9
FEATURES, RAW_LOGITS, LOGITS, PROBABILITIES = "features", "raw_logits", "logits", "probabilities"

Tensors = Mapping[str, npt.NDArray[np.float32]]


def onnx_model(section: NetworkSection, tensors: Tensors) -> bytes:
    """The network with these tensors as the bytes of model.onnx; equal tensors give equal bytes.

    Args:
        section: the family and its numbers; v7 or v8.
        tensors: a bundle's: weights, scaler and the fitted `temperature` [1].

    Raises:
        BundleError: a v6 network, which has neither scaler nor temperature, or tensors that make no valid graph.
    """
    if section.family == "v6":
        raise BundleError("a v6 network has no scaler and no temperature and cannot be served. Train a v8.")
    graph = _Graph(tensors)
    hidden = graph.scaled_inputs(section.input_clip_std)
    for layer in range(_num_layers(tensors) - 1):
        hidden = graph.hidden_layer(layer, hidden)
    graph.answers(_num_layers(tensors) - 1, hidden)
    model = graph.model(num_features=len(tensors["scaler_mean"]))
    try:
        checker.check_model(model, full_check=True)
    except (checker.ValidationError, ValueError) as error:
        raise BundleError(f"the network makes no valid ONNX graph ({error}). Train the model again.") from error
    return bytes(model.SerializeToString(deterministic=True))


class _Graph:
    """Nodes and constants in the order in which they are computed; each method returns the name of what it made."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def scaled_inputs(self, clip_std: float | None) -> str:
        centred = self._node("Sub", "centred", FEATURES, self._tensor("scaler_mean"))
        scaled = self._node("Div", "scaled", centred, self._tensor("scaler_scale"))
        if clip_std is None:
            return scaled
        limits = (self._constant("clip_low", -clip_std), self._constant("clip_high", clip_std))
        return self._node("Clip", "clipped", scaled, *limits)

    def hidden_layer(self, layer: int, inputs: str) -> str:
        linear = self._linear(layer, inputs, f"linear_{layer}")
        return self._node("Relu", f"hidden_{layer}", self._normalised(layer, linear))

    def answers(self, layer: int, inputs: str) -> None:
        raw_logits = self._linear(layer, inputs, RAW_LOGITS)
        logits = self._node("Div", LOGITS, raw_logits, self._tensor("temperature"))
        self._node("Softmax", PROBABILITIES, logits, axis=-1)

    def model(self, *, num_features: int) -> ModelProto:
        outputs = (RAW_LOGITS, LOGITS, PROBABILITIES)
        graph = helper.make_graph(
            self._nodes,
            "direction",
            [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["rows", num_features])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 3]) for name in outputs],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPERATOR_SET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=FORMAT_VERSION, producer_name="crpbot")

    def _linear(self, layer: int, inputs: str, name: str) -> str:
        weight, bias = (self._tensor(f"linears.{layer}.{part}") for part in ("weight", "bias"))
        return self._node("Gemm", name, inputs, weight, bias, transB=1)

    def _normalised(self, layer: int, inputs: str) -> str:
        """BatchNorm in v7; in v8 its mix with LayerNorm, whose share is folded into the two weights."""
        prefix = f"norms.{layer}"
        weight = self._tensors[f"{prefix}.weight"]
        mix_logit = self._tensors.get(f"{prefix}.mix_logit")
        batch_share = 1.0 if mix_logit is None else 1.0 / (1.0 + math.exp(-mix_logit.item()))
        batch_weight = self._constant(f"{prefix}.batch_weight", weight * np.float32(batch_share))
        fitted = [self._tensor(f"{prefix}.{part}") for part in ("bias", "running_mean", "running_var")]
        over_batch = self._node(
            "BatchNormalization", f"over_batch_{layer}", inputs, batch_weight, *fitted, epsilon=EPSILON
        )
        if mix_logit is None:
            return over_batch
        row_weight = self._constant(f"{prefix}.row_weight", weight * np.float32(1.0 - batch_share))
        over_row = self._node("LayerNormalization", f"over_row_{layer}", inputs, row_weight, axis=-1, epsilon=EPSILON)
        return self._node("Add", f"normalised_{layer}", over_batch, over_row)

    def _node(self, operator: str, output: str, *inputs: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def _tensor(self, name: str) -> str:
        return self._constant(name, self._tensors[name])

    def _constant(self, name: str, value: npt.NDArray[np.float32] | float) -> str:
        self._constants.append(numpy_helper.from_array(np.asarray(value, dtype=np.float32), name))
        return name


def _num_layers(tensors: Tensors) -> int:
    return sum(name.startswith("linears.") and name.endswith(".weight") for name in tensors)
