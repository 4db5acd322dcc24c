"""The step of compiled loops against the definition: autograd's gradients, torch's optimisers, torch's checkpoints."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from models_lib.config import NetworkSection, TrainingSection
from models_lib.errors import TrainingError
from models_lib.networks import DirectionNetwork, build_network, compiled, loss_function
from models_lib.networks.dropout import MaskPool
from models_lib.networks.norms import EPSILON, MOMENTUM
from models_lib.training.average import WeightAverage
from models_lib.training.checkpoints import Moving
from models_lib.training.choice import forward_of, stepper_kind
from models_lib.training.fused_forward import FusedForward
from models_lib.training.fused_stepper import FusedStepper
from models_lib.training.stepping import Rows, StepMeans, TorchStepper
from models_lib.training.streams import Streams
from models_lib.training.trainer import _optimizer

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


def fused(network, training, classes, *, masks=None) -> FusedStepper:
    """A fused stepper over the network, which is its own average."""
    return FusedStepper(
        network,
        average=WeightAverage(network, decay=0.0),
        optimizer=torch.optim.AdamW(network.parameters()),
        loss=loss_function(training, classes=classes, device=CPU),
        masks=masks,
        training=training,
    )


RECIPE = TrainingSection(device="cpu")


def gradients(network: DirectionNetwork) -> dict[str, torch.Tensor]:
    """What the parameters hold."""
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def planted_rows(*, count: int, seed: int) -> Rows:
    """Rows whose class is one of three parts of a noisy sum of two inputs."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 72, generator=generator)
    score = inputs[:, 0] - inputs[:, 1] + torch.randn(count, generator=generator)
    return Rows(inputs, torch.bucketize(score, torch.tensor([-0.75, 0.75])))


class Side:
    """A training with one kind of stepper; two of the same seed see the same rows and masks.

    Adam divides a gradient by its own size, and so turns one that is all rounding into a whole step: with a large epsilon
    it does not, and what two steppers leave can be compared number by number.
    """

    def __init__(self, kind, family, rows, *, dropout=SHARE, options=None, seed=4, epsilon=1e-3) -> None:
        self.rows, self.training = rows, RECIPE.model_copy(update=options or {})
        self.classes = rows.classes.numpy().astype(np.int8)
        self.streams = Streams.of(seed)
        self.network = network_of(family, seed=seed).train()
        self.average = WeightAverage(self.network, decay=self.training.weight_average_decay)
        self.optimizer = _optimizer(self.network, self.training)
        for group in self.optimizer.param_groups:
            group["eps"] = epsilon
        pool = MaskPool(dropout, generator=self.streams.dropout, device=CPU)
        self.masks = pool if dropout else None
        self.stepper = self.stepper_of(kind)
        self.moving = Moving(self.network, self.average.network, self.optimizer, self.streams)

    def stepper_of(self, kind):
        return kind(
            self.network,
            average=self.average,
            optimizer=self.optimizer,
            loss=loss_function(self.training, classes=self.classes, device=CPU),
            masks=self.masks,
            training=self.training,
        )

    def step(self, rows, chosen) -> None:
        decay = self.training.weight_average_decay
        self.stepper.step(rows, chosen, learning_rate=2e-3, average_decay=decay)

    def epoch(self, number: int) -> StepMeans:
        self.stepper.begin_epoch(number)
        for chosen in torch.randperm(len(self.rows.classes), generator=self.streams.order).split(256):
            self.step(self.rows, chosen)
        return self.stepper.end_epoch()

    def trained(self, epochs: int):
        for number in range(epochs):
            self.epoch(number + 1)
        return self

    @torch.no_grad()
    def loss_of(self, rows: Rows) -> float:
        network = copy.deepcopy(self.average.network).eval()
        return cross_entropy(network.logits_of_inputs(rows.inputs), rows.classes).item()


def assert_near(ours, theirs) -> None:
    """All that a checkpoint holds, to what rounding leaves after a few steps."""
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        if name in ("order", "dropout") or name.endswith("/step"):
            np.testing.assert_array_equal(ours[name], expected, err_msg=name)
            continue
        # the floor is for a bias before BatchNorm, whose gradient is rounding in the one and 0 in the other
        length = max(float(np.linalg.norm(expected)), 1e-12 if name.endswith("exp_avg_sq") else 1e-4)
        # of a million units one may fall on the other side of the ReLU's edge: so lengths, not single numbers
        assert float(np.linalg.norm(ours[name] - expected)) < 1e-3 * length, name


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
    batch=st.sampled_from([64, 65, 200, 512]),
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


def test_two_rows_that_lie_close_are_as_far_from_exact_as_autograd_is():
    """BatchNorm divides by their difference: what float32 gives for 2 rows is some 1e-4 off, whoever computes it."""
    network, rows = network_of("v7", seed=5), rows_of(count=2, num_features=72, seed=5)
    chosen, classes = torch.arange(2), rows.classes.numpy().astype(np.int8)
    masks = GivenMasks(clear_masks(network, rows.inputs, seed=5, dropout=False))
    loss = loss_function(RECIPE, classes=classes, device=CPU)
    exact = exact_gradients(network, loss, rows, chosen, masks)
    definition = copy.deepcopy(network)
    loss(definition.tempered(definition.logits_of_inputs(rows.inputs, masks)), rows.classes).backward()
    fused(network, RECIPE, classes, masks=masks).gradient(rows, chosen)
    autograds = {name: parameter.grad for name, parameter in definition.named_parameters()}
    for name in (name for name, _ in network.named_parameters() if name.endswith("weight")):
        scale = exact[name].abs().max()
        ours, theirs = ((g[name] - exact[name]).abs().max() / scale for g in (gradients(network), autograds))
        assert ours < max(3 * theirs, 1e-5), name


@pytest.mark.parametrize("family", ["v7", "v8"])
def test_columns_far_from_zero_keep_their_digits(family):
    """At 1,000 deviations from 0 sums of squares in float32 would hold no digit of the variance."""
    network, rows = network_of(family, seed=3), rows_of(count=256, num_features=72, seed=3)
    with torch.no_grad():
        network.linears[0].bias.add_(1_000.0)
    definition = copy.deepcopy(network).double()
    chosen = torch.arange(256)
    fused(network, RECIPE, rows.classes.numpy().astype(np.int8)).gradient(rows, chosen)
    with torch.no_grad():
        definition.logits_of_inputs(rows.inputs.double())
    ours, theirs = network.norms[0].running_var.double(), definition.norms[0].running_var
    # at 1,000 neighbours of float32 are 6e-5 apart, a ten-thousandth of the deviation, 0.6
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=0)


@pytest.mark.parametrize(("count", "outlier"), [(512, 10.0), (1_024, 100.0), (65_536, 100.0)])
def test_row_that_lies_far_out_costs_its_columns_no_digits(count, outlier):
    """Whichever row it is: the first one, too."""
    x = torch.randn(count, 16, generator=torch.Generator().manual_seed(6))
    x[0] = outlier
    mean, scale, running_mean, running_variance = np.zeros((4, 16), np.float32)
    compiled.column_moments(x.numpy(), mean, scale, running_mean, running_variance)
    exact = x.double().numpy()
    # of 65,536 rows, one of them 100 deviations out, torch's own variance is 2.5e-5 off
    np.testing.assert_allclose(scale, 1.0 / np.sqrt(exact.var(axis=0) + EPSILON), rtol=4e-6)
    np.testing.assert_allclose(running_variance, MOMENTUM * exact.var(axis=0, ddof=1), rtol=8e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("optimizer", "clip", "decay", "dropout"),
    [("adamw", 0.05, 0.9, SHARE), ("adamw", None, 0.0, 0.0), ("adam", 0.05, 0.0, SHARE), ("adam", None, 0.9, 0.0)],
)
def test_steps_are_the_definitions(family, optimizer, clip, decay, dropout):
    """Weights, average, running statistics and moments, after steps over the same rows with masks of the same stream."""
    options = {"optimizer": optimizer, "gradient_clip_norm": clip, "weight_average_decay": decay}
    data = rows_of(count=2_048, num_features=72, seed=1)
    sides = [Side(kind, family, data, dropout=dropout, options=options) for kind in (FusedStepper, TorchStepper)]
    ours, theirs = (side.epoch(1) for side in sides)
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
    assert ours.gradient_norm == pytest.approx(theirs.gradient_norm, rel=1e-5)
    assert_near(sides[0].moving.tensors(), sides[1].moving.tensors())


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoints_of_either_stepper_go_on_in_the_other(family):
    data = rows_of(count=1_024, num_features=72, seed=2)
    ends = {}
    for first in (FusedStepper, TorchStepper):
        before = Side(first, family, data)
        before.epoch(1)
        for then in (FusedStepper, TorchStepper):
            after = Side(then, family, data, seed=99)
            after.moving.restore(before.moving.tensors())
            after.epoch(2)
            ends[first, then] = after.moving.tensors()
        before.epoch(2)
        ends[first] = before.moving.tensors()
    for kind in (FusedStepper, TorchStepper):
        for name, tensor in ends[kind].items():
            np.testing.assert_array_equal(ends[kind, kind][name], tensor, err_msg=name)
    for end in ends.values():
        assert_near(end, ends[TorchStepper])


def test_optimiser_that_has_stepped_by_itself_goes_on():
    """After a fused epoch torch's optimiser can step on the very same tensors, and a fused step after it knows of that."""
    data = rows_of(count=512, num_features=72, seed=2)
    side, definition = (Side(kind, "v8", data) for kind in (FusedStepper, TorchStepper))
    for each in (side, definition):
        each.epoch(1)
        for parameter in each.network.parameters():
            parameter.grad = torch.full_like(parameter, 0.01)
        each.optimizer.step()
        each.stepper = each.stepper_of(type(each.stepper))
        each.epoch(2)
    assert_near(side.moving.tensors(), definition.moving.tensors())


@pytest.mark.parametrize("kind", [FusedStepper, TorchStepper])
def test_state_of_the_beginning_begins_anew(kind):
    """Before the first step the optimiser has no moments; taken back to there, it has none of the steps since."""
    data = rows_of(count=512, num_features=72, seed=2)
    side = Side(kind, "v8", data)
    beginning = side.moving.tensors()
    side.epoch(1)
    ends = side.moving.tensors()
    side.epoch(2)
    side.moving.restore(beginning)
    side.epoch(1)
    for name, tensor in side.moving.tensors().items():
        np.testing.assert_array_equal(tensor, ends[name], err_msg=name)


@pytest.mark.parametrize("kind", [FusedStepper, TorchStepper])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_row_of_which_the_network_is_certain_has_a_focal_loss(kind, gamma):
    """Where 1 - p rounds to 0 its power below 0 is infinite, and the limit of its product with the loss is 0."""
    rows = rows_of(count=64, num_features=72, seed=2)
    rows.classes[:] = 1
    side = Side(kind, "v6", rows, dropout=0.0, options={"loss": "focal", "focal_gamma": gamma})
    with torch.no_grad():
        side.network.linears[-1].weight.zero_()
        side.network.linears[-1].bias.copy_(torch.tensor([-60.0, 60.0, 0.0]))
    side.stepper.begin_epoch(1)
    side.step(rows, torch.arange(64))
    assert side.stepper.end_epoch() == StepMeans(0.0, 0.0)


@pytest.mark.parametrize("kind", [FusedStepper, TorchStepper])
@pytest.mark.parametrize(
    ("value", "what"), [(float("inf"), "loss is nan"), (float("nan"), "loss is nan"), (1e25, "gradient norm is inf")]
)
def test_number_that_is_not_finite_is_told_alike_and_moves_no_weight(kind, value, what):
    data = rows_of(count=512, num_features=72, seed=2)
    side = Side(kind, "v6", data)
    with torch.no_grad():
        side.network.linears[-1].weight.zero_()  # whatever comes from below, the loss is that of the biases
    side.stepper.begin_epoch(3)
    side.step(data, torch.arange(64))
    with torch.no_grad():
        side.network.linears[-1].weight.zero_()
    broken = Rows(data.inputs.clone(), data.classes)
    broken.inputs[70] = value
    kept = side.moving.tensors()
    with pytest.raises(TrainingError, match=f"the {what} in epoch 3, step 2 .*weights were not moved"):
        side.step(broken, torch.arange(64, 128))
    after = side.moving.tensors()
    for name in (name for name in kept if name.startswith(("live/linears", "average", "optimizer"))):
        np.testing.assert_array_equal(after[name], kept[name], err_msg=name)


def test_unit_that_is_not_a_number_is_not_hidden_by_the_relu():
    side = Side(FusedStepper, "v8", rows_of(count=64, num_features=72, seed=2))
    with torch.no_grad():
        side.network.linears[1].bias[5] = float("nan")
    side.stepper.begin_epoch(1)
    with pytest.raises(TrainingError, match="the loss is nan in epoch 1, step 1"):
        side.step(side.rows, torch.arange(64))


def test_batch_of_another_size_gets_room_of_its_own():
    data = rows_of(count=512, num_features=72, seed=2)
    sides = [Side(kind, "v8", data, dropout=0.0) for kind in (FusedStepper, TorchStepper)]
    for side in sides:
        side.stepper.begin_epoch(1)
        for size in (64, 32, 64):
            side.step(data, torch.arange(size))
    assert_near(sides[0].moving.tensors(), sides[1].moving.tensors())


def test_training_on_the_cpu_takes_these_steps():
    assert stepper_kind(CPU, TrainingSection()) is FusedStepper
    assert isinstance(forward_of(network_of("v8", seed=1), CPU), FusedForward)


@pytest.mark.parametrize("family", FAMILIES)
def test_forward_pass_of_the_judgement_is_the_networks(family):
    """Each row has the logits that the network itself gives it, in a piece of any size."""
    network = network_of(family, seed=7)
    generator = torch.Generator().manual_seed(7)
    for norm in network.norms:
        norm.running_mean.uniform_(-1.0, 1.0, generator=generator)
        norm.running_var.uniform_(0.2, 3.0, generator=generator)
    inputs = rows_of(count=2_500, num_features=72, seed=7).inputs
    network.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    forward = FusedForward(network)
    with torch.no_grad():
        ours = torch.cat([forward(piece) for piece in inputs.split(1_024)])
        exact = copy.deepcopy(network).double().logits_of_inputs(inputs.double())
    # float32 has 24 bits: 6e-8 of the largest logit, a few times over in four layers
    torch.testing.assert_close(ours.double(), exact, rtol=0, atol=2e-6 * exact.abs().max().item())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.long
@pytest.mark.parametrize("family", ["v7", "v8"])
def test_whole_trainings_agree_within_the_noise_of_the_seed(family):
    """12 epochs that over-fit: the two differ less than two seeds do."""
    data, unseen = (planted_rows(count=count, seed=count) for count in (4_096, 4_000))
    losses = {
        kind: [Side(kind, family, data, seed=seed, epsilon=1e-8).trained(12).loss_of(unseen) for seed in range(3)]
        for kind in (FusedStepper, TorchStepper)
    }
    ours, theirs = (np.array(losses[kind]) for kind in (FusedStepper, TorchStepper))
    assert theirs.max() < 1.0, "it learned: knowing nothing is 1.0986"
    assert abs(ours.mean() - theirs.mean()) < theirs.std(ddof=1)
    assert np.abs(ours - theirs).max() < 2 * theirs.std(ddof=1)
