"""The losses of SPEC 6: cross-entropy and focal loss, with label smoothing and class weights.

What does not belong here: which loss wins (README, "The recipe").
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from models_lib.config import TrainingSection
from models_lib.errors import DataError
from models_lib.networks.direction import NUM_CLASSES

SMALLEST_MISS = torch.finfo(torch.float32).tiny
"""Of 1 - p in the focal loss."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits [B, 3], classes [B] int64) -> the mean loss of the batch, a scalar."""


def smoothed_cross_entropy(logits_BC: Tensor, classes_B: Tensor, *, targets_CC: Tensor) -> Tensor:
    """Cross-entropy [B] of each row against row `class` of the target table.

    A table and no gather: the same bits on every run, on CUDA as well.
    """
    return -(functional.log_softmax(logits_BC, dim=1) * targets_CC[classes_B]).sum(dim=1)


def focal(ce_B: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Focal loss [B] = alpha (1 - p)^gamma ce with p = exp(-ce) (Lin et al. 2017, with the smoothed cross-entropy).

    alpha is one number for all classes: it scales the loss and changes no optimum. Below the smallest number 1 - p does not
    count: at 0 a gamma below 1 would have an infinite slope, and infinity times a loss of 0 is not a number.
    """
    return alpha * (-torch.expm1(-ce_B)).clamp_min(SMALLEST_MISS).pow(gamma) * ce_B


def smoothed_targets(label_smoothing: float) -> Tensor:
    """Target table [3, 3] float32: row c is (1 - s) at c plus s / 3 everywhere."""
    return torch.eye(NUM_CLASSES) * (1.0 - label_smoothing) + label_smoothing / NUM_CLASSES


def class_weights(classes: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """Weights [3] by the inverse share of each class in `classes`; their mean over those rows is 1.

    Raises:
        DataError: if a class does not occur, so that its weight has no value.
    """
    counts = np.bincount(classes, minlength=NUM_CLASSES)
    if (counts == 0).any():
        raise DataError(
            f"DOWN, NEUTRAL and UP occur {counts.tolist()} times in the training rows (each at least once for balanced "
            "weights). Set training.class_weights to none, or train on a longer window."
        )
    return len(classes) / (NUM_CLASSES * counts)


@dataclass(frozen=True, eq=False)
class ConfiguredLoss:
    """A `Loss` with its numbers open, for those who compute it by themselves.

    A row's loss is multiplied by the weight of its class (after the focal factor), then averaged over the rows.

    Attributes:
        targets: target table [3, 3].
        weights: of the classes [3]; None weighs none.
        is_focal: whether alpha and gamma count.
        alpha: of the focal loss.
        gamma: of the focal loss.
    """

    targets: Tensor
    weights: Tensor | None
    is_focal: bool
    alpha: float
    gamma: float

    def __call__(self, logits_BC: Tensor, classes_B: Tensor) -> Tensor:
        """The mean loss of the batch, a scalar."""
        loss_B = smoothed_cross_entropy(logits_BC, classes_B, targets_CC=self.targets)
        if self.is_focal:
            loss_B = focal(loss_B, alpha=self.alpha, gamma=self.gamma)
        if self.weights is not None:
            loss_B = loss_B * self.weights[classes_B]
        return loss_B.mean()


def loss_function(training: TrainingSection, *, classes: npt.NDArray[np.int8], device: torch.device) -> ConfiguredLoss:
    """The loss that the configuration asks for.

    Args:
        training: loss, smoothing, focal numbers and class weights.
        classes: int8 [n] of the training rows; only read for balanced weights.
        device: where logits will be.

    Raises:
        DataError: balanced weights are asked for and a class does not occur.
    """
    balanced = training.class_weights == "balanced"
    return ConfiguredLoss(
        targets=smoothed_targets(training.label_smoothing).to(device),
        weights=torch.from_numpy(class_weights(classes)).to(device, torch.float32) if balanced else None,
        is_focal=training.loss == "focal",
        alpha=training.focal_alpha,
        gamma=training.focal_gamma,
    )
