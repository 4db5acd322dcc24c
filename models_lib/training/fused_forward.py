"""The way forward through a network on the CPU: products by torch, compiled loops between them.

Training and evaluation differ in one thing: by which statistics the columns are normalised. In evaluation they are fixed, so
that BatchNorm is one slope and one shift a unit, and a row needs no other. The definition is `DirectionNetwork`.

What does not belong here: the way back (fused_stepper.py), and the loops (models_lib.networks.compiled).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models_lib.networks import AdaptiveNorm, BatchNorm, DirectionNetwork, compiled
from models_lib.networks.norms import EPSILON

Floats = NDArray[np.float32]


class Parameter:
    """A parameter and its gradient, as torch and as the loops see them; empty where the network has none."""

    def __init__(self, parameter: Tensor | None) -> None:
        gradient = None if parameter is None else parameter.grad
        self.tensor = torch.empty(0) if parameter is None else parameter.detach()
        self.slope = torch.empty(0) if gradient is None else gradient
        self.array: Floats = self.tensor.numpy()
        self.slope_array: Floats = self.slope.numpy()


class Norm:
    """The tensors of a normalisation."""

    def __init__(self, norm: BatchNorm) -> None:
        self.weight, self.bias = Parameter(norm.weight), Parameter(norm.bias)
        self.mix_logit = Parameter(norm.mix_logit if isinstance(norm, AdaptiveNorm) else None)
        self.running_mean: Floats = norm.running_mean.numpy()
        self.running_var: Floats = norm.running_var.numpy()


class Layer:
    """The tensors of a linear layer, and of the normalisation behind it where there is one."""

    def __init__(self, network: DirectionNetwork, index: int) -> None:
        linear = network.linears[index]
        assert isinstance(linear, nn.Linear)
        self.weight, self.bias = Parameter(linear.weight), Parameter(linear.bias)
        self.weight_t = self.weight.tensor.t()
        norm = network.norms[index] if index < len(network.norms) else None
        assert norm is None or isinstance(norm, BatchNorm)
        self.norm = None if norm is None else Norm(norm)


class Hidden:
    """Room for what a hidden layer computes of a batch; `x` are the products, `h` what it hands on, `dh` its gradient."""

    def __init__(self, rows: int, width: int) -> None:
        self.products, self.outputs, self.slope = (torch.empty(rows, width) for _ in range(3))
        self.x, self.h, self.dh = self.products.numpy(), self.outputs.numpy(), self.slope.numpy()
        self.mean, self.scale = np.empty((2, width), np.float32)
        self.of_rows = np.empty((rows, 2), np.float32)
        self.ones = np.ones((rows, width), np.float32)


def activate(layer: Layer, hidden: Hidden, mask: Floats) -> None:
    """Fills what the layer hands on; where there is a norm, columns are normalised by the mean and scale of `hidden`."""
    norm = layer.norm
    if norm is None:
        compiled.plain_activations(hidden.x, mask, hidden.h)
        return
    compiled.mixed_activations(
        hidden.x, hidden.mean, hidden.scale, norm.weight.array, norm.bias.array, norm.mix_logit.array, mask,
        hidden.of_rows, hidden.h,
    )  # fmt: skip


class FusedForward:
    """Raw logits [B, 3] of a network in evaluation mode from what its `inputs` gave; equal to its own to rounding.

    Args:
        network: as it is now.
    """

    def __init__(self, network: DirectionNetwork) -> None:
        self._layers = [Layer(network, index) for index in range(len(network.linears))]
        self._hidden: list[Hidden] = []

    def __call__(self, inputs_BF: Tensor) -> Tensor:
        """The logits of these rows."""
        if not self._hidden or len(self._hidden[0].x) != len(inputs_BF):
            self._hidden = [_evaluated(layer, len(inputs_BF)) for layer in self._layers[:-1]]
        above = inputs_BF
        for layer, hidden in zip(self._layers, self._hidden, strict=False):
            torch.addmm(layer.bias.tensor, above, layer.weight_t, out=hidden.products)
            activate(layer, hidden, hidden.ones)
            above = hidden.outputs
        last = self._layers[-1]
        return torch.addmm(last.bias.tensor, above, last.weight_t)


def _evaluated(layer: Layer, rows: int) -> Hidden:
    """Room for so many rows, with the running statistics in place of a batch's."""
    hidden = Hidden(rows, len(layer.bias.array))
    if layer.norm is not None:
        hidden.mean[:] = layer.norm.running_mean
        hidden.scale[:] = 1.0 / np.sqrt(layer.norm.running_var + np.float32(EPSILON))
    return hidden
