"""The step of compiled loops against the definition: autograd's gradients, torch's optimisers, torch's checkpoints."""

import copy

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models_lib.config import NetworkSection, TrainingSection
from models_lib.networks import DirectionNetwork, build_network, loss_function
from models_lib.networks.dropout import MaskPool
from models_lib.training.average import WeightAverage
from models_lib.training.fused_stepper import FusedStepper
from models_lib.training.stepping import Rows

CPU = torch.device("cpu")
SHARE = 0.3
FAMILIES = ("v6", "v7", "v8")


class UnitScaler:
    """Leaves inputs as they are."""

    def __init__(self, num_features: int) -> None:
        self.mean, self.scale = np.zeros(num_features), np.ones(num_features)


class GivenMasks(MaskPool):
    """The same masks at every step."""

    def __init__(self, masks: list[torch.Tensor]) -> None:
        super().__init__(SHARE, generator=torch.Generator(), device=CPU)
        self._masks = {mask.shape: mask for mask in masks}

    def refill(self) -> None:
        """Nothing is drawn."""

    def mask(self, rows: int, width: int) -> torch.Tensor:
        """The given one of that shape."""
        return self._masks[rows, width]


def network_of(family: str, *, seed: int, num_features: int = 72) -> DirectionNetwork:
    """A network all of whose parameters are away from where they start."""
    generator = torch.Generator().manual_seed(seed)
    scaler = None if family == "v6" else UnitScaler(num_features)
    network = build_network(
        NetworkSection(family=family), num_features=num_features, scaler=scaler, generator=generator
    )
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("norms.") or name == "log_temperature":
                parameter.add_(torch.empty_like(parameter).uniform_(-0.5, 0.5, generator=generator))
    return network


def rows_of(*, count: int, num_features: int, seed: int) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, num_features, generator=generator)
    return Rows(inputs, torch.randint(3, (count,), generator=generator))


@torch.no_grad()
def clear_masks(network: DirectionNetwork, inputs: torch.Tensor, *, seed: int, dropout: bool) -> list[torch.Tensor]:
    """Masks that also drop every unit within rounding of the ReLU's edge, where float32 may fall on either side."""
    generator = torch.Generator().manual_seed(seed)
    exact = copy.deepcopy(network).double()
    h, masks = inputs.double(), []
    for index, linear in enumerate(exact.linears[:-1]):
        h = linear(h)
        h = exact.norms[index](h) if exact.norms else h
        kept = (torch.rand(h.shape, generator=generator) >= SHARE) | (not dropout)
        masks.append((kept & (h.abs() > 1e-5)).float() / (1.0 - SHARE))
        h = h.relu() * masks[-1]
    return masks


def exact_gradients(network, loss, rows, chosen, masks) -> dict[str, torch.Tensor]:
    """Autograd's in double precision."""
    exact = copy.deepcopy(network).double()
    raw = exact.logits_of_inputs(rows.inputs[chosen].double(), masks)
    loss(exact.tempered(raw), rows.classes[chosen]).backward()
    return {name: parameter.grad for name, parameter in exact.named_parameters()}


def fused(network, training, classes, *, masks=None, decay=0.0, optimizer=None) -> FusedStepper:
    return FusedStepper(
        network,
        average=WeightAverage(network, decay=decay),
        optimizer=optimizer or torch.optim.AdamW(network.parameters()),
        masks=masks,
        training=training,
        classes=classes,
    )


recipes = st.builds(
    TrainingSection,
    loss=st.sampled_from(["cross_entropy", "focal"]),
    focal_alpha=st.sampled_from([0.25, 1.0]),
    focal_gamma=st.sampled_from([0.0, 0.5, 2.0]),
    label_smoothing=st.sampled_from([0.0, 0.05, 0.3]),
    class_weights=st.sampled_from(["none", "balanced"]),
)


@settings(max_examples=40, deadline=None)
@given(
    family=st.sampled_from(FAMILIES),
    training=recipes,
    batch=st.sampled_from([17, 64, 256]),
    num_features=st.sampled_from([8, 72]),
    dropout=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_gradients_are_autograds(family, training, batch, num_features, dropout, seed):
    network = network_of(family, seed=seed, num_features=num_features)
    rows = rows_of(count=512, num_features=num_features, seed=seed)
    chosen = torch.randperm(512, generator=torch.Generator().manual_seed(seed))[:batch]
    masks = GivenMasks(clear_masks(network, rows.inputs[chosen], seed=seed, dropout=dropout))
    classes = rows.classes.numpy().astype(np.int8)
    loss = loss_function(training, classes=classes, device=CPU)
    expected = exact_gradients(network, loss, rows, chosen, masks)
    fused(network, training, classes, masks=masks).gradient(rows, chosen)
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for name, parameter in network.named_parameters():
        # the floor is for a bias before BatchNorm: its gradient is 0, and autograd's own is rounding
        scale = max(expected[name].abs().max().item(), 1e-2 * largest)
        torch.testing.assert_close(parameter.grad.double(), expected[name], rtol=0, atol=1e-5 * scale, msg=name)
