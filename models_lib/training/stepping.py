"""One step of training: gradient, clip, optimiser, weight average; and who does it.

A stepper takes the rows of a batch by their numbers, moves the network's own tensors in place and adds up what it saw; the
loop (trainer.py) decides which rows, which learning rate, and when an epoch ends. `TorchStepper` is the definition: plain
torch on any device. Every other stepper gives the same gradients (to rounding), leaves its state in the same tensors and
the same optimiser, so that a checkpoint of one goes on in the other, and is tested against this one.

What does not belong here: the order of the rows, schedules, epochs and their judgement (trainer.py).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models_lib.config import TrainingSection
from models_lib.errors import TrainingError
from models_lib.networks import DirectionNetwork
from models_lib.networks.dropout import MaskPool
from models_lib.networks.losses import Loss
from models_lib.training.average import WeightAverage


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as the first layer sees them: inputs float32 [N, F] and classes int64 [N], on the device."""

    inputs: Tensor
    classes: Tensor


@dataclass(frozen=True)
class StepMeans:
    """Means over the steps of an epoch: the loss before each step, and the gradient's norm before it was clipped."""

    loss: float
    gradient_norm: float


class Stepper(Protocol):
    """Takes steps; everything that it moves is in the network, its average and the optimiser that it was made with."""

    def begin_epoch(self, epoch: int) -> None:
        """Draws what an epoch needs; errors name the epoch, counted from 1."""

    def step(self, rows: Rows, chosen_B: Tensor, *, learning_rate: float, average_decay: float) -> None:
        """Moves the weights by the gradient of the rows `chosen_B`; not at all when loss or gradient is not finite.

        Raises:
            TrainingError: the loss or the gradient's norm is not finite; a stepper may say so only in `end_epoch`.
        """

    def end_epoch(self) -> StepMeans:
        """Means over the steps of the epoch.

        Raises:
            TrainingError: a step had a loss or a gradient that is not finite; nothing was moved by it or after it.
        """


class TorchStepper:
    """A `Stepper` by autograd and torch's optimiser, on any device.

    Args:
        network: in training mode.
        average: of that network's weights.
        optimizer: of its parameters.
        loss: of logits after the learned temperature.
        masks: for dropout; None drops nothing.
        training: the recipe; of it the clip of the gradient is read.
    """

    def __init__(
        self,
        network: DirectionNetwork,
        *,
        average: WeightAverage,
        optimizer: torch.optim.Optimizer,
        loss: Loss,
        masks: MaskPool | None,
        training: TrainingSection,
    ) -> None:
        self._network = network
        self._average = average
        self._optimizer = optimizer
        self._loss = loss
        self._masks = masks
        self._largest = training.gradient_clip_norm or math.inf
        self._epoch = self._steps = 0
        self._loss_sum = self._norm_sum = 0.0

    def begin_epoch(self, epoch: int) -> None:
        """As the protocol says: a fresh pool of masks, and sums of nothing."""
        self._epoch, self._steps = epoch, 0
        self._loss_sum = self._norm_sum = 0.0
        self._network.train()
        if self._masks is not None:
            self._masks.refill()

    def step(self, rows: Rows, chosen_B: Tensor, *, learning_rate: float, average_decay: float) -> None:
        """As the protocol says; a number that is not finite is told at once."""
        inputs_BF, classes_B = rows.inputs.index_select(0, chosen_B), rows.classes.index_select(0, chosen_B)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        raw_BC = self._network.logits_of_inputs(inputs_BF, self._masks)
        loss = self._loss(self._network.tempered(raw_BC), classes_B)
        loss_value = loss.item()
        self._require_finite(loss_value, "loss")
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._largest).item()
        self._require_finite(norm, "gradient norm")
        self._optimizer.step()
        self._average.follow(average_decay)
        self._loss_sum, self._norm_sum = self._loss_sum + loss_value, self._norm_sum + norm
        self._steps += 1

    def end_epoch(self) -> StepMeans:
        """As the protocol says."""
        return StepMeans(self._loss_sum / self._steps, self._norm_sum / self._steps)

    def _require_finite(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            raise not_finite(what, value, epoch=self._epoch, step=self._steps + 1)


def not_finite(what: str, value: float, *, epoch: int, step: int) -> TrainingError:
    """What is raised when a step's loss or gradient norm is not finite; epoch and step are counted from 1."""
    return TrainingError(
        f"the {what} is {value} in epoch {epoch}, step {step} (it must be finite); the weights were not moved by it. "
        "Lower training.learning_rate, or set training.gradient_clip_norm."
    )
