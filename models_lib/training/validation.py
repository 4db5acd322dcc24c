"""What validation rows say of an epoch's logits: temperature, NLL, accuracy, and what the gates ask.

Two ways to the same figures, to rounding: numpy's, which is the definition and what a training on the CPU uses, and
torch's, for logits that lie on a GPU. Only the figures that leave it are waited for. The search for the temperature is one
and the same.

What does not belong here: the gates (models_lib.evaluation.gates), the kept epoch (trainer.py).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models_lib.calibration import (
    LARGEST_INVERSE,
    SMALLEST_INVERSE,
    TemperatureFit,
    fit_temperature,
    lowest_inverse,
    negative_log_likelihood,
)
from models_lib.evaluation.gates import LogitFigures, logit_figures


@dataclass(frozen=True)
class Validation:
    """What is said of raw logits.

    Attributes:
        fitted: temperature and NLL; None where a logit is not finite.
        accuracy: in 0..1; None likewise.
        tempered: figures of the logits divided by the temperature, by 1 where there is none.
    """

    fitted: TemperatureFit | None
    accuracy: float | None
    tempered: LogitFigures


def validate_arrays(logits: NDArray[np.float32], classes: NDArray[np.int64], *, fits: bool) -> Validation:
    """By numpy.

    Args:
        logits: raw, float32 [N, 3].
        classes: [N], 0..2.
        fits: whether a temperature is fitted; otherwise it is 1.
    """
    if not np.isfinite(logits).all():
        return Validation(None, None, logit_figures(logits))
    if fits:
        fitted = fit_temperature(logits, classes)
    else:
        fitted = TemperatureFit(1.0, negative_log_likelihood(logits, classes), at_bound=False)
    accuracy = float((logits.argmax(axis=1) == classes).mean())
    return Validation(fitted, accuracy, logit_figures(logits / fitted.temperature))


@torch.no_grad()
def validate_tensors(logits_NC: Tensor, classes_N: Tensor, *, fits: bool) -> Validation:
    """By torch, where the logits lie: as `validate_arrays`."""
    broken = int((~torch.isfinite(logits_NC)).sum())
    if broken:
        return Validation(None, None, LogitFigures(broken))
    fitted = _fitted(logits_NC.double(), classes_N) if fits else None
    if fitted is None:
        fitted = TemperatureFit(1.0, _nll(logits_NC.double(), classes_N, 1.0), at_bound=False)
    accuracy = (logits_NC.argmax(dim=1) == classes_N).double().mean()
    return Validation(fitted, float(accuracy), _figures(logits_NC / fitted.temperature))


def _fitted(z_NC: Tensor, classes_N: Tensor) -> TemperatureFit:
    """`fit_temperature` of float64 logits that are finite."""
    z_NC = z_NC - z_NC.mean(dim=1, keepdim=True)
    if not bool(z_NC.any()):
        return TemperatureFit(1.0, math.log(z_NC.shape[1]), at_bound=True)
    z_class = z_NC.gather(1, classes_N.unsqueeze(1)).squeeze(1)

    def slope_at(inverse: float) -> tuple[float, float]:
        p_NC = functional.softmax(z_NC * inverse, dim=1)
        expected = (p_NC * z_NC).sum(dim=1)
        variance = (p_NC * z_NC * z_NC).sum(dim=1) - expected * expected
        slope, curvature = torch.stack(((expected - z_class).mean(), variance.mean())).tolist()
        return slope, curvature

    inverse, at_bound = lowest_inverse(slope_at, low=SMALLEST_INVERSE, high=LARGEST_INVERSE)
    return TemperatureFit(1.0 / inverse, _nll(z_NC, classes_N, 1.0 / inverse), at_bound)


def _nll(z_NC: Tensor, classes_N: Tensor, temperature: float) -> float:
    """`negative_log_likelihood` of float64 logits."""
    log_p_NC = functional.log_softmax(z_NC / temperature, dim=1)
    return -float(log_p_NC.gather(1, classes_N.unsqueeze(1)).mean())


def _figures(tempered_NC: Tensor) -> LogitFigures:
    """`logit_figures`, read in one copy."""
    confidence = functional.softmax(tempered_NC.double(), dim=1).amax(dim=1)
    predicted = tempered_NC.argmax(dim=1, keepdim=True) == torch.arange(3, device=tempered_NC.device)
    num_non_finite, largest, over_99, over_90, *shares = torch.cat(
        (
            torch.stack(
                (
                    (~torch.isfinite(tempered_NC)).sum().double(),
                    tempered_NC.abs().max().double(),
                    (confidence > 0.99).double().mean(),
                    (confidence > 0.9).double().mean(),
                )
            ),
            predicted.double().mean(dim=0),
        )
    ).tolist()
    if num_non_finite:
        return LogitFigures(int(num_non_finite))
    return LogitFigures(0, largest, over_99, over_90, class_shares=(shares[0], shares[1], shares[2]))
