"""Pure functions of the step, seeds, the weight average, files and progress lines."""

import json

import numpy as np
import pytest
import torch

from models_lib.config import NetworkSection
from models_lib.errors import BundleError, DataError
from models_lib.networks import build_network
from models_lib.scaling import Scaler
from models_lib.training import EpochRecord, StepProgress, TrainingSpec, write_training_inputs
from models_lib.training.average import WeightAverage
from models_lib.training.checkpoint import read_weights, write_weights
from models_lib.training.progress import message_of, progress_of
from models_lib.training.schedules import average_decay_at, learning_rate_at
from models_lib.training.seeds import symbol_seed
from models_lib.training.streams import Streams


def test_cosine_starts_at_the_start_is_half_way_in_the_middle_and_nears_zero():
    at = [learning_rate_at(step, steps=100, start=0.4, schedule="cosine") for step in (0, 50, 100)]
    assert at == pytest.approx([0.4, 0.2, 0.0], abs=1e-12)


def test_constant_schedule_stays():
    assert {learning_rate_at(step, steps=9, start=0.4, schedule="constant") for step in range(9)} == {0.4}


def test_average_forgets_the_first_weights_quickly():
    assert average_decay_at(0, decay=0.99) == pytest.approx(0.2)  # (1 + 0) / (5 + 0)
    assert average_decay_at(3, decay=0.99) == pytest.approx(0.5)  # (1 + 3) / (5 + 3)
    assert average_decay_at(10_000, decay=0.99) == 0.99


def test_weight_average_by_hand():
    scaler = Scaler(np.zeros(4), np.ones(4))
    live = build_network(NetworkSection(), num_features=4, scaler=scaler, generator=torch.Generator().manual_seed(1))
    average = WeightAverage(live, decay=0.9)
    with torch.no_grad():
        live.linears[3].bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
        average.network.linears[3].bias.zero_()
    average.follow(0.75)
    assert average.network.linears[3].bias.tolist() == pytest.approx([0.25, 0.5, 0.75])
    assert live.linears[3].bias.tolist() == [1.0, 2.0, 3.0]


def test_symbols_have_seeds_of_their_own_that_stay():
    assert symbol_seed(1, "BTC-USD") != symbol_seed(1, "ETH-USD") != symbol_seed(2, "ETH-USD")
    # SHA-256 of "1:BTC-USD", first 8 bytes, halved; computed with sha256sum
    assert symbol_seed(1, "BTC-USD") == 1572343481502264349


def test_streams_are_independent_of_each_other():
    first, again = Streams.of(5), Streams.of(5)
    torch.rand(1000, generator=first.order)
    assert torch.equal(torch.rand(4, generator=first.dropout), torch.rand(4, generator=again.dropout))
    assert not torch.equal(torch.rand(4, generator=Streams.of(5).order), torch.rand(4, generator=Streams.of(5).weights))


def test_weights_of_equal_value_are_equal_bytes_whatever_their_order(tmp_path):
    a, b = np.arange(3, dtype=np.float32), np.ones((2, 2), np.float32)
    write_weights(tmp_path / "one", {"a": a, "b": b})
    write_weights(tmp_path / "two", {"b": b, "a": a})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert list(read_weights(tmp_path / "one")) == ["a", "b"]


@pytest.mark.parametrize("content", [None, b"", b"\0" * 64])
def test_damaged_weights_are_refused(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match="no readable weights"):
        read_weights(path)


def test_progress_lines_say_what_was_told():
    record = EpochRecord(1, 1.0, None, None, None, True, None, None, 0.1, 2.0, ("finite",), ({"name": "finite"},), 0.5)
    for told in (record, StepProgress(1, 8, 3, 9)):
        assert progress_of(json.dumps(message_of(told))) == told
    assert progress_of("a library's remark") is None
    assert progress_of('{"no": "event"}') is None
    assert progress_of("[1]") is None


def spec_of(folder, data):
    np.save(folder / "features.npy", data.features)
    targets = write_training_inputs(folder, data)
    return TrainingSpec.model_validate(
        {
            "symbol": "BTC-USD", "seed": 1, "features": folder / "features.npy", "targets": targets,
            "output": folder / "out", "network": {}, "training": {}, "gates": {},
        }
    )  # fmt: skip


def test_training_inputs_come_back_as_they_were(tmp_path, learnable):
    data = learnable(rows=60)
    back = spec_of(tmp_path, data).load_data()
    np.testing.assert_array_equal(back.features, data.features)
    for name in ("classes", "train_rows", "validation_rows"):
        np.testing.assert_array_equal(getattr(back, name), getattr(data, name))
    np.testing.assert_array_equal(back.scaler.scale, data.scaler.scale)


@pytest.mark.parametrize("name", ["features.npy", "training_inputs.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"not what it should be"])
def test_damaged_training_inputs_are_refused(tmp_path, learnable, name, content):
    spec = spec_of(tmp_path, learnable(rows=60))
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"BTC-USD: the training inputs .* cannot be read"):
        spec.load_data()
