"""The direction classifiers: 72-256-128-64-3 with ReLU, in three generations that differ in what stands between layers.

    LegacyNetwork      v6: nothing; it takes its inputs as they come and has no temperature
    BatchNormNetwork   v7: BatchNorm, dropout, its own scaler, a learned temperature
    AdaptiveNetwork    v8: a learned mix of BatchNorm and LayerNorm, the rest as v7

What does not belong here: fitting (models_lib.training), the choice between them (build.py).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from models_lib.networks.dropout import Masks
from models_lib.networks.norms import AdaptiveNorm, BatchNorm

HIDDEN_WIDTHS = (256, 128, 64)
NUM_CLASSES = 3


class DirectionNetwork(nn.Module):
    """Logits of DOWN, NEUTRAL and UP from raw features; the common ground of the three generations.

    Shape: [B, F] or [B, T, F] (the last step is used) -> [B, 3].

    Args:
        num_features: F.
        norms: one normalisation a hidden layer, or none at all.
        generator: the source of the first weights, uniform within 1 / sqrt(fan in) as torch's Linear.
    """

    def __init__(self, num_features: int, *, norms: Sequence[BatchNorm], generator: torch.Generator) -> None:
        super().__init__()
        self.num_features = num_features
        widths = (num_features, *HIDDEN_WIDTHS, NUM_CLASSES)
        self.linears = nn.ModuleList(_linear(fan_in, fan_out, generator) for fan_in, fan_out in pairwise(widths))
        self.norms = nn.ModuleList(norms)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, 3] after the learned temperature, where there is one."""
        return self.tempered(self.raw_logits(x))

    def raw_logits(self, x: Tensor) -> Tensor:
        """Logits [B, 3] before any temperature.

        Raises:
            ValueError: if `x` is neither [B, F] nor [B, T, F] with T at least 1.
        """
        return self.logits_of_inputs(self.inputs(self.last_step(x)))

    def last_step(self, x: Tensor) -> Tensor:
        """The rows [B, F] that are classified."""
        fits = x.ndim in (2, 3) and x.shape[-1] == self.num_features and (x.ndim == 2 or x.shape[1] > 0)
        if not fits:
            raise ValueError(
                f"input must be [B, {self.num_features}] or [B, T, {self.num_features}] with T at least 1, "
                f"was {list(x.shape)}"
            )
        return x if x.ndim == 2 else x[:, -1]

    def inputs(self, x_BF: Tensor) -> Tensor:
        """What the first layer sees [B, F]: here the rows as they come."""
        return x_BF

    def tempered(self, logits_BC: Tensor) -> Tensor:
        """Logits after the learned temperature: here unchanged."""
        return logits_BC

    def logits_of_inputs(self, z_BF: Tensor, masks: Masks | None = None) -> Tensor:
        """Raw logits [B, 3] from what `inputs` gave; with `masks`, hidden units are dropped (training only)."""
        h_BW = z_BF
        for index in range(len(HIDDEN_WIDTHS)):
            h_BW = self.linears[index](h_BW)
            mask_BW = None if masks is None else masks.mask(*h_BW.shape)
            h_BW = self._hidden(index, h_BW, mask_BW)
        logits_BC: Tensor = self.linears[-1](h_BW)
        return logits_BC

    def _hidden(self, index: int, h_BW: Tensor, mask_BW: Tensor | None) -> Tensor:
        """What a hidden layer hands on: normalised where the family does, ReLU, dropped where there is a mask."""
        h_BW = functional.relu(self.norms[index](h_BW) if self.norms else h_BW)
        return h_BW if mask_BW is None else h_BW * mask_BW


class LegacyNetwork(DirectionNetwork):
    """v6: no scaler, no normalisation, no dropout, no temperature. Kept to show, and to catch, what that does."""

    def __init__(self, num_features: int, *, generator: torch.Generator) -> None:
        super().__init__(num_features, norms=(), generator=generator)


class ScaledNetwork(DirectionNetwork):
    """A network that holds its scaler and a learned temperature as tensors of its own.

    Args:
        scaler_mean: float [F], in the units of each feature.
        scaler_scale: float [F], above 0.
        clip_std: scaled inputs are clipped to this many standard deviations; None clips nothing.
        initial_temperature: where the learned temperature starts; exp(log_temperature) stays above 0.
    """

    scaler_mean: Tensor
    scaler_scale: Tensor

    def __init__(
        self,
        *,
        norms: Sequence[BatchNorm],
        scaler_mean: Tensor,
        scaler_scale: Tensor,
        clip_std: float | None,
        initial_temperature: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__(len(scaler_mean), norms=norms, generator=generator)
        self.clip_std = clip_std
        self.register_buffer("scaler_mean", scaler_mean.to(torch.float32))
        self.register_buffer("scaler_scale", scaler_scale.to(torch.float32))
        self.log_temperature = nn.Parameter(torch.tensor([math.log(initial_temperature)]))

    def inputs(self, x_BF: Tensor) -> Tensor:
        """The rows [B, F] in standard deviations from the training mean, clipped where the network clips."""
        z_BF = (x_BF - self.scaler_mean).div_(self.scaler_scale)
        return z_BF if self.clip_std is None else z_BF.clamp_(-self.clip_std, self.clip_std)

    def tempered(self, logits_BC: Tensor) -> Tensor:
        """Logits divided by the learned temperature."""
        return logits_BC * torch.exp(-self.log_temperature)


class BatchNormNetwork(ScaledNetwork):
    """v7: BatchNorm between layers."""

    def __init__(
        self,
        *,
        scaler_mean: Tensor,
        scaler_scale: Tensor,
        clip_std: float | None,
        initial_temperature: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__(
            norms=[BatchNorm(width) for width in HIDDEN_WIDTHS],
            scaler_mean=scaler_mean,
            scaler_scale=scaler_scale,
            clip_std=clip_std,
            initial_temperature=initial_temperature,
            generator=generator,
        )


class AdaptiveNetwork(ScaledNetwork):
    """v8: a learned mix of BatchNorm and LayerNorm between layers, starting at `mix_start`."""

    def __init__(
        self,
        *,
        mix_start: float,
        scaler_mean: Tensor,
        scaler_scale: Tensor,
        clip_std: float | None,
        initial_temperature: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__(
            norms=[AdaptiveNorm(width, mix_start=mix_start) for width in HIDDEN_WIDTHS],
            scaler_mean=scaler_mean,
            scaler_scale=scaler_scale,
            clip_std=clip_std,
            initial_temperature=initial_temperature,
            generator=generator,
        )


def _linear(fan_in: int, fan_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer whose first weights come from `generator` alone, not from torch's global state."""
    # Not nn.utils.skip_init: its way from the meta device to memory imports sympy, a quarter of a second in each process.
    layer = nn.Linear(fan_in, fan_out, device="meta")
    bound = 1.0 / math.sqrt(fan_in)
    layer.weight = nn.Parameter(torch.empty(fan_out, fan_in).uniform_(-bound, bound, generator=generator))
    layer.bias = nn.Parameter(torch.empty(fan_out).uniform_(-bound, bound, generator=generator))
    return layer
