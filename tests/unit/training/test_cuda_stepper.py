"""The GPU's stepper beside its definition; without a GPU the same code runs uncaptured on the CPU."""

import contextlib
import copy

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from models_lib.config import GatesSection, NetworkSection, TrainingSection
from models_lib.errors import TrainingError
from models_lib.networks import build_network, loss_function
from models_lib.networks.dropout import MaskPool
from models_lib.training import trainer
from models_lib.training.average import WeightAverage
from models_lib.training.checkpoints import Checkpoints, Moving
from models_lib.training.choice import stepper_kind
from models_lib.training.cuda_stepper import CudaStepper
from models_lib.training.stepping import Rows, TorchStepper
from models_lib.training.streams import Streams
from tests.cuda_graphs import Graphs

CPU = torch.device("cpu")
DECAYS = [0.2, 1 / 3, 0.9, 0.999]
"""Below and above a half: torch's lerp has a formula for either."""


class Trial:
    """A fresh network with all that a stepper needs; the same for the same recipe."""

    def __init__(self, kind, data, *, network=None, training=None, loss=None, device=CPU, capture=False):
        network, training = network or NetworkSection(), training or TrainingSection(device="cpu")
        self.streams = Streams.of(5)
        scaler = None if network.family == "v6" else data.scaler
        self.network = build_network(
            network, num_features=data.features.shape[1], scaler=scaler, generator=self.streams.weights
        ).to(device)
        self.average = WeightAverage(self.network, decay=training.weight_average_decay)
        self.optimizer = trainer._optimizer(self.network, training)
        drops = network.family != "v6" and network.dropout > 0.0
        settings = {"capture": capture} if kind is CudaStepper else {}
        self.stepper = kind(
            self.network,
            average=self.average,
            optimizer=self.optimizer,
            loss=loss or loss_function(training, classes=data.classes, device=device),
            masks=MaskPool(network.dropout, generator=self.streams.dropout, device=device) if drops else None,
            training=training,
            **settings,
        )
        inputs = self.network.inputs(torch.from_numpy(data.features).to(device))
        self.rows = Rows(inputs, torch.from_numpy(data.classes).long().to(device))

    @property
    def moving(self):
        return Moving(self.network, self.average.network, self.optimizer, self.streams)

    def epoch(self, number, *, steps=8, batch=64, around=contextlib.nullcontext):
        """What `end_epoch` says of so many steps, whose rates and decays all differ."""
        order = torch.randperm(len(self.rows.classes), generator=self.streams.order).to(self.rows.inputs.device)
        self.stepper.begin_epoch(number)
        with around():
            for step in range(steps):
                chosen = order[step * batch : (step + 1) * batch]
                decay = DECAYS[step % len(DECAYS)]
                self.stepper.step(self.rows, chosen, learning_rate=3e-3 / (1 + step), average_decay=decay)
        return self.stepper.end_epoch()


RECIPES = {
    "default": (NetworkSection(), {}),
    "v8 focal, balanced, adam": (
        NetworkSection(),
        {"loss": "focal", "label_smoothing": 0.1, "class_weights": "balanced", "optimizer": "adam"},
    ),
    "v7, nothing clipped, no average": (
        NetworkSection(family="v7"),
        {"gradient_clip_norm": None, "weight_average_decay": 0.0},
    ),
    "v7, all clipped": (NetworkSection(family="v7"), {"gradient_clip_norm": 0.01}),
    "v8, no dropout": (NetworkSection(dropout=0.0), {}),
    "v6": (NetworkSection(family="v6"), {"optimizer": "adam", "weight_average_decay": 0.0}),
}


def pair(data, name, **more):
    network, settings = RECIPES[name]
    training = TrainingSection(device="cpu").model_copy(update=settings)
    return [Trial(kind, data, network=network, training=training, **more) for kind in (TorchStepper, CudaStepper)]


def assert_near(one, other, *, rtol=1e-5, atol=1e-6):
    ours, theirs = one.moving.tensors(), other.moving.tensors()
    assert list(ours) == list(theirs)
    for name in ours.keys() - without_gradient(one):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=rtol, atol=atol, err_msg=name)


def without_gradient(trial):
    """Of a v7: BatchNorm takes a bias before it off again, so its gradient is rounding, which Adam makes steps of."""
    if not trial.network.norms or hasattr(trial.network.norms[0], "mix_logit"):
        return set()
    parameters = [each for group in trial.optimizer.param_groups for each in group["params"]]
    names = {f"norms.{layer}.running_mean" for layer in range(3)} | {f"linears.{layer}.bias" for layer in range(3)}
    places = [next(at for at, one in enumerate(parameters) if one is layer.bias) for layer in trial.network.linears[:3]]
    return {f"{part}/{name}" for part in ("live", "average") for name in names} | {
        f"optimizer/{place}/{moment}" for place in places for moment in ("exp_avg", "exp_avg_sq")
    }


@pytest.mark.parametrize("name", RECIPES)
def test_steps_are_those_of_the_definition(learnable, name):
    """Rates in float32 and another order of the average's arithmetic: equal to a few roundings of float32."""
    definition, ours = pair(learnable(), name)
    for number in (1, 2):
        wanted, found = definition.epoch(number), ours.epoch(number)
        assert found.loss == pytest.approx(wanted.loss, rel=1e-6)
        assert found.gradient_norm == pytest.approx(wanted.gradient_norm, rel=1e-5)
    assert_near(ours, definition)


def test_optimiser_is_left_as_it_was(learnable):
    definition, ours = pair(learnable(), "default")
    definition.epoch(1)
    ours.epoch(1)
    for group, wanted in zip(ours.optimizer.param_groups, definition.optimizer.param_groups, strict=True):
        assert isinstance(group["lr"], float)
        assert group.keys() == wanted.keys()
        assert group["capturable"] is False
    assert not hasattr(ours.optimizer, "found_inf"), "another stepper would heed it"


@pytest.mark.parametrize("first", ["definition", "ours"])
def test_checkpoint_of_one_stepper_goes_on_in_the_other(learnable, first):
    data = learnable()
    definition, ours = pair(data, "default")
    began, goes_on = (definition, ours) if first == "definition" else (ours, definition)
    began.epoch(1)
    goes_on.epoch(1, steps=3)  # moments and a batch of its own, all to be replaced
    goes_on.moving.restore(began.moving.tensors())
    reference = pair(data, "default")[0]
    reference.epoch(1)
    reference.epoch(2)
    goes_on.epoch(2)
    assert_near(goes_on, reference)


def poisoned(data, factors):
    """The usual loss, in one step times something that is not finite."""
    healthy = loss_function(TrainingSection(), classes=data.classes, device=CPU)
    return lambda logits, classes: healthy(logits, classes) * next(factors)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_loss_moves_nothing_from_that_step_on_and_is_told_at_the_end(learnable, poison):
    data = learnable()
    whole = Trial(CudaStepper, data, loss=poisoned(data, iter([1.0] * 5)))
    whole.epoch(2, steps=5)
    broken = Trial(CudaStepper, data, loss=poisoned(data, iter([1.0] * 5 + [poison] + [1.0] * 2)))
    with pytest.raises(TrainingError, match=rf"the loss is {poison} in epoch 2, step 6 .*Lower training.learning_rate"):
        broken.epoch(2, steps=8)
    assert_not_moved(broken, whole)


def test_non_finite_gradient_moves_nothing_and_is_told_at_the_end(learnable):
    # a loss of 0 with the slope of a root at 0
    trial = Trial(CudaStepper, learnable(), loss=lambda logits, _: (logits * 0).clamp_min(0).sqrt().sum())
    before = {name: tensor.clone() for name, tensor in trial.network.named_parameters()}
    with pytest.raises(TrainingError, match="gradient norm is nan in epoch 1, step 1 "):
        trial.epoch(1)
    for name, tensor in trial.network.named_parameters():
        assert torch.equal(tensor, before[name]), name


def assert_not_moved(broken, whole):
    """Weights, their average, moments and the count of steps; running statistics are of the rows that were seen."""
    wanted = whole.moving.tensors()
    for name, array in broken.moving.tensors().items():
        if "running" not in name and name not in {"dropout", "order"}:
            np.testing.assert_array_equal(array, wanted[name], err_msg=name)


def test_epoch_after_a_broken_one_is_told_as_any_other(learnable):
    data = learnable()
    trial = Trial(CudaStepper, data, loss=poisoned(data, iter([1.0, float("inf")] + [1.0] * 8)))
    with pytest.raises(TrainingError):
        trial.epoch(1, steps=2)
    assert np.isfinite(trial.epoch(2, steps=8).loss)


class NothingAsked(TorchDispatchMode):
    """Fails where a step asks for a number of the device, or takes tensors to and fro."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "_to_copy"}, name
        self.calls += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", RECIPES)
def test_step_asks_the_device_for_nothing(learnable, monkeypatch, name):
    definition, ours = pair(learnable(), name)
    chosen = torch.arange(64)
    for trial in (definition, ours):
        trial.stepper.begin_epoch(1)
        trial.stepper.step(trial.rows, chosen, learning_rate=1e-3, average_decay=0.5)
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NothingAsked():
        definition.stepper.step(definition.rows, chosen, learning_rate=1e-3, average_decay=0.5)
    if ours.stepper._masks:  # whose offsets are drawn on the host
        monkeypatch.setattr(ours.stepper._masks, "mask", torch.ones)
    with NothingAsked() as asked:
        ours.stepper.step(ours.rows, chosen, learning_rate=1e-3, average_decay=0.5)
    assert asked.calls > 50


def test_other_rows_or_another_batch_make_another_place(learnable):
    data = learnable()
    definition, ours = pair(data, "default")
    for trial in (definition, ours):
        trial.epoch(1, batch=64)
        trial.epoch(2, batch=32)
        trial.rows = Rows(trial.rows.inputs.flip(0), trial.rows.classes.flip(0))
        trial.epoch(3, batch=32)
    assert_near(ours, definition)


@pytest.fixture
def graphs(monkeypatch):
    """Graphs as CUDA has them, recorded and done again on the CPU, by the kernels that torch has on both."""
    return Graphs(monkeypatch)


@pytest.mark.parametrize("name", RECIPES)
def test_replayed_steps_are_those_of_the_definition(learnable, graphs, name):
    definition, ours = pair(learnable(), name, capture=True)
    for number in (1, 2):
        wanted, found = definition.epoch(number), ours.epoch(number)
        assert found.loss == pytest.approx(wanted.loss, rel=1e-6)
        assert found.gradient_norm == pytest.approx(wanted.gradient_norm, rel=1e-5)
    assert_near(ours, definition)
    assert len(graphs.captured) == 1, "once for both epochs"


def test_graph_is_captured_anew_for_a_loaded_state_other_rows_and_another_batch(learnable, graphs):
    definition, ours = pair(learnable(), "default", capture=True)
    for trial in (definition, ours):
        trial.epoch(1)
        state = copy.deepcopy(trial.moving.tensors())
        trial.epoch(2)
        trial.moving.restore(state)
        trial.epoch(2)
        trial.epoch(3, batch=32)
        trial.rows = Rows(trial.rows.inputs.flip(0), trial.rows.classes.flip(0))
        trial.epoch(4, batch=32)
    assert_near(ours, definition)
    assert len(graphs.captured) == 4


@pytest.mark.parametrize("moment", ["step", "exp_avg", "exp_avg_sq"])
def test_graph_is_captured_anew_when_any_moment_lies_elsewhere(learnable, graphs, moment):
    """A loaded state may find some of the old places free again, and others not."""
    definition, ours = pair(learnable(), "default", capture=True)
    for trial in (definition, ours):
        trial.epoch(1)
        for moments in trial.optimizer.state.values():
            moments[moment] = moments[moment] * 2.0
        trial.epoch(2)
    assert_near(ours, definition)
    assert len(graphs.captured) == 2


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (
            RuntimeError("operation not permitted"),
            (TrainingError, "CUDA graph in epoch 1 .*Set training.cuda_graph=false"),
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), (torch.OutOfMemoryError, "^CUDA out of memory$")),
    ],
)
def test_refused_capture_names_the_way_out(learnable, graphs, monkeypatch, refusal, told):
    """But where memory is what is missing: whoever tells of that knows a better remedy."""

    def refuse(graph, *, stream):
        raise refusal

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    with pytest.raises(told[0], match=told[1]):
        pair(learnable(), "default", capture=True)[1].epoch(1)


def test_replayed_step_that_is_not_finite_moves_nothing_from_there_on(learnable, graphs):
    """A row that is NaN comes sixth: the graph, captured at the fourth step, meets it without Python."""
    data = learnable()
    whole, broken = (Trial(CudaStepper, data, capture=True) for _ in range(2))
    whole.epoch(2, steps=5)
    order = torch.randperm(len(data.classes), generator=Streams.of(5).order)
    broken.rows.inputs[order[5 * 64 + 7]] = float("nan")
    with pytest.raises(TrainingError, match="the loss is nan in epoch 2, step 6 "):
        broken.epoch(2, steps=8)
    assert_not_moved(broken, whole)
    assert len(graphs.captured) == 2, "one for each of the two trainings"


ON_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@contextlib.contextmanager
def waiting_is_an_error():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@ON_CUDA
def test_captured_steps_are_those_of_the_definition_and_never_wait(learnable, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    data, device = learnable(), torch.device("cuda")
    definition, ours = pair(data, "default", device=device, capture=True)
    for number in (1, 2, 3):
        definition.epoch(number)
    ours.epoch(1)  # warm-up and capture
    for number in (2, 3):
        ours.epoch(number, around=waiting_is_an_error)
    assert_near(ours, definition, rtol=1e-4, atol=1e-5)


@ON_CUDA
def test_captured_steps_take_over_a_loaded_state(learnable, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    definition, ours = pair(learnable(), "default", device=torch.device("cuda"), capture=True)
    state = copy.deepcopy(ours.moving.tensors())
    ours.epoch(1)
    ours.epoch(1)
    ours.moving.restore(state)
    for trial in (definition, ours):
        trial.epoch(1)
        trial.epoch(2)
    assert_near(ours, definition, rtol=1e-4, atol=1e-5)


def train(data, **more):
    return trainer.train_network(
        data,
        network=NetworkSection(),
        training=TrainingSection(batch_size=64, max_epochs=3, device="cpu"),
        gates=GatesSection(),
        seed=3,
        **more,
    )


def uncaptured(*args, **settings):
    return CudaStepper(*args, **settings, capture=False)


def test_whole_training_ends_where_the_definitions_does(learnable, tmp_path):
    """Also when it goes on from a checkpoint of the other: all three to the same figures."""
    data = learnable()
    wanted = train(data, stepper=TorchStepper, checkpoints=Checkpoints(tmp_path, identity="a", seconds=0.0)).history
    newest = max(tmp_path.iterdir())
    newest.unlink()
    checkpoints = Checkpoints(tmp_path, identity="a", seconds=0.0)
    ours_alone, ours_behind = train(data, stepper=uncaptured), train(data, stepper=uncaptured, checkpoints=checkpoints)
    for history in (ours_alone.history, ours_behind.history):
        assert len(history.epochs) == 3
        for ours, theirs in zip(history.epochs, wanted.epochs, strict=True):
            assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-5)
            assert ours.validation_nll == pytest.approx(theirs.validation_nll, abs=1e-5)
    assert checkpoints.resumed_after == 2


def test_training_on_cuda_takes_these_steps():
    cuda = torch.device("cuda")
    assert stepper_kind(cuda, TrainingSection()) is CudaStepper
    assert stepper_kind(cuda, TrainingSection(cuda_graph=False)) is TorchStepper
