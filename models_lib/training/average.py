"""The exponential moving average of the weights: what is judged and kept in place of the last step's weights.

What does not belong here: the decay's warm-up (schedules.py).
"""

import copy

import torch
from torch import Tensor

from models_lib.networks import DirectionNetwork


class WeightAverage:
    """A shadow of a network whose tensors follow the live ones; BatchNorm's running statistics are averaged too.

    With decay 0 the shadow is the live network itself.
    """

    def __init__(self, live: DirectionNetwork, *, decay: float) -> None:
        self.network = live if decay == 0.0 else copy.deepcopy(live)
        self._live_network = live
        self._decays = decay > 0.0
        self.bind()

    def bind(self) -> None:
        """Takes the tensors of both networks as they lie now; called again by whoever gives them another place."""
        self._shadow = list(self.network.state_dict().values())
        self._live = list(self._live_network.state_dict().values())

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Moves the shadow by 1 - decay of the way to the live weights."""
        if self._decays:
            torch._foreach_lerp_(self._shadow, self._live, 1.0 - decay)

    @torch.no_grad()
    def follow_by(self, share: Tensor) -> None:
        """As `follow` by a decay of 1 - share [], where the share is known on the networks' device alone."""
        if self._decays:
            way = torch._foreach_sub(self._live, self._shadow)  # noqa: SLF001 - torch has it under no other name
            torch._foreach_mul_(way, share)
            torch._foreach_add_(self._shadow, way)
