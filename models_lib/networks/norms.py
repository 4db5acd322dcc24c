"""Normalisation between layers: over the batch, and a learned mix of batch and layer.

Both keep only float32 tensors (no step counter), so a saved network is one kind of number. In evaluation the batch
part uses its running statistics: a row's result never depends on the rows beside it.

What does not belong here: the scaler of the inputs (direction.py); it is fitted on data, not learned.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

MOMENTUM = 0.1
EPSILON = 1e-5


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015), as torch's BatchNorm1d without its step counter.

    Shape: [B, W] -> [B, W]; in training B must be at least 2.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x_BW: Tensor) -> Tensor:
        """The rows, normalised per unit; in training the running statistics take a tenth of the batch's."""
        return self._normalised(x_BW, self.weight)

    def _normalised(self, x_BW: Tensor, weight_W: Tensor) -> Tensor:
        return functional.batch_norm(
            x_BW, self.running_mean, self.running_var, weight_W, self.bias, self.training, MOMENTUM, EPSILON
        )


class AdaptiveNorm(BatchNorm):
    """A learned mix of batch and layer normalisation with one affine map: weight * (m BN + (1 - m) LN) + bias.

    After switchable normalisation (Luo et al. 2018, arXiv 1806.10779), which mixes the statistics; here the normalised
    values are mixed, so that each part stays the fused kernel of its own and the mix costs one addition.

    Args:
        width: units W.
        mix_start: where m starts, in (0, 1); m = sigmoid(mix_logit) is learned.

    Shape: [B, W] -> [B, W].
    """

    def __init__(self, width: int, *, mix_start: float) -> None:
        super().__init__(width)
        self.mix_logit = nn.Parameter(torch.tensor([math.log(mix_start / (1.0 - mix_start))]))

    def forward(self, x_BW: Tensor) -> Tensor:
        """The rows, normalised over the batch and over themselves, mixed."""
        batch_share = torch.sigmoid(self.mix_logit)
        over_row_BW = functional.layer_norm(x_BW, x_BW.shape[1:], (1.0 - batch_share) * self.weight, None, EPSILON)
        return self._normalised(x_BW, batch_share * self.weight) + over_row_BW
