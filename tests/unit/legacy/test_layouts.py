"""What old files hold: every layout gives the answers of torch's own layers, or is refused with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models_lib.bundle import export_torch, load_bundle
from models_lib.errors import BundleError
from models_lib.features import RAW72, compute_features
from models_lib.legacy import LegacyPredictor, read_legacy
from models_lib.networks.direction import HIDDEN_WIDTHS
from tests.bundles import walk_candles, write_example
from tests.legacy import old_state, simulated_frame, train_old, write_v6, write_v7
from tests.unit.legacy.conftest import old_network, some_rows, tensors_of

V6, V7 = old_network(norms=False), old_network(norms=True)
ROWS = some_rows()
Save = Callable[..., Path]


def answers_of(network: nn.Module, rows: torch.Tensor = ROWS) -> np.ndarray:
    with torch.inference_mode():
        answers: np.ndarray = network(rows).numpy()
    return answers


def assert_same(path: Path, wanted: np.ndarray) -> None:
    predictor = LegacyPredictor(read_legacy(path))
    np.testing.assert_allclose(predictor.logits(ROWS.numpy()), wanted, rtol=2e-5, atol=2e-5)


class Wrapped(nn.Module):
    """As DataParallel and torch.compile put a network under a name of theirs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.module = network


class Shuffled(nn.Module):
    """The layers under names whose order says nothing, registered from the last to the first."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        for number, layer in enumerate(reversed(list(network))):
            self.add_module(f"block{(number * 7) % 11}", layer)


def prefixed(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


LAYOUTS: dict[str, Callable[[nn.Sequential], Any]] = {
    "bare": lambda network: network.state_dict(),
    "model_state_dict": lambda network: {"model_state_dict": network.state_dict(), "epoch": 15},
    "state_dict": lambda network: {"state_dict": network.state_dict()},
    "module.": lambda network: {"model_state_dict": Wrapped(network).state_dict()},
    "bare module.": lambda network: Wrapped(network).state_dict(),
    "_orig_mod.module.": lambda network: prefixed(Wrapped(network).state_dict(), "_orig_mod."),
    "names without order": lambda network: Shuffled(network).state_dict(),
    "parameters": lambda network: dict(network.named_parameters()) | dict(network.named_buffers()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", ["v6", "v7"])
def test_each_layout_answers_as_torchs_own_layers(saved: Save, family: str, layout: str) -> None:
    network = V6 if family == "v6" else V7
    path = saved(LAYOUTS[layout](network))
    model = read_legacy(path)
    assert (model.family, model.num_features, model.scaler, model.temperature) == (family, 72, None, None)
    assert model.scaler_from == ""
    assert model.tensors.keys() == {
        *(f"linears.{k}.{part}" for k in range(4) for part in ("weight", "bias")),
        *(f"norms.{k}.{part}" for k in range(3) for part in NORM_PARTS if family == "v7"),
    }
    assert_same(path, answers_of(network))


NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def test_optimizer_and_other_entries_are_ignored_with_a_note(saved: Save) -> None:
    network = old_network(norms=False)
    optimizer = torch.optim.Adam(network.parameters())
    network(ROWS).sum().backward()
    optimizer.step()
    document = {
        "model_state_dict": network.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "history": [{"loss": 0.7, "accuracy": np.float64(0.7)}],
        "best": np.float32(0.5),
        "device": torch.device("cuda:0"),
        "shape": ROWS.shape,
        "raw": b"bytes",
        "symbol": "BTC-USD",
    }
    model = read_legacy(saved(document))
    assert model.notes == (
        "ignored, because it answers nothing: best, device, history, optimizer_state_dict, raw, shape",
    )
    assert model.symbol == "BTC-USD"


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_are_rounded_with_a_note(saved: Save, kind: torch.dtype) -> None:
    state = {name: tensor.to(kind) for name, tensor in V6.state_dict().items()}
    model = read_legacy(saved(state))
    assert model.notes == (f"weights in {str(kind).removeprefix('torch.')} are used as float32",)
    for name, tensor in zip(sorted(model.tensors), (state[n] for n in sorted(state)), strict=True):
        assert model.tensors[name].dtype == np.float32
        np.testing.assert_array_equal(model.tensors[name], tensor.to(torch.float32).numpy())


def test_transposed_views_are_read_as_they_are(saved: Save) -> None:
    state = tensors_of(V6.state_dict())
    state["0.weight"] = state["0.weight"].t().contiguous().t()
    assert_same(saved(state), answers_of(V6))


@pytest.mark.parametrize("beside", [{"temperature": 2.5}, {"temperature": torch.tensor([2.5])}, {}])
@pytest.mark.parametrize(
    "inside", [{"temperature": torch.tensor(2.5)}, {"log_temperature": torch.tensor([2.5]).log()}, {}]
)
def test_temperature_divides_wherever_it_stands(saved: Save, beside: dict, inside: dict) -> None:
    path = saved({"model_state_dict": V7.state_dict() | inside, **beside})
    divisor = 2.5 if beside or inside else 1.0
    assert read_legacy(path).temperature == (pytest.approx(2.5, rel=1e-6) if beside or inside else None)
    assert LegacyPredictor(read_legacy(path)).temperature == pytest.approx(divisor, rel=1e-6)
    assert_same(path, answers_of(V7) / divisor)


def test_export_of_ours_is_read_back_with_its_own_answers(tmp_path: Path) -> None:
    write_example(tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    model = read_legacy(export_torch(tmp_path / "bundle", tmp_path))
    features = compute_features(walk_candles())[-1_000:]
    predictor = LegacyPredictor(model)
    np.testing.assert_allclose(predictor.raw_logits(features), bundle.predictor.raw_logits(features), atol=1e-5, rtol=0)
    np.testing.assert_allclose(
        predictor.probabilities(features), bundle.predictor.probabilities(features), atol=1e-5, rtol=0
    )
    assert (model.family, model.symbol, model.notes) == ("v8", "BTC-USD", ())
    assert (model.input_clip_std, model.temperature) == (5.0, 1.25)
    assert model.feature_names == bundle.manifest.features.names
    assert model.scaler_from == "the tensors scaler_mean and scaler_scale of the state"


def without(name: str) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda state: state.pop(name)


def with_value(name: str, value: float) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda state: state[name].view(-1).__setitem__(0, value)


def with_tensor(name: str, *shape: int) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda state: state.update({name: torch.zeros(shape)})


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "layer missing": (
        lambda state: [state.pop("3.weight"), state.pop("3.bias")],
        "the linear layers must be F-256-128-64-3, one of each; 3 were found: 0 [256, 72], 6 [64, 128], 9 [3, 64]",
    ),
    "bias missing": (without("3.bias"), "3.weight [128, 256] stand beside the layers"),
    "layer twice": (
        lambda state: state.update({"x.weight": torch.zeros(128, 256), "x.bias": torch.zeros(128)}),
        "one of each; 5 were found",
    ),
    "wrong inputs": (
        with_tensor("3.weight", 128, 255),
        "3.weight must be [128, 256] with a bias [128], was [128, 255]",
    ),
    "wrong bias": (
        with_tensor("3.bias", 127),
        "3.weight must be [128, 256] with a bias [128], was [128, 256] with [127]",
    ),
    "no inputs": (with_tensor("0.weight", 256, 0), "0.weight must be [256, F] with a bias [256], was [256, 0]"),
    "four classes": (
        lambda state: state.update({"9.weight": torch.zeros(4, 64), "9.bias": torch.zeros(4)}),
        "one of each; 4 were found",
    ),
    "norm missing": (
        lambda state: [state.pop(f"4.{part}") for part in NORM_PARTS],
        "BatchNorms must be one each of 256, 128, 64 units, all of one kind; 2 were found: [256], [64]",
    ),
    "half a norm": (without("4.running_var"), "how it mixes BatchNorm and LayerNorm is written in its program"),
    "norm of another width": (with_tensor("4.running_mean", 127), "4.running_mean must be [128], was [127]"),
    "negative variance": (with_value("4.running_var", -1.0), "norms.1.running_var holds a variance below 0"),
    "NaN weight": (with_value("3.weight", np.nan), "NaN or infinity in linears.1.weight: every answer would be NaN"),
    "infinite bias": (with_value("9.bias", -np.inf), "NaN or infinity in linears.3.bias"),
    "NaN in a running mean": (with_value("1.running_mean", np.nan), "NaN or infinity in norms.0.running_mean"),
    "too large for float32": (
        lambda state: state.update({"0.bias": torch.full((256,), 1e300, dtype=torch.float64)}),
        "NaN or infinity in linears.0.bias",
    ),
    "quantised": (
        lambda state: state.update({"0.weight": torch.zeros(256, 72, dtype=torch.int8)}),
        "linears.0.weight is int8, a quantised model's perhaps",
    ),
    "not a tensor": (lambda state: state.update({"0.weight": [1.0]}), "a state holds tensors only; 0.weight is a list"),
    "a number for a name": (lambda state: state.update({7: torch.zeros(1)}), "a tensor is named 7, which is no text"),
    "the same twice": (
        lambda state: state.update({"module.0.bias": torch.zeros(256)}),
        "with and without the prefix module. the same tensor stands twice",
    ),
    "mix of another program": (with_tensor("4.alpha", 1), "only a V8 of ours (norms.*.mix_logit) is read"),
    "layer norms": (
        lambda state: state.update({"n.weight": torch.ones(256), "n.bias": torch.zeros(256)}),
        "It may be a V8, but how it mixes BatchNorm and LayerNorm is written in its program, not in the file",
    ),
    "one norm with a mix": (with_tensor("4.mix_logit", 1), "all of one kind; 3 were found"),
    "temperature 0": (with_tensor("temperature", 1), "temperature of the state must be a finite number above 0, was 0"),
    "temperature of two numbers": (with_tensor("temperature", 2), "temperature must be one number, was a Tensor"),
    "log_temperature of infinity": (
        lambda state: state.update(log_temperature=torch.tensor(900.0)),
        "exp(log_temperature) of the state must be a finite number above 0, was inf",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_damaged_state_is_refused(saved: Save, name: str) -> None:
    change, told = FAULTS[name]
    state: dict[str, Any] = dict(tensors_of(V7.state_dict()))
    change(state)
    path = saved({"model_state_dict": state})
    with pytest.raises(BundleError) as refusal:
        read_legacy(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert told in str(refusal.value)


def test_lstm_is_no_model_of_these(saved: Save) -> None:
    with pytest.raises(BundleError, match=r"weight_hh_l0 \[256, 64\].* belong to no V6, V7 or V8"):
        read_legacy(saved(nn.LSTM(72, 64).state_dict()))


STATE = V6.state_dict()
DOCUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "two states": (
        {"model_state_dict": STATE, "state_dict": STATE},
        "holds both model_state_dict and state_dict; which one counts is unknown",
    ),
    "no state": (
        {"epoch": 3, "loss": 0.5},
        "holds no state of a network, bare or under model_state_dict; its entries are epoch, loss",
    ),
    "empty": ({}, "its entries are none"),
    "empty state": ({"model_state_dict": {}}, "holds no state of a network"),
    "state a list": ({"model_state_dict": [1]}, "model_state_dict must be a dictionary of tensors, was a list"),
    "temperature negative": (
        {"state_dict": STATE, "temperature": -1.0},
        "temperature of the file must be a finite number",
    ),
    "temperature NaN": ({"state_dict": STATE, "temperature": float("nan")}, "above 0, was nan"),
    "temperature a text": ({"state_dict": STATE, "temperature": "2.5"}, "temperature must be one number, was a str"),
    "temperature a flag": ({"state_dict": STATE, "temperature": True}, "temperature must be one number, was a bool"),
    "temperature enormous": ({"state_dict": STATE, "temperature": 10**400}, "above 0, was inf"),
    "two temperatures": (
        {"state_dict": {**STATE, "temperature": torch.tensor(1.5)}, "temperature": 2.5},
        "two temperatures that disagree (temperature of the file is 2.5, temperature of the state is 1.5, as a divisor)",
    ),
    "clip 0": ({"state_dict": STATE, "input_clip_std": 0.0}, "input_clip_std must be a finite number above 0, was 0"),
    "too few names": (
        {"state_dict": STATE, "feature_names": ["a", "b"]},
        "2 feature names, 2 of them different, for a network of 72",
    ),
    "a name twice": ({"state_dict": STATE, "feature_names": ["a"] * 72}, "72 feature names, 1 of them different"),
    "names a number": ({"state_dict": STATE, "feature_names": 72}, "feature_names must be a list of texts, was a int"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_that_says_nothing_or_two_things_is_refused(saved: Save, name: str) -> None:
    document, told = DOCUMENTS[name]
    with pytest.raises(BundleError) as refusal:
        read_legacy(saved(document))
    assert told in str(refusal.value)


def test_models_trained_on_raw_prices_show_why_they_failed(tmp_path: Path) -> None:
    """Two quick trainings of the recipes of then: the fixtures that diagnosis and repair are shown on."""
    frame = simulated_frame(days=8)
    features = compute_features(frame, features=RAW72)[1_500:]
    quick = {"epochs": 1, "batch_size": 256}
    v6 = read_legacy(write_v6(tmp_path / "v6.pt", train_old("v6", frame, **quick)))
    v7 = read_legacy(write_v7(tmp_path / "v7.pt", train_old("v7", frame, **quick)))
    assert (v6.family, v6.scaler, v6.temperature) == ("v6", None, None)
    assert (v7.family, v7.scaler) == ("v7", None)
    assert v7.temperature is not None
    assert np.abs(LegacyPredictor(v6).logits(features)).max() > 15.0
    assert np.abs(LegacyPredictor(v7).logits(features)).max() < 15.0  # its BatchNorm stands in for a scaler
    assert LegacyPredictor(v6).inputs(features) is features


def test_old_names_are_those_of_the_fixture() -> None:
    state = old_state({f"norms.{k}.running_var": np.ones(w) for k, w in enumerate(HIDDEN_WIDTHS)}, prefix="module.")
    assert sorted(state)[:2] == ["module.bn1.num_batches_tracked", "module.bn1.running_var"]
