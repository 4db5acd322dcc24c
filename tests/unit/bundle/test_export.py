"""What programs of others get: the names that they expect, the bundle's own answers, no code, whole files or none."""

import pickletools
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file

import models_lib.bundle.export as export_module
from models_lib.bundle import (
    TorchPredictor,
    export_bundle,
    export_torch,
    load_bundle,
    record_golden,
    with_temperature,
    write_bundle,
)
from models_lib.config import NetworkSection
from models_lib.errors import BundleError, ConfigError
from models_lib.features import FEATURE_NAMES
from models_lib.networks import AdaptiveNetwork, build_network, state_tensors
from models_lib.scaling import Scaler
from tests.bundles import TEMPERATURE, example_manifest, example_tensors, walk_candles


@pytest.fixture(scope="module")
def exported(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one export."""
    folder = tmp_path_factory.mktemp("exported") / "made" / "here"
    assert export_bundle(pristine, folder, symbol="BTC-USD") == (
        folder / "lstm_BTC-USD_v8_enhanced.pt",
        folder / "BTC-USD.onnx",
    )
    return folder


def rebuilt(document: dict) -> AdaptiveNetwork:
    """The network that someone makes who has only the file and the class."""
    network = AdaptiveNetwork(
        mix_start=0.5,
        scaler_mean=torch.zeros(len(document["feature_names"])),
        scaler_scale=torch.ones(len(document["feature_names"])),
        clip_std=document["input_clip_std"],
        initial_temperature=1.0,
        generator=torch.Generator(),
    )
    network.load_state_dict(document["model_state_dict"], strict=True)
    return network.eval()


def test_torch_file_holds_what_its_readers_ask_for(exported: Path, pristine: Path) -> None:
    document = torch.load(exported / "lstm_BTC-USD_v8_enhanced.pt", weights_only=True)
    tensors = load_bundle(pristine).tensors
    assert document["temperature"] == TEMPERATURE
    assert document["feature_names"] == list(FEATURE_NAMES)
    assert document["scaler"].keys() == {"mean", "scale"}
    for part in ("mean", "scale"):
        np.testing.assert_array_equal(document["scaler"][part], tensors[f"scaler_{part}"])
        np.testing.assert_array_equal(document[f"scaler_{part}"], tensors[f"scaler_{part}"])
    assert document["input_clip_std"] == NetworkSection().input_clip_std
    assert (document["symbol"], document["bundle"]) == ("BTC-USD", load_bundle(pristine).hash)


def test_exported_models_give_the_bundles_answers(exported: Path, pristine: Path) -> None:
    golden = load_file(pristine / "golden/golden.safetensors")
    document = torch.load(exported / "lstm_BTC-USD_v8_enhanced.pt", weights_only=True)
    with torch.inference_mode():
        by_torch = torch.softmax(rebuilt(document)(torch.from_numpy(golden["features"])), dim=1)
    np.testing.assert_allclose(by_torch, golden["probabilities"], atol=1e-5, rtol=0)
    session = onnxruntime.InferenceSession(exported / "BTC-USD.onnx", providers=["CPUExecutionProvider"])
    (by_onnx,) = session.run(["probabilities"], {"features": golden["features"]})
    np.testing.assert_allclose(by_onnx, golden["probabilities"], atol=1e-5, rtol=0)


def test_the_pickle_in_the_torch_file_names_only_what_makes_tensors(exported: Path) -> None:
    with zipfile.ZipFile(exported / "lstm_BTC-USD_v8_enhanced.pt") as parts:
        stream = parts.read("archive/data.pkl")
    named = {argument for code, argument, _ in pickletools.genops(stream) if code.name in {"GLOBAL", "INST"}}
    assert named == {"collections OrderedDict", "torch FloatStorage", "torch._utils _rebuild_tensor_v2"}


def test_second_export_gives_the_same_bytes_and_leaves_nothing_else(exported: Path, pristine: Path) -> None:
    before = {path.name: path.read_bytes() for path in exported.iterdir()}
    assert export_torch(pristine, exported) == exported / "lstm_BTC-USD_v8_enhanced.pt"
    export_bundle(pristine, exported)
    assert {path.name: path.read_bytes() for path in exported.iterdir()} == before
    assert sorted(before) == ["BTC-USD.onnx", "lstm_BTC-USD_v8_enhanced.pt"]


def write_v7(folder: Path) -> None:
    candles, section = walk_candles(), NetworkSection(family="v7")
    tensors = example_tensors(candles)
    scaler = Scaler(mean=tensors["scaler_mean"].astype(float), scale=tensors["scaler_scale"].astype(float))
    network = build_network(section, num_features=len(FEATURE_NAMES), scaler=scaler, generator=torch.Generator())
    tensors = with_temperature(state_tensors(network), TEMPERATURE)
    manifest = example_manifest(candles).model_copy(update={"family": "v7", "network": section})
    golden = record_golden(candles, TorchPredictor(section, tensors), symbol="BTC-USD")
    write_bundle(folder, tensors=tensors, manifest=manifest, golden=golden)


def test_other_family_is_refused(tmp_path: Path) -> None:
    write_v7(tmp_path / "v7")
    for export in (export_bundle, export_torch):
        with pytest.raises(BundleError, match=r"of BTC-USD is a v7; only v8 models are exported"):
            export(tmp_path / "v7", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_symbol_and_absent_bundle_are_refused(pristine: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="a bundle of BTC-USD, not of ETH-USD"):
        export_bundle(pristine, tmp_path / "out", symbol="ETH-USD")
    with pytest.raises(ConfigError, match="no such bundle folder"):
        export_bundle(tmp_path / "absent", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_file_that_gives_other_answers_never_appears(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "PROBABILITY_TOLERANCE", -1.0)  # nothing is near enough
    with pytest.raises(BundleError, match=r"lstm_BTC-USD_v8_enhanced\.pt: a golden probability comes out"):
        export_torch(pristine, tmp_path)
    with pytest.raises(BundleError, match=r"BTC-USD\.onnx: a golden probability comes out"):
        export_bundle(pristine, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("other", ["lstm_BTC-USD_v8_enhanced.pt", "BTC-USD.onnx"])
def test_export_writes_both_files_or_neither(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    for name in ("lstm_BTC-USD_v8_enhanced.pt", "BTC-USD.onnx"):
        (tmp_path / name).write_bytes(b"of an earlier export")

    def check(golden: object, probabilities: object, *, name: str) -> None:
        if name == other:
            raise BundleError(f"{name}: a golden probability comes out wrong")

    monkeypatch.setattr(export_module, "_check_parity", check)
    with pytest.raises(BundleError, match=other):
        export_bundle(pristine, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "lstm_BTC-USD_v8_enhanced.pt": b"of an earlier export",
        "BTC-USD.onnx": b"of an earlier export",
    }
