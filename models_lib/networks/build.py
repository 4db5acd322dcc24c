"""The network that a configuration asks for.

What does not belong here: what the networks do (direction.py).
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from models_lib.config import NetworkSection
from models_lib.networks.direction import AdaptiveNetwork, BatchNormNetwork, DirectionNetwork, LegacyNetwork


class FittedScaler(Protocol):
    """What a network takes over from the fitted scaler."""

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Mean of each feature over the training rows, [F]."""

    @property
    def scale(self) -> npt.NDArray[np.float64]:
        """Standard deviation of each feature over the training rows, [F]."""


def build_network(
    network: NetworkSection, *, num_features: int, scaler: FittedScaler | None, generator: torch.Generator
) -> DirectionNetwork:
    """A network with first weights from `generator`, in training mode, on the CPU.

    Args:
        network: the family and its numbers.
        num_features: F.
        scaler: fitted on the training rows; required by v7 and v8, refused by v6, which never had one.
        generator: a CPU generator.

    Raises:
        ValueError: if the scaler is missing, does not belong, or is not [F].
    """
    if network.family == "v6":
        if scaler is not None:
            raise ValueError("a v6 network has no scaler: pass scaler=None, or choose network.family v7 or v8")
        return LegacyNetwork(num_features, generator=generator)
    if scaler is None:
        raise ValueError(f"a {network.family} network must be given its scaler: fit one on the training rows")
    if scaler.mean.shape != (num_features,) or scaler.scale.shape != (num_features,):
        raise ValueError(f"the scaler must be [{num_features}], was {scaler.mean.shape} and {scaler.scale.shape}")
    mean, scale = torch.from_numpy(scaler.mean), torch.from_numpy(scaler.scale)
    if network.family == "v7":
        return BatchNormNetwork(
            scaler_mean=mean,
            scaler_scale=scale,
            clip_std=network.input_clip_std,
            initial_temperature=network.initial_temperature,
            generator=generator,
        )
    return AdaptiveNetwork(
        mix_start=network.norm_mix_start,
        scaler_mean=mean,
        scaler_scale=scale,
        clip_std=network.input_clip_std,
        initial_temperature=network.initial_temperature,
        generator=generator,
    )
