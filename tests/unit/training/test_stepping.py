"""One step of training: what it never does to the weights."""

import pytest
import torch

from models_lib.config import NetworkSection, TrainingSection
from models_lib.errors import TrainingError
from models_lib.networks import build_network, loss_function
from models_lib.networks.losses import Loss
from models_lib.training import TrainingData
from models_lib.training.average import WeightAverage
from models_lib.training.stepping import Rows, TorchStepper

RECIPE = TrainingSection(device="cpu")


def stepper_of(data: TrainingData, loss: Loss) -> tuple[TorchStepper, Rows, torch.nn.Module]:
    """A stepper with that loss over a fresh network, its rows, and the network."""
    generator = torch.Generator().manual_seed(1)
    network = build_network(
        NetworkSection(), num_features=data.features.shape[1], scaler=data.scaler, generator=generator
    )
    rows = Rows(network.inputs(torch.from_numpy(data.features)), torch.from_numpy(data.classes).long())
    stepper = TorchStepper(
        network,
        average=WeightAverage(network, decay=0.0),
        optimizer=torch.optim.AdamW(network.parameters(), fused=True),
        loss=loss,
        masks=None,
        training=RECIPE,
    )
    return stepper, rows, network


@pytest.mark.parametrize(("poison", "what"), [(float("nan"), "loss is nan"), (float("inf"), "loss is inf")])
def test_non_finite_loss_stops_before_the_weights_move(learnable, poison, what):
    data = learnable(rows=400)
    healthy = loss_function(RECIPE, classes=data.classes, device=torch.device("cpu"))
    factors = iter([1.0] * 7 + [poison])
    stepper, rows, network = stepper_of(data, lambda logits, classes: healthy(logits, classes) * next(factors))
    stepper.begin_epoch(2)
    for _ in range(7):
        stepper.step(rows, torch.arange(64), learning_rate=1e-3, average_decay=0.0)
    before = {name: tensor.clone() for name, tensor in network.named_parameters()}
    with pytest.raises(TrainingError, match=f"{what} in epoch 2, step 8 .*Lower training.learning_rate"):
        stepper.step(rows, torch.arange(64), learning_rate=1e-3, average_decay=0.0)
    for name, tensor in network.named_parameters():
        assert torch.equal(tensor, before[name]), name


def test_non_finite_gradient_stops_before_the_weights_move(learnable):
    # a loss of 0 with the slope of a root at 0
    stepper, rows, network = stepper_of(learnable(rows=400), lambda logits, _: (logits * 0).clamp_min(0).sqrt().sum())
    before = {name: tensor.clone() for name, tensor in network.named_parameters()}
    stepper.begin_epoch(1)
    with pytest.raises(TrainingError, match="gradient norm is nan in epoch 1, step 1 "):
        stepper.step(rows, torch.arange(64), learning_rate=1e-3, average_decay=0.0)
    for name, tensor in network.named_parameters():
        assert torch.equal(tensor, before[name]), name
