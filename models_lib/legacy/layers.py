"""Which network a state is, told by the shapes of its tensors, and its tensors under our names.

    V6    four linear layers F-256-128-64-3
    V7    the same with three BatchNorms of 256, 128 and 64
    V8    the same with our own mix_logit in each norm; of other V8 the mixing rule is unknown, so they are refused

What does not belong here: the scaler and the temperature, which may stand in a state too (scalers.py, model.py).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from models_lib.bundle.layout import shown
from models_lib.bundle.tensors import Tensors
from models_lib.errors import BundleError
from models_lib.networks.direction import HIDDEN_WIDTHS, NUM_CLASSES

Family = Literal["v6", "v7", "v8"]

_PREFIXES = re.compile(r"^(?:module\.|_orig_mod\.)+")
_STEP_COUNTER = "num_batches_tracked"
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
_MIX = "mix_logit"
_OUTPUTS = (*HIDDEN_WIDTHS, NUM_CLASSES)
_LAYOUT = f"F-{'-'.join(str(width) for width in _OUTPUTS)}"


@dataclass(eq=False)
class _Layer:
    """The tensors of one module, by the last part of their names."""

    owner: str
    parts: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def is_linear(self) -> bool:
        """Whether it is a matrix with a bias."""
        return set(self.parts) == {"weight", "bias"} and self.parts["weight"].ndim == 2

    @property
    def is_norm(self) -> bool:
        """Whether it is a BatchNorm, perhaps with our mix."""
        return set(self.parts) - {_MIX} == set(_NORM_PARTS)


def without_prefixes(state: Mapping[str, Any], *, subject: str) -> dict[str, Any]:
    """The entries of a state without `module.` and `_orig_mod.`, which wrappers put before every name.

    Raises:
        BundleError: a name that is no text, or two that become one.
    """
    strange = [repr(name) for name in state if not isinstance(name, str)]
    if strange:
        raise BundleError(f"{subject}: a tensor is named {shown(strange)}, which is no text. Write the state anew.")
    plain = {_PREFIXES.sub("", name): value for name, value in state.items()}
    if len(plain) != len(state):
        raise BundleError(
            f"{subject}: with and without the prefix module. the same tensor stands twice, and which one counts is "
            f"unknown. Write the state of one model."
        )
    return plain


def family_and_tensors(state: Mapping[str, torch.Tensor], *, subject: str) -> tuple[Family, Tensors, tuple[str, ...]]:
    """The family, its tensors under our names in float32, and what had to be noted.

    Args:
        state: tensors by name, without prefixes, scaler and temperature.
        subject: the file, for messages.

    Raises:
        BundleError: not a V6, V7 or V8 of ours; a layer missing, twice or of another shape; NaN or infinity.
    """
    layers = _layers(state)
    linears = [layer for layer in layers if layer.is_linear]
    norms = [layer for layer in layers if layer.is_norm]
    _check_nothing_else(layers, subject=subject)
    _check_norms(norms, subject=subject)
    family: Family = "v6" if not norms else "v8" if _MIX in norms[0].parts else "v7"
    found: dict[str, torch.Tensor] = {}
    num_inputs: int | None = None
    for index, linear in enumerate(_ordered(linears, subject=subject)):
        _check_linear(linear, num_inputs, subject=subject)
        num_inputs = _OUTPUTS[index]
        found |= {f"linears.{index}.{part}": tensor for part, tensor in linear.parts.items()}
    for norm in norms:
        index = HIDDEN_WIDTHS.index(len(norm.parts["weight"]))
        found |= {f"norms.{index}.{part}": tensor for part, tensor in norm.parts.items()}
    tensors = {name: float32_array(tensor, name=name, subject=subject) for name, tensor in sorted(found.items())}
    _check_values(tensors, subject=subject)
    return family, tensors, _rounded(found)


def float32_array(tensor: torch.Tensor, *, name: str, subject: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The tensor as a float32 array of its own.

    Raises:
        BundleError: it holds no floating-point numbers.
    """
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise BundleError(
            f"{subject}: {name} is {kind}, a quantised model's perhaps; weights must be floating-point numbers. "
            f"Give the file of the model as it was trained."
        )
    array: np.ndarray[Any, np.dtype[np.float32]] = tensor.detach().to(torch.float32).contiguous().numpy().copy()
    return array


def _layers(state: Mapping[str, torch.Tensor]) -> list[_Layer]:
    """The modules of a state; the step counters of BatchNorms are left out: they change no answer."""
    layers: dict[str, _Layer] = {}
    for name, tensor in state.items():
        owner, _, part = name.rpartition(".")
        if part != _STEP_COUNTER:
            layers.setdefault(owner, _Layer(owner)).parts[part] = tensor
    return list(layers.values())


def _check_nothing_else(layers: list[_Layer], *, subject: str) -> None:
    strangers = [layer for layer in layers if not (layer.is_linear or layer.is_norm)]
    if not strangers:
        return
    told = shown(
        f"{layer.owner}.{part} {_shape(tensor)}" for layer in strangers for part, tensor in layer.parts.items()
    )
    if any(layer.is_norm for layer in layers) or any(_is_layer_norm(layer) for layer in strangers):
        raise BundleError(
            f"{subject}: {told} stand beside the layers of a V6 or V7. It may be a V8, but how it mixes BatchNorm and "
            f"LayerNorm is written in its program, not in the file: only a V8 of ours (norms.*.{_MIX}) is read. "
            f"Train a V8 anew."
        )
    raise BundleError(
        f"{subject}: {told} belong to no V6, V7 or V8, which are linear layers {_LAYOUT} with or without BatchNorm. "
        f"Give the file of one of these."
    )


def _is_layer_norm(layer: _Layer) -> bool:
    return set(layer.parts) == {"weight", "bias"} and layer.parts["weight"].ndim == 1


def _ordered(linears: list[_Layer], *, subject: str) -> Iterable[_Layer]:
    """The linear layers from the first to the last, told by how many units each has."""
    for width in _OUTPUTS:
        of_width = [layer for layer in linears if layer.parts["weight"].shape[0] == width]
        if len(of_width) != 1 or len(linears) != len(_OUTPUTS):
            found = ", ".join(f"{layer.owner or '(no name)'} {_shape(layer.parts['weight'])}" for layer in linears[:8])
            raise BundleError(
                f"{subject}: the linear layers must be {_LAYOUT}, one of each; "
                f"{f'{len(linears)} were found: {found}' if linears else 'none was found'}. "
                f"It is damaged or of another network: give the file of a V6, V7 or V8."
            )
        yield of_width[0]


def _check_linear(layer: _Layer, num_inputs: int | None, *, subject: str) -> None:
    weight, bias = layer.parts["weight"], layer.parts["bias"]
    wanted = weight.shape[1] if num_inputs is None else num_inputs
    if weight.shape[1] != wanted or wanted == 0 or bias.shape != weight.shape[:1]:
        raise BundleError(
            f"{subject}: {layer.owner}.weight must be [{weight.shape[0]}, {wanted or 'F'}] with a bias "
            f"[{weight.shape[0]}], was {_shape(weight)} with {_shape(bias)}. The file is damaged: copy it again."
        )


def _check_norms(norms: list[_Layer], *, subject: str) -> None:
    """None at all, or one BatchNorm for each hidden layer, all with our mix or none."""
    if not norms:
        return
    widths = sorted((tuple(layer.parts["weight"].shape) for layer in norms), reverse=True)
    mixed = [_MIX in layer.parts for layer in norms]
    if widths != [(width,) for width in HIDDEN_WIDTHS] or len(set(mixed)) != 1:
        raise BundleError(
            f"{subject}: BatchNorms must be one each of {', '.join(map(str, HIDDEN_WIDTHS))} units, all of one kind; "
            f"{len(norms)} were found: {', '.join(str(list(width)) for width in widths[:8])}. "
            f"The file is damaged or of another network."
        )
    for layer in norms:
        wanted = layer.parts["weight"].shape
        wrong = [part for part, tensor in layer.parts.items() if tensor.shape != ((1,) if part == _MIX else wanted)]
        if wrong:
            raise BundleError(
                f"{subject}: {layer.owner}.{wrong[0]} must be {[1] if wrong[0] == _MIX else list(wanted)}, was "
                f"{_shape(layer.parts[wrong[0]])}. The file is damaged: copy it again."
            )


def _check_values(tensors: Tensors, *, subject: str) -> None:
    broken = [name for name, array in tensors.items() if not np.isfinite(array).all()]
    if broken:
        raise BundleError(
            f"{subject}: NaN or infinity in {shown(broken)}: every answer would be NaN. The training had failed, or the "
            f"file is damaged: it cannot be mended, train the model again."
        )
    negative = [name for name, array in tensors.items() if name.endswith("running_var") and array.min() < 0.0]
    if negative:
        raise BundleError(f"{subject}: {shown(negative)} holds a variance below 0. The file is damaged: copy it again.")


def _rounded(found: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in found.values()} - {"float32"})
    return (f"weights in {' and '.join(kinds)} are used as float32",) if kinds else ()


def _shape(tensor: torch.Tensor) -> str:
    return str(list(tensor.shape))
