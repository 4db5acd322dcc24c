"""A model as ONNX: raw features in, logits and calibrated probabilities out, scaler and fitted temperature inside.

The graph is written down node by node instead of traced: the same tensors give the same bytes on every machine, so the
file can count for a bundle's hash, and it reads as the network does (direction.py, norms.py, repaired.py).

    features [rows, F] -> Sub, Div, Clip -> 3 x (Gemm, norm, Relu) -> Gemm = raw_logits -> Div = logits
                       -> Softmax = probabilities [rows, 3]

A repaired network is cast to float64 before and back to float32 after, behind its clamp. In an ensemble each member has
such a chain from its own columns to its own logits; their weighted sum is raw_logits.

What does not belong here: running it (models_lib.bundle.predictor).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from models_lib.architecture import (
    Architecture,
    EnsembleArchitecture,
    RepairedArchitecture,
    member_prefix,
    member_tensors,
)
from models_lib.config import NetworkSection
from models_lib.errors import BundleError
from models_lib.networks.norms import EPSILON

OPERATOR_SET = 17
"""The first with LayerNormalization; every runtime since 2022 reads it."""
FORMAT_VERSION = 9
FEATURES, RAW_LOGITS, LOGITS, PROBABILITIES = "features", "raw_logits", "logits", "probabilities"

Tensors = Mapping[str, npt.NDArray[np.float32]]


def onnx_model(architecture: Architecture, tensors: Tensors) -> bytes:
    """The model with these tensors as the bytes of model.onnx; equal tensors give equal bytes.

    Args:
        architecture: any but a v6 network as it stands.
        tensors: a bundle's: weights, scaler and the fitted `temperature` [1].

    Raises:
        BundleError: a v6 network, which has neither scaler nor temperature, or tensors that make no valid graph.
    """
    graph = _Graph()
    if isinstance(architecture, EnsembleArchitecture):
        raw_logits = _weighed_logits(graph, architecture, tensors)
    else:
        raw_logits = _network(graph, architecture, tensors, FEATURES, prefix="")
    logits = graph.node("Div", LOGITS, raw_logits, graph.constant("temperature", tensors["temperature"]))
    graph.node("Softmax", PROBABILITIES, logits, axis=-1)
    model = graph.model(num_features=len(tensors["scaler_mean"]))
    try:
        checker.check_model(model, full_check=True)
    except (checker.ValidationError, ValueError) as error:
        raise BundleError(f"the network makes no valid ONNX graph ({error}). Train the model again.") from error
    return bytes(model.SerializeToString(deterministic=True))


def _weighed_logits(graph: "_Graph", ensemble: EnsembleArchitecture, tensors: Tensors) -> str:
    weighed = []
    parts = zip(ensemble.members, member_tensors(ensemble, tensors), ensemble.columns(), strict=True)
    for place, (member, own, columns) in enumerate(parts):
        prefix = member_prefix(place)
        ends = {"first": columns.start, "last": columns.stop, "axis": 1}
        limits = [graph.constant(prefix + name, [end], np.int64) for name, end in ends.items()]
        features = graph.node("Slice", prefix + FEATURES, FEATURES, *limits)
        raw_logits = _network(graph, member.architecture, own, features, prefix=prefix)
        temperature = graph.constant(f"{prefix}temperature", own["temperature"])
        logits = graph.node("Div", prefix + LOGITS, raw_logits, temperature)
        weight = graph.constant(f"{prefix}weight", member.weight)
        weighed.append(graph.node("Mul", f"{prefix}weighed", logits, weight))
    return graph.node("Sum", RAW_LOGITS, *weighed)


def _network(
    graph: "_Graph",
    architecture: NetworkSection | RepairedArchitecture,
    tensors: Tensors,
    features: str,
    *,
    prefix: str,
) -> str:
    """One network from its features to its raw logits; every name in it starts with `prefix`."""
    if isinstance(architecture, RepairedArchitecture):
        section, limit = architecture.network, architecture.clamp
        layers = _Layers(graph, tensors, prefix=prefix, dtype=np.float64)
        inputs = graph.node("Cast", f"{prefix}in_double", features, to=TensorProto.DOUBLE)
        clip_std = section.input_clip_std if section.family == "v7" else None
        unclamped = layers.all(layers.scaled_inputs(inputs, clip_std), f"{prefix}unclamped")
        limits = (layers.constant("clamp_low", -limit), layers.constant("clamp_high", limit))
        clamped = graph.node("Clip", f"{prefix}clamped", unclamped, *limits)
        return graph.node("Cast", prefix + RAW_LOGITS, clamped, to=TensorProto.FLOAT)
    if architecture.family == "v6":
        raise BundleError("a v6 network has no scaler and no temperature and cannot be served. Train a v8.")
    layers = _Layers(graph, tensors, prefix=prefix, dtype=np.float32)
    return layers.all(layers.scaled_inputs(features, architecture.input_clip_std), prefix + RAW_LOGITS)


class _Graph:
    """Nodes and constants in the order in which they are computed; each method returns the name of what it made."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def node(self, operator: str, output: str, *inputs: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        self._constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

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


class _Layers:
    """The layers of one network in one precision."""

    def __init__(self, graph: _Graph, tensors: Tensors, *, prefix: str, dtype: npt.DTypeLike) -> None:
        self._graph = graph
        self._tensors = tensors
        self._prefix = prefix
        self._dtype = dtype

    def scaled_inputs(self, features: str, clip_std: float | None) -> str:
        centred = self._node("Sub", "centred", features, self._tensor("scaler_mean"))
        scaled = self._node("Div", "scaled", centred, self._tensor("scaler_scale"))
        if clip_std is None:
            return scaled
        limits = (self.constant("clip_low", -clip_std), self.constant("clip_high", clip_std))
        return self._node("Clip", "clipped", scaled, *limits)

    def all(self, inputs: str, output: str) -> str:
        """From the scaled inputs to the logits, which are called `output`."""
        last = _num_layers(self._tensors) - 1
        for layer in range(last):
            linear = self._linear(layer, inputs, f"{self._prefix}linear_{layer}")
            inputs = self._node("Relu", f"hidden_{layer}", self._normalised(layer, linear))
        return self._linear(last, inputs, output)

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        return self._graph.constant(self._prefix + name, value, self._dtype)

    def _linear(self, layer: int, inputs: str, output: str) -> str:
        weight, bias = (self._tensor(f"linears.{layer}.{part}") for part in ("weight", "bias"))
        return self._graph.node("Gemm", output, inputs, weight, bias, transB=1)

    def _normalised(self, layer: int, inputs: str) -> str:
        """Nothing in v6, BatchNorm in v7; in v8 its mix with LayerNorm, whose share is folded into the two weights."""
        prefix = f"norms.{layer}"
        if f"{prefix}.weight" not in self._tensors:
            return inputs
        weight = self._tensors[f"{prefix}.weight"]
        mix_logit = self._tensors.get(f"{prefix}.mix_logit")
        batch_share = 1.0 if mix_logit is None else 1.0 / (1.0 + math.exp(-mix_logit.item()))
        batch_weight = self.constant(f"{prefix}.batch_weight", weight * np.float32(batch_share))
        fitted = [self._tensor(f"{prefix}.{part}") for part in ("bias", "running_mean", "running_var")]
        over_batch = self._node(
            "BatchNormalization", f"over_batch_{layer}", inputs, batch_weight, *fitted, epsilon=EPSILON
        )
        if mix_logit is None:
            return over_batch
        row_weight = self.constant(f"{prefix}.row_weight", weight * np.float32(1.0 - batch_share))
        over_row = self._node("LayerNormalization", f"over_row_{layer}", inputs, row_weight, axis=-1, epsilon=EPSILON)
        return self._node("Add", f"normalised_{layer}", over_batch, over_row)

    def _node(self, operator: str, output: str, *inputs: str, **attributes: Any) -> str:
        return self._graph.node(operator, self._prefix + output, *inputs, **attributes)

    def _tensor(self, name: str) -> str:
        return self.constant(name, self._tensors[name])


def _num_layers(tensors: Tensors) -> int:
    return sum(name.startswith("linears.") and name.endswith(".weight") for name in tensors)
