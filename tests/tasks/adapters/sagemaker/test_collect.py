"""What a job brings back is believed only when it is whole and belongs to the training that was asked for."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from models_lib.config import NetworkSection
from models_lib.errors import TrainingError
from models_lib.files import sha256_bytes
from models_lib.networks import build_network, state_tensors
from models_lib.scaler import Scaler
from models_lib.training import EpochRecord, TrainingHistory, TrainingSpec
from tasks.adapters.sagemaker.collect import checked_model

INPUTS = "1" * 64
EPOCH = EpochRecord(
    epoch=1,
    train_loss=1.0,
    validation_nll=0.9,
    validation_accuracy=0.5,
    temperature=1.0,
    temperature_at_bound=False,
    learned_temperature=2.5,
    largest_logit=3.0,
    learning_rate=0.001,
    gradient_norm=1.0,
    failed_gates=(),
    gates=(),
    seconds=1.0,
)
HISTORY = TrainingHistory((EPOCH, dataclasses.replace(EPOCH, epoch=2)), 2, "max_epochs", (), "cpu")


def tensors(num_features=6):
    scaler = Scaler(np.zeros(num_features), np.ones(num_features))
    network = build_network(
        NetworkSection(), num_features=num_features, scaler=scaler, generator=torch.Generator().manual_seed(1)
    )
    return dict(state_tensors(network))


@pytest.fixture
def spec(tmp_path):
    np.save(tmp_path / "features.npy", np.zeros((10, 6), dtype=np.float32))
    return TrainingSpec.model_validate(
        {
            "symbol": "BTC-USD",
            "seed": 1,
            "features": tmp_path / "features.npy",
            "targets": tmp_path / "targets",
            "output": tmp_path / "out",
            "network": {},
            "training": {"max_epochs": 3},
            "gates": {},
        }
    )


def returned(weights=None, history=None, **facts):
    """The files of an archive whose hashes are right."""
    content = {
        "weights.safetensors": save(tensors() if weights is None else weights),
        "history.json": json.dumps(HISTORY.to_json()).encode() if history is None else history,
    }
    record = {"inputs_sha256": INPUTS, "files": {name: sha256_bytes(data) for name, data in content.items()}} | facts
    return content | {"training.json": json.dumps(record).encode()}


def checked(content, spec):
    return checked_model(content, spec, inputs_sha256=INPUTS, subject="BTC-USD: s3://b/model.tar.gz")


def poisoned(value):
    changed = tensors()
    name = next(name for name in changed if changed[name].ndim == 2)
    changed[name][0, 0] = value
    return changed


def with_epochs(*numbers, best):
    return json.dumps(
        dataclasses.replace(
            HISTORY, epochs=tuple(dataclasses.replace(EPOCH, epoch=number) for number in numbers), best_epoch=best
        ).to_json()
    ).encode()


def test_whole_model_of_this_training_is_taken(spec):
    content = returned()
    model = checked(content, spec)
    assert model.weights == content["weights.safetensors"]
    assert model.history == HISTORY


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (returned(inputs_sha256="2" * 64), "is the model of another training"),
        (returned() | {"weights.safetensors": save(poisoned(0.5))}, r"weights\.safetensors is damaged"),
        (returned() | {"history.json": b"{}"}, r"history\.json is damaged"),
        (returned() | {"training.json": b"[]"}, "not the record of a training"),
        (returned() | {"training.json": b"[" * 100_000}, "not the record of a training"),
        (returned(files={}), "is damaged"),
        (returned(weights=poisoned(np.nan)), "not finite"),
        (returned(weights=poisoned(np.inf)), "not finite"),
        (returned(weights=tensors(num_features=7)), "7 features, the inputs of this run 6"),
        (returned(weights={"a": np.zeros(3, dtype=np.float32)}), "not those of the network of this run"),
        (returned(history=b"[]"), "no history of this training"),
        (returned(history=b"not json"), "no history of this training"),
        (returned(history=with_epochs(1, 2, best=3)), "2 epochs of at most 3, the best 3"),
        (returned(history=with_epochs(1, 2, best=0)), "the best 0"),
        (returned(history=with_epochs(1, 3, best=1)), "no history of this training"),
        (returned(history=with_epochs(1, 2, 3, 4, best=1)), "4 epochs of at most 3"),
    ],
)
def test_model_that_is_not_whole_or_not_ours_is_refused(content, fault, spec):
    with pytest.raises(TrainingError, match=fault) as caught:
        checked(content, spec)
    message = str(caught.value)
    assert message.startswith("BTC-USD: s3://b/model.tar.gz")
    assert "the next attempt is another job" in message
    assert len(message) < 1_000


def test_file_that_is_no_safetensors_is_refused(spec):
    broken = b"\x00" * 40
    record = {
        "inputs_sha256": INPUTS,
        "files": {
            "weights.safetensors": sha256_bytes(broken),
            "history.json": sha256_bytes(returned()["history.json"]),
        },
    }
    content = returned() | {"weights.safetensors": broken, "training.json": json.dumps(record).encode()}
    with pytest.raises(TrainingError, match="cannot be read"):
        checked(content, spec)
