"""The first layer of files, bundles and ensembles: what stands before it, and whose columns a unit sees."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models_lib.architecture import EnsembleArchitecture, Member, RepairedArchitecture
from models_lib.config import NetworkSection
from models_lib.legacy import LegacyModel
from models_lib.legacy.diagnosis import FirstLayer
from models_lib.legacy.first_layers import layer_of_bundle, layer_of_file
from models_lib.scaling import Scaler


def array(*values: Any) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def one(layer: FirstLayer, *features: float) -> list[float]:
    """What the layer answers to one row."""
    return [float(value) for value in layer.answers(array(features))[0]]


def member(weight: np.ndarray, bias: float) -> dict[str, np.ndarray]:
    """A first layer whose scaler has mean 10 and scale 2 in every column."""
    width = weight.shape[1]
    return {
        "linears.0.weight": weight,
        "linears.0.bias": np.full(len(weight), bias, dtype=np.float32),
        "scaler_mean": np.full(width, 10, dtype=np.float32),
        "scaler_scale": np.full(width, 2, dtype=np.float32),
    }


CLIPPED = NetworkSection(family="v8", input_clip_std=5.0)
REPAIRED = RepairedArchitecture.of("v6")


def test_a_bundle_scales_and_clips_before_its_first_layer() -> None:
    tensors = member(array([3.0, 1.0]), 0.5)
    assert one(layer_of_bundle(CLIPPED, tensors), 12, 8) == [3 * 1 - 1 * 1 + 0.5]
    assert one(layer_of_bundle(CLIPPED, tensors), 110, 10) == [3 * 5 + 0.5]  # 50 deviations are clipped to 5
    assert one(layer_of_bundle(REPAIRED, tensors), 110, 10) == [3 * 50 + 0.5]


def test_each_member_of_an_ensemble_sees_its_own_columns() -> None:
    first, second = member(array([1.0, 2.0]), 0.0), member(array([4.0], [8.0]), 1.0)
    ensemble = EnsembleArchitecture((Member(REPAIRED, 2, 0.5), Member(CLIPPED, 1, 0.5)))
    tensors = {f"members.{k}.{name}": part for k, parts in enumerate((first, second)) for name, part in parts.items()}
    tensors = {name: part for name, part in tensors.items() if "scaler" not in name}
    tensors |= {"scaler_mean": array(10, 10, 10), "scaler_scale": array(2, 2, 2), "temperature": array(1)}
    layer = layer_of_bundle(ensemble, tensors)
    assert layer.weight.shape == (3, 3)
    assert one(layer, 110, 12, 14) == [50 + 2, 4 * 2 + 1, 8 * 2 + 1]
    assert one(layer, 10, 10, 110) == [0, 4 * 5 + 1, 8 * 5 + 1]


@pytest.mark.parametrize(
    ("scaler", "clip", "answer"),
    [
        (None, None, 200.5),
        (None, 5.0, 200.5),  # nothing is scaled, so nothing is clipped in deviations
        (Scaler(mean=np.array([10.0]), scale=np.array([2.0])), None, 90.5),
        (Scaler(mean=np.array([10.0]), scale=np.array([2.0])), 5.0, 10.5),
    ],
)
def test_a_file_is_taken_as_it_ran(scaler: Scaler | None, clip: float | None, answer: float) -> None:
    model = LegacyModel(
        path=Path("old.pt"),
        sha256="0" * 64,
        family="v6",
        tensors={"linears.0.weight": array([2.0]), "linears.0.bias": array(0.5)},
        scaler=scaler,
        scaler_from="",
        temperature=None,
        feature_names=None,
        input_clip_std=clip,
        symbol=None,
        notes=(),
    )
    assert one(layer_of_file(model), 100) == [answer]
