"""Who does the work on this device: the steps of a training, and the forward pass of its judgement.

Where numba is not installed (a container that has only what a training on CUDA needs), torch does it on the CPU as well:
slower, and with other rounding. `kernels` says which it is, so that a training can tell.

What does not belong here: the work itself (stepping.py, fused_stepper.py, fused_forward.py).
"""

import importlib.util
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models_lib.config import TrainingSection
from models_lib.networks import DirectionNetwork, loss_function
from models_lib.networks.dropout import MaskPool
from models_lib.training.average import WeightAverage
from models_lib.training.stepping import Stepper, TorchStepper

Kernels = Literal["fused", "torch"]


def kernels(device: torch.device) -> Kernels:
    """Whose kernels a training on the device uses between the matrix products."""
    return "fused" if device.type == "cpu" and importlib.util.find_spec("numba") is not None else "torch"


def choose_stepper(
    network: DirectionNetwork,
    *,
    average: WeightAverage,
    optimizer: torch.optim.Optimizer,
    masks: MaskPool | None,
    training: TrainingSection,
    classes: NDArray[np.int8],
    device: torch.device,
) -> Stepper:
    """The fastest stepper of the device; `classes` are those of the training rows, for balanced weights."""
    if kernels(device) == "fused":
        from models_lib.training.fused_stepper import FusedStepper  # noqa: PLC0415 - numba, only where it is used

        return FusedStepper(
            network, average=average, optimizer=optimizer, masks=masks, training=training, classes=classes
        )
    return TorchStepper(
        network,
        average=average,
        optimizer=optimizer,
        loss=loss_function(training, classes=classes, device=device),
        masks=masks,
        training=training,
    )


def choose_forward(network: DirectionNetwork, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The fastest way of the device from what `inputs` gave to the raw logits of a network in evaluation mode."""
    if kernels(device) == "fused":
        from models_lib.training.fused_forward import FusedForward  # noqa: PLC0415 - numba, only where it is used

        return FusedForward(network)
    return network.logits_of_inputs
