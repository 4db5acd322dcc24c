"""The loop: it learns, repeats itself bit for bit, stops for the right reasons and never reads what it must not."""

import dataclasses

import numpy as np
import pytest
import torch

from models_lib.calibration import fit_temperature
from models_lib.config import GatesSection, NetworkSection, TrainingSection
from models_lib.errors import ConfigError, DataError
from models_lib.networks import network_from_tensors
from models_lib.training import StepProgress, TrainingData, TrainingHistory
from models_lib.training import trainer as trainer_module
from models_lib.training.trainer import train_network

RECIPE = TrainingSection(batch_size=64, max_epochs=4, learning_rate=3e-3, device="cpu")


V8, GATES = NetworkSection(), GatesSection()


def train(data, *, network=V8, training=RECIPE, gates=GATES, seed=3, **listen):
    return train_network(data, network=network, training=training, gates=gates, seed=seed, **listen)


@pytest.mark.parametrize("family", ["v6", "v7", "v8"])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_each_family_learns_with_each_loss(learnable, family, loss):
    data = learnable()
    if family == "v6":
        # scaled by hand: it has no scaler of its own
        scaled = ((data.features - data.scaler.mean) / data.scaler.scale).astype(np.float32)
        data = dataclasses.replace(data, features=scaled, scaler=None)
    outcome = train(data, network=NetworkSection(family=family), training=RECIPE.model_copy(update={"loss": loss}))
    # noise 0.5 beside a unit signal: thresholding the true score gets 0.75; knowing nothing 1/3 and 1.0986
    assert outcome.history.best.validation_accuracy > 0.6
    assert outcome.history.best.validation_nll < 0.85


def test_same_seed_gives_the_same_bits_and_another_does_not(learnable):
    data = learnable()
    first, second, other = train(data), train(data), train(data, seed=4)
    assert list(first.tensors) == list(second.tensors)
    for name in first.tensors:
        np.testing.assert_array_equal(first.tensors[name], second.tensors[name])
    np.testing.assert_array_equal(first.validation_logits, second.validation_logits)
    assert not np.array_equal(first.tensors["linears.0.weight"], other.tensors["linears.0.weight"])


def test_torchs_global_random_state_neither_matters_nor_moves(learnable):
    data = learnable(rows=400)
    torch.manual_seed(1)
    first = train(data)
    assert torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(1).get_state())
    torch.manual_seed(2)
    np.testing.assert_array_equal(train(data).tensors["linears.3.weight"], first.tensors["linears.3.weight"])


def test_rows_outside_training_and_validation_are_never_read(learnable):
    data = learnable()
    features, classes = data.features.copy(), data.classes.copy()
    unread = np.setdiff1d(np.arange(len(features)), np.concatenate([data.train_rows, data.validation_rows]))
    features[unread], classes[unread] = np.nan, -1
    changed = dataclasses.replace(data, features=features, classes=classes)
    kept = train(changed).tensors
    for name, array in train(data).tensors.items():
        np.testing.assert_array_equal(kept[name], array)


def test_validation_rows_move_no_weight(learnable):
    data = learnable()
    classes = data.classes.copy()
    classes[data.validation_rows] = 2 - classes[data.validation_rows]
    one_epoch = RECIPE.model_copy(update={"max_epochs": 1})
    kept, flipped = (
        train(data, training=one_epoch),
        train(dataclasses.replace(data, classes=classes), training=one_epoch),
    )
    for name, array in kept.tensors.items():
        np.testing.assert_array_equal(flipped.tensors[name], array)


def test_shuffled_classes_fall_to_chance(learnable):
    outcome = train(learnable(rows=3_000, shuffled=True), training=RECIPE.model_copy(update={"max_epochs": 2}))
    # 990 validation rows: the standard error of an accuracy of 1/3 is 0.015
    assert abs(outcome.history.best.validation_accuracy - 1 / 3) < 0.06
    assert outcome.history.best.validation_nll > 1.08


def test_kept_epoch_is_the_best_after_temperature_and_its_logits_are_the_saved_networks(learnable):
    data = learnable(rows=600, noise=1.0)
    training = RECIPE.model_copy(
        update={"max_epochs": 20, "patience": 20, "gate_stop_epochs": 99, "schedule": "constant"}
    )
    outcome = train(data, training=training)
    losses = [record.validation_nll for record in outcome.history.epochs]
    assert outcome.history.best_epoch == int(np.argmin(losses)) + 1 < len(losses), (
        "over-fits, so the best is not the last"
    )
    network = network_from_tensors(NetworkSection(), outcome.tensors)
    with torch.no_grad():
        logits = network.raw_logits(torch.from_numpy(data.features[data.validation_rows])).numpy()
    np.testing.assert_allclose(logits, outcome.validation_logits, atol=1e-5)
    fitted = fit_temperature(logits, data.classes[data.validation_rows])
    assert fitted.nll == pytest.approx(min(losses), abs=1e-6)
    assert fitted.temperature == pytest.approx(outcome.history.best.temperature, rel=1e-4)


def test_training_ends_after_patience_epochs_without_a_better_one(learnable):
    training = RECIPE.model_copy(
        update={
            "max_epochs": 40,
            "patience": 2,
            "learning_rate": 2e-2,
            "weight_average_decay": 0.0,
            "schedule": "constant",
        }
    )
    history = train(learnable(rows=600, noise=1.0), training=training).history
    assert history.stop == "patience"
    assert len(history.epochs) == history.best_epoch + 2 < 40


def test_raw_prices_in_a_v6_repeat_the_old_fault_and_stop_the_training():
    """Unscaled BTC prices, Adam 1e-3, batch 32, as the V6 that went out: logits in the hundreds, one class, all above .99."""
    rng = np.random.default_rng(1)
    close = 79_568.0 * np.exp(np.cumsum(rng.normal(0, 0.0006, 6_000)))
    averages = [np.convolve(np.r_[np.full(w - 1, close[0]), close], np.ones(w) / w, "valid") for w in range(2, 69)]
    columns = [*(close * (1 + rng.normal(0, 0.0003, 6_000)) for _ in range(4)), rng.lognormal(3, 1, 6_000), *averages]
    features = np.stack(columns, axis=1).astype(np.float32)
    gap = np.log(close / averages[-1])
    classes = np.digitize(gap, np.quantile(gap[:4_000], [1 / 3, 2 / 3])).astype(np.int8)
    data = TrainingData(features, classes, np.arange(100, 4_000), np.arange(4_100, 5_900), None)
    v6 = TrainingSection(
        loss="cross_entropy", optimizer="adam", learning_rate=1e-3, schedule="constant", batch_size=32, max_epochs=15,
        patience=15, weight_average_decay=0.0, gradient_clip_norm=None, device="cpu",
    )  # fmt: skip
    outcome = train(data, network=NetworkSection(family="v6"), training=v6, seed=1)
    assert features.shape[1] == 72
    assert outcome.history.stop == "gates"
    assert len(outcome.history.epochs) == 5, "two epochs of warm-up, then three that count"
    assert set(outcome.history.stopped_by) >= {"scaler_present", "logit_range", "overconfidence", "class_balance"}
    assert max(record.largest_logit for record in outcome.history.epochs) > 100


def test_failed_gates_stop_only_after_the_warm_up(learnable):
    impossible = GatesSection.model_validate({"class_balance": {"low": 0.99, "high": 1.0}})
    training = RECIPE.model_copy(update={"max_epochs": 10, "gate_warm_up_epochs": 1, "gate_stop_epochs": 2})
    history = train(learnable(), training=training, gates=impossible).history
    assert (history.stop, history.stopped_by, len(history.epochs)) == ("gates", ("class_balance",), 3)


def test_failed_advisory_gates_stop_nothing(learnable):
    advisory = GatesSection.model_validate({"class_balance": {"low": 0.99, "high": 1.0, "severity": "advisory"}})
    training = RECIPE.model_copy(update={"gate_warm_up_epochs": 0, "gate_stop_epochs": 1})
    history = train(learnable(), training=training, gates=advisory).history
    assert (history.stop, history.epochs[0].failed_gates) == ("max_epochs", ())


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_feature_that_is_not_finite_is_refused(learnable, part):
    data = learnable()
    rows = data.train_rows if part == "training" else data.validation_rows
    features = data.features.copy()
    features[rows[:2], 3] = np.nan
    with pytest.raises(DataError, match=f"2 of .* {part} rows hold NaN"):
        train(dataclasses.replace(data, features=features))


@pytest.mark.parametrize("unknown", [-1, 3])
def test_an_unknown_class_is_refused(learnable, unknown):
    """Before a compiled loop takes it as a place, where nobody looks whether there is one."""
    data = learnable()
    classes = data.classes.copy()
    classes[data.train_rows[5]] = unknown
    with pytest.raises(DataError, match="1 of 1,000 training rows have no class"):
        dataclasses.replace(data, classes=classes)


def test_progress_is_told_in_order_and_history_survives_json(learnable):
    told = []
    outcome = train(learnable(), listener=told.append)
    epochs = tuple(item for item in told if not isinstance(item, StepProgress))
    steps = [item for item in told if isinstance(item, StepProgress) and item.epoch == 2]
    assert epochs == outcome.history.epochs
    assert [item.steps_done for item in steps] == list(range(1, 16)), "1,000 rows are 15 batches of 64"
    assert (steps[0].steps, steps[0].epochs) == (15, 4)
    assert TrainingHistory.from_json(outcome.history.to_json()) == outcome.history


def test_learned_temperature_is_learned_and_kept_in_the_history(learnable):
    learned = [record.learned_temperature for record in train(learnable()).history.epochs]
    assert len(set(learned)) == len(learned)
    assert all(1.0 < temperature < 2.5 for temperature in learned)


def test_weight_average_follows_and_is_what_is_kept(learnable):
    data = learnable()
    raw = train(data, training=RECIPE.model_copy(update={"weight_average_decay": 0.0}))
    averaged = train(data)
    assert raw.history.epochs[0].train_loss == averaged.history.epochs[0].train_loss, "the live weights are the same"
    assert not np.array_equal(raw.tensors["linears.0.weight"], averaged.tensors["linears.0.weight"])


def test_fewer_rows_than_a_batch_make_one_batch(learnable):
    history = train(learnable(rows=300), training=RECIPE.model_copy(update={"batch_size": 4_096})).history
    assert len(history.epochs) == 4


def test_cuda_without_cuda_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"training\.device is cuda"):
        trainer_module.choose_device("cuda")
    assert trainer_module.choose_device("auto").type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_trains_and_repeats_itself(learnable, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    on_cuda = RECIPE.model_copy(update={"device": "cuda"})
    first, second = train(learnable(), training=on_cuda), train(learnable(), training=on_cuda)
    assert first.history.best.validation_accuracy > 0.6
    for name, array in first.tensors.items():
        np.testing.assert_array_equal(second.tensors[name], array)
