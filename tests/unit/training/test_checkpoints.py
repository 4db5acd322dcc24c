"""The law of checkpoints: a training that was broken off and goes on ends with the same bits as one that never was."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from models_lib.config import GatesSection, NetworkSection, TrainingSection, load_config
from models_lib.training import StepProgress
from models_lib.training.checkpoints import Checkpoints
from models_lib.training.trainer import train_network

CONFIGS = Path(__file__).parents[3] / "configs"
SMALL = {"batch_size": 64, "max_epochs": 4, "device": "cpu"}
V6 = TrainingSection(optimizer="adam", learning_rate=1e-3, schedule="constant", weight_average_decay=0.0)


def original(name):
    config = load_config(CONFIGS / f"{name}.yaml")
    return config.network, config.training


RECIPES = {
    "default": (NetworkSection(), TrainingSection()),
    "default without an average": (NetworkSection(), TrainingSection(weight_average_decay=0.0)),
    "v8 original": original("v8_original"),
    "v7 original": original("v7_original"),
    "v6": (NetworkSection(family="v6"), V6),
}


class TakenAwayError(Exception):
    """The machine was taken away."""


def train(data, recipe, *, listener=lambda _: None, checkpoints=None, **settings):
    network, training = recipe
    return train_network(
        data if network.family != "v6" else dataclasses.replace(data, scaler=None),
        network=network,
        training=training.model_copy(update=SMALL | settings),
        gates=GatesSection(),
        seed=7,
        listener=listener,
        checkpoints=checkpoints,
    )


def opened(folder, *, identity="a", seconds=0.0, **more):
    return Checkpoints(folder, identity=identity, seconds=seconds, **more)


def broken_off(data, recipe, folder, *, in_epoch, checkpoints=None, **settings):
    """A training that dies in the middle of an epoch, with a checkpoint after each one before."""

    def listener(event):
        if isinstance(event, StepProgress) and event.epoch == in_epoch and event.steps_done > 1:
            raise TakenAwayError

    with pytest.raises(TakenAwayError):
        train(data, recipe, listener=listener, checkpoints=checkpoints or opened(folder), **settings)


def assert_same(one, other):
    assert list(one.tensors) == list(other.tensors)
    for name, array in one.tensors.items():
        assert array.tobytes() == other.tensors[name].tobytes(), name
    assert one.validation_logits.tobytes() == other.validation_logits.tobytes()
    assert timeless(one.history) == timeless(other.history)


def timeless(history):
    value = history.to_json()
    for epoch in value["epochs"]:
        assert epoch.pop("seconds") > 0.0
    return value


@pytest.mark.parametrize("name", RECIPES)
def test_broken_off_in_any_epoch_a_training_ends_with_the_same_bits(learnable, tmp_path, name):
    data, recipe = learnable(rows=450), RECIPES[name]
    whole = train(data, recipe)
    ran = len(whole.history.epochs)
    assert ran >= 3
    for last in range(1, ran):
        folder = tmp_path / str(last)
        broken_off(data, recipe, folder, in_epoch=last + 1)
        checkpoints = opened(folder)
        assert_same(train(data, recipe, checkpoints=checkpoints), whole)
        assert checkpoints.resumed_after == last
    ended = opened(tmp_path / "1")
    assert_same(train(data, recipe, checkpoints=ended), whole)
    assert ended.resumed_after == ran, "after its last epoch nothing is trained again"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_broken_off_on_cuda_a_training_ends_with_the_same_bits(learnable, tmp_path, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    data, recipe = learnable(), RECIPES["default"]
    whole = train(data, recipe, device="cuda")
    broken_off(data, recipe, tmp_path, in_epoch=3, device="cuda")
    assert_same(train(data, recipe, checkpoints=opened(tmp_path), device="cuda"), whole)


def test_best_epoch_before_the_break_is_kept(learnable, tmp_path):
    """Shuffled classes: the first epoch is the best, and patience counts from it across the break."""
    data, recipe = learnable(rows=450, shuffled=True), RECIPES["default"]
    whole = train(data, recipe, max_epochs=20, patience=3, learning_rate=0.02)
    assert whole.history.stop == "patience"
    last = whole.history.best_epoch + 2
    assert last < len(whole.history.epochs)
    broken_off(data, recipe, tmp_path, in_epoch=last + 1, max_epochs=20, patience=3, learning_rate=0.02)
    resumed = train(data, recipe, checkpoints=opened(tmp_path), max_epochs=20, patience=3, learning_rate=0.02)
    assert_same(resumed, whole)


def test_two_breaks_are_as_good_as_one(learnable, tmp_path):
    data, recipe = learnable(rows=450), RECIPES["default"]
    broken_off(data, recipe, tmp_path, in_epoch=2)
    broken_off(data, recipe, tmp_path, in_epoch=4)
    assert_same(train(data, recipe, checkpoints=opened(tmp_path)), train(data, recipe))


def cut(path):
    path.write_bytes(path.read_bytes()[:-1_000])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip])
def test_damaged_checkpoint_is_passed_over_for_the_one_before(learnable, tmp_path, caplog, damage):
    data, recipe = learnable(rows=450), RECIPES["default"]
    whole = train(data, recipe)
    broken_off(data, recipe, tmp_path, in_epoch=4)
    earlier, newest = sorted(tmp_path.iterdir())
    damage(newest)
    checkpoints = opened(tmp_path)
    assert_same(train(data, recipe, checkpoints=checkpoints), whole)
    assert checkpoints.resumed_after == 2
    assert f"{newest.name} is not used: its" in caplog.text
    assert not {earlier, newest} & set(tmp_path.iterdir()), "two later ones stay"
    for path in tmp_path.iterdir():
        damage(path)
    fresh = opened(tmp_path)
    assert_same(train(data, recipe, checkpoints=fresh), whole)
    assert fresh.resumed_after is None


def test_checkpoint_of_another_training_is_never_taken(learnable, tmp_path, caplog):
    data, recipe = learnable(rows=450), RECIPES["default"]
    broken_off(data, recipe, tmp_path, in_epoch=3)
    other = opened(tmp_path, identity="b")
    assert_same(train(data, recipe, checkpoints=other), train(data, recipe))
    assert other.resumed_after is None
    assert "is not used: it is of another training" in caplog.text


def test_new_checkpoint_stays_where_others_lie_at_later_epochs(learnable, tmp_path):
    """Of another training, and a damaged one: neither may crowd out the one that is needed."""
    data, recipe = learnable(rows=450), RECIPES["default"]
    broken_off(data, recipe, tmp_path, in_epoch=4)
    cut(max(tmp_path.iterdir()))
    other = opened(tmp_path, identity="b")
    broken_off(data, recipe, tmp_path, in_epoch=2, checkpoints=other)
    again = opened(tmp_path, identity="b")
    assert_same(train(data, recipe, checkpoints=again), train(data, recipe))
    assert again.resumed_after == 1


def test_checkpoints_keep_their_distance_and_only_two_stay(learnable, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    now = [0.0]

    def listener(event):
        if not isinstance(event, StepProgress):
            now[0] += 25.0

    (tmp_path / "a-note").write_text("nobody's business")
    checkpoints = opened(tmp_path, seconds=50.0, clock=lambda: now[0])
    train(
        learnable(rows=450),
        RECIPES["default"],
        listener=listener,
        checkpoints=checkpoints,
        max_epochs=7,
        patience=7,
        gate_stop_epochs=9,
    )
    assert [path.name[:12] for path in sorted(tmp_path.iterdir())] == ["a-note", "epoch-000004", "epoch-000006"]
    assert (tmp_path / "a-note").read_text() == "nobody's business"


def test_folder_that_is_absent_is_made_when_it_is_needed(learnable, tmp_path):
    checkpoints = opened(tmp_path / "a" / "b", seconds=1e9)
    assert checkpoints.newest() is None
    np.testing.assert_array_equal(
        train(learnable(rows=450), RECIPES["default"], checkpoints=checkpoints).tensors["linears.3.bias"],
        train(learnable(rows=450), RECIPES["default"]).tensors["linears.3.bias"],
    )
    assert not (tmp_path / "a").exists()
