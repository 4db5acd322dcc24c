"""Who does the work on this device: the steps of a training, and the forward pass of its judgement.

Where numba is not installed (a container that has only what a training on CUDA needs), torch does it on the CPU as well:
slower, and with other rounding. `kernels` says which it is, so that a training can tell.

What does not belong here: the work itself (stepping.py, fused_stepper.py, fused_forward.py, cuda_stepper.py).
"""

import importlib.util
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from models_lib.config import TrainingSection
from models_lib.networks import DirectionNetwork
from models_lib.training.cuda_stepper import CudaStepper
from models_lib.training.stepping import Stepper, TorchStepper

Kernels = Literal["fused", "torch"]


def kernels(device: torch.device) -> Kernels:
    """Whose kernels a training on the device uses between the matrix products."""
    return "fused" if device.type == "cpu" and importlib.util.find_spec("numba") is not None else "torch"


StepperKind = Callable[..., Stepper]
"""What makes a stepper, from the arguments of `TorchStepper`."""


def stepper_kind(device: torch.device, training: TrainingSection) -> StepperKind:
    """Who takes the steps on the device: its fastest, but for a CUDA graph that the recipe forbids."""
    if device.type == "cuda" and training.cuda_graph:
        return CudaStepper
    if kernels(device) == "torch":
        return TorchStepper
    from models_lib.training.fused_stepper import FusedStepper  # noqa: PLC0415 - numba, only where it is used

    return FusedStepper


def forward_of(network: DirectionNetwork, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The way from what `inputs` gave to the raw logits of a network in evaluation mode."""
    if kernels(device) == "torch":
        return network.logits_of_inputs
    from models_lib.training.fused_forward import FusedForward  # noqa: PLC0415 - numba, only where it is used

    return FusedForward(network)
