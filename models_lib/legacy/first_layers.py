"""The first layer of whatever model there is: an old file, a bundle of one network, or an ensemble's members side by side.

What does not belong here: what the layer does with rows (diagnosis.py).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models_lib.architecture import Architecture, EnsembleArchitecture, RepairedArchitecture, member_tensors
from models_lib.legacy.diagnosis import FirstLayer, Floats
from models_lib.legacy.model import LegacyModel

Tensors = Mapping[str, NDArray[np.float32]]


def layer_of_file(model: LegacyModel) -> FirstLayer:
    """As the file would have answered in production: with its own scaler, or with none."""
    scaler = model.scaler
    return _layer(
        model.tensors,
        mean=None if scaler is None else scaler.mean,
        scale=None if scaler is None else scaler.scale,
        clip=model.input_clip_std if scaler is not None else None,
    )


def layer_of_bundle(architecture: Architecture, tensors: Tensors) -> FirstLayer:
    """Of an ensemble the members' layers side by side: each unit sees the columns of its own member alone."""
    if isinstance(architecture, EnsembleArchitecture):
        parts = member_tensors(architecture, tensors)
        members = zip(architecture.members, parts, strict=True)
        return _side_by_side([layer_of_bundle(member.architecture, part) for member, part in members])
    network = architecture.network if isinstance(architecture, RepairedArchitecture) else architecture
    mean, scale = (tensors[name].astype(np.float64) for name in ("scaler_mean", "scaler_scale"))
    return _layer(tensors, mean=mean, scale=scale, clip=network.input_clip_std)


def _layer(tensors: Tensors, *, mean: Floats | None, scale: Floats | None, clip: float | None) -> FirstLayer:
    weight = tensors["linears.0.weight"].astype(np.float64)
    return FirstLayer(
        weight=weight,
        bias=tensors["linears.0.bias"].astype(np.float64),
        mean=mean,
        scale=scale,
        clip=np.full(weight.shape[1], np.inf if clip is None else clip),
    )


def _side_by_side(layers: Sequence[FirstLayer]) -> FirstLayer:
    heights, widths = zip(*(layer.weight.shape for layer in layers), strict=True)
    weight, row, column = np.zeros((sum(heights), sum(widths))), 0, 0
    for layer in layers:
        height, width = layer.weight.shape
        weight[row : row + height, column : column + width] = layer.weight
        row, column = row + height, column + width
    return FirstLayer(
        weight=weight,
        bias=np.concatenate([layer.bias for layer in layers]),
        mean=np.concatenate([_known(layer.mean) for layer in layers]),
        scale=np.concatenate([_known(layer.scale) for layer in layers]),
        clip=np.concatenate([layer.clip for layer in layers]),
    )


def _known(vector: Floats | None) -> Floats:
    assert vector is not None, "every member of an ensemble has a scaler"
    return vector
