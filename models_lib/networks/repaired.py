"""Networks that were not trained here as they stand: an old one that was repaired, and two models together.

Both only answer; nothing here is trained.

What does not belong here: which scaler, clamp, weights and temperatures they get (those who repair and compare say).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models_lib.architecture import EnsembleArchitecture, RepairedArchitecture
from models_lib.networks.direction import HIDDEN_WIDTHS, DirectionNetwork
from models_lib.networks.norms import BatchNorm


class RepairedNetwork(DirectionNetwork):
    """An old network behind a scaler and a clamp; float32 in and out, float64 inside (architecture.py says why).

    Shape: [B, F] or [B, T, F] (the last step is used) -> [B, 3].
    """

    scaler_mean: Tensor
    scaler_scale: Tensor
    temperature: Tensor

    def __init__(self, num_features: int, *, architecture: RepairedArchitecture) -> None:
        network = architecture.network
        norms = [BatchNorm(width) for width in HIDDEN_WIDTHS] if network.family == "v7" else []
        super().__init__(num_features, norms=norms, generator=torch.Generator())
        self.clamp = architecture.clamp
        self.clip_std = network.input_clip_std if network.family == "v7" else None
        self.register_buffer("scaler_mean", torch.zeros(num_features))
        self.register_buffer("scaler_scale", torch.ones(num_features))
        self.register_buffer("temperature", torch.ones(1))
        self.double()

    def raw_logits(self, x: Tensor) -> Tensor:
        """Clamped logits [B, 3] before the temperature, float32."""
        return super().raw_logits(x.double()).clamp(-self.clamp, self.clamp).float()

    def inputs(self, x_BF: Tensor) -> Tensor:
        """The rows [B, F] in units of the scaler, clipped only where a v7 was trained so."""
        z_BF = (x_BF - self.scaler_mean) / self.scaler_scale
        return z_BF if self.clip_std is None else z_BF.clamp(-self.clip_std, self.clip_std)

    def tempered(self, logits_BC: Tensor) -> Tensor:
        """Logits divided by the fitted temperature."""
        return logits_BC / self.temperature.float()


class EnsembleNetwork(nn.Module):
    """The weighted sum of what its members emit, each with its own scaler, clamp and temperature.

    Shape: [B, F] or [B, T, F] (the last step is used) -> [B, 3]; F are the members' columns, one after the other.

    Args:
        architecture: columns and weights.
        members: their networks, in order.
        temperatures: what each member's raw logits are divided by.
        temperature: what the sum is divided by.
    """

    def __init__(
        self,
        architecture: EnsembleArchitecture,
        *,
        members: Sequence[DirectionNetwork],
        temperatures: Sequence[float],
        temperature: float,
    ) -> None:
        super().__init__()
        self.columns = architecture.columns()
        self.num_features = self.columns[-1].stop
        self.weights = [member.weight for member in architecture.members]
        self.members = nn.ModuleList(members)
        self.temperatures = list(temperatures)
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, 3] after the temperature of the whole."""
        return self.raw_logits(x) / self.temperature

    def raw_logits(self, x: Tensor) -> Tensor:
        """Logits [B, 3] before the temperature of the whole.

        Raises:
            ValueError: if `x` has other columns than the members together.
        """
        if x.shape[-1] != self.num_features:
            raise ValueError(f"input must have {self.num_features} columns, had {x.shape[-1]}")
        weighed = [
            weight * (self._member(place).raw_logits(x[..., part]) / temperature)
            for place, (part, weight, temperature) in enumerate(
                zip(self.columns, self.weights, self.temperatures, strict=True)
            )
        ]
        return torch.stack(weighed).sum(dim=0)

    def _member(self, place: int) -> DirectionNetwork:
        member = self.members[place]
        assert isinstance(member, DirectionNetwork)
        return member
