"""Norm, ReLU and dropout of a hidden layer as one training step of the CPU: three passes forward, two back.

Apart, these are some twenty kernels of torch that each walk through memory; here a row stays in the cache while all is
done to it. The arithmetic is that of norms.py, which remains the definition: CUDA, evaluation and the tests use it.

Where numba is not installed (a container that has only what a training on CUDA needs), torch's kernels do the work on the
CPU as well: slower, and with other rounding. `kernels` says which it is, so that a training can tell.

What does not belong here: the compiled loops (compiled.py), and matrix products; torch has them.
"""

import functools
import importlib.util
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from models_lib.networks.norms import MOMENTUM, BatchNorm

Kernels = Literal["fused", "torch"]


def kernels(device: torch.device) -> Kernels:
    """Whose kernels a training on the device uses between the matrix products."""
    return "fused" if device.type == "cpu" and _compiled() is not None else "torch"


@functools.cache
def _compiled() -> ModuleType | None:
    """The compiled loops, loaded when they are first needed; None where numba is not installed."""
    if importlib.util.find_spec("numba") is None:
        return None
    from models_lib.networks import compiled  # noqa: PLC0415 - numba, only where it is used

    return compiled


def norm_relu_dropout(norm: BatchNorm, x_BW: Tensor, mask_BW: Tensor | None) -> Tensor:
    """relu(norm(x)) * mask [B, W] in training; one fused step on the CPU, torch's own kernels elsewhere."""
    if norm.training and kernels(x_BW.device) == "fused":
        return _fused(norm, x_BW, torch.ones_like(x_BW) if mask_BW is None else mask_BW)
    h_BW = functional.relu(norm(x_BW))
    return h_BW if mask_BW is None else h_BW * mask_BW


def _fused(norm: BatchNorm, x_BW: Tensor, mask_BW: Tensor) -> Tensor:
    """The step on the CPU; moves the running statistics as torch does, by the unbiased variance."""
    rows, width = x_BW.shape
    batch_weight_W, layer_weight_W = norm.part_weights()
    statistics_2W = torch.empty((2, width))
    h_BW: Tensor = FusedStage.apply(x_BW, batch_weight_W, layer_weight_W, norm.bias, mask_BW, statistics_2W)
    norm.running_mean.lerp_(statistics_2W[0], MOMENTUM)
    norm.running_var.lerp_(statistics_2W[1] * (rows / (rows - 1)), MOMENTUM)
    return h_BW


class FusedStage(torch.autograd.Function):
    """relu(batch_weight * BN(x) + layer_weight * LN(x) + bias) * mask, with batch statistics."""

    @staticmethod
    def forward(  # noqa: D102, PLR0917  torch calls it, by position; the class says what it does
        ctx: Any,
        x_BW: Tensor,
        batch_weight_W: Tensor,
        layer_weight_W: Tensor,
        bias_W: Tensor,
        mask_BW: Tensor,
        statistics_2W: Tensor,
    ) -> Tensor:
        loops = _compiled()
        assert loops is not None, "norm_relu_dropout takes torch's kernels then"
        rows, width = x_BW.shape
        h_BW = torch.empty_like(x_BW)
        of_columns_2W = torch.empty((2, width))
        of_rows_B2 = torch.empty((rows, 2))
        loops.moments(x_BW.numpy(), of_columns_2W.numpy(), of_rows_B2.numpy(), statistics_2W.numpy())
        loops.activations(
            x_BW.numpy(),
            batch_weight_W.numpy(),
            layer_weight_W.numpy(),
            bias_W.numpy(),
            mask_BW.numpy(),
            of_columns_2W.numpy(),
            of_rows_B2.numpy(),
            h_BW.numpy(),
        )
        ctx.save_for_backward(x_BW, h_BW, mask_BW, batch_weight_W, layer_weight_W, of_columns_2W, of_rows_B2)
        return h_BW

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102  as above
        x_BW, h_BW, mask_BW, batch_weight_W, layer_weight_W, of_columns_2W, of_rows_B2 = ctx.saved_tensors
        loops = _compiled()
        assert loops is not None, "forward had them"
        dx_BW = torch.empty_like(x_BW)
        sums_3W = torch.empty((3, x_BW.shape[1]))
        loops.backward(
            gradients[0].contiguous().numpy(),
            x_BW.numpy(),
            h_BW.numpy(),
            mask_BW.numpy(),
            batch_weight_W.numpy(),
            layer_weight_W.numpy(),
            of_columns_2W.numpy(),
            of_rows_B2.numpy(),
            dx_BW.numpy(),
            sums_3W.numpy(),
        )
        return dx_BW, sums_3W[0], sums_3W[1], sums_3W[2], None, None
