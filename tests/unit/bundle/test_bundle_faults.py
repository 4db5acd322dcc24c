"""Every fault that a bundle must survive: refused by load and by verify, with the same message, naming what is wrong.

`plain` faults change files and nothing else. `forged` ones also bring hashes.json in line, as a careful forger or a
faulty exporter would, so that the check behind the hashes is the one that answers.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models_lib.bundle import is_sound, load_bundle, verify_bundle
from models_lib.config import NetworkSection
from models_lib.errors import BundleError, ConfigError
from models_lib.networks.onnx_graph import onnx_model
from tests.bundles import edit_json, reseal, write_judged

Fault = Callable[[Path], object]
MODEL, GOLDEN, MANIFEST = "model.safetensors", "golden/golden.safetensors", "manifest.json"
ONNX = "model.onnx"


def with_arrays(file: str, change: Callable[[dict[str, np.ndarray]], object]) -> Fault:
    def fault(folder: Path) -> None:
        arrays = {name: array.copy() for name, array in load_file(folder / file).items()}
        change(arrays)
        save_file(arrays, folder / file)

    return fault


def with_manifest(change: Callable[[dict], object]) -> Fault:
    return lambda folder: edit_json(folder / MANIFEST, change)


def put_value(name: str, value: float) -> Callable[[dict[str, np.ndarray]], object]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name].flat[0] = value

    return change


def with_onnx_of(change: Callable[[dict[str, np.ndarray]], object]) -> Fault:
    """A model.onnx that was made from other tensors than those beside it."""

    def fault(folder: Path) -> None:
        tensors = {name: array.copy() for name, array in load_file(folder / MODEL).items()}
        change(tensors)
        (folder / ONNX).write_bytes(onnx_model(NetworkSection(), tensors))

    return fault


def cut_feature(arrays: dict[str, np.ndarray]) -> None:
    for name in ("scaler_mean", "scaler_scale", "linears.0.weight"):
        arrays[name] = arrays[name][..., :-1].copy()


def swap_classes(arrays: dict[str, np.ndarray]) -> None:
    for name in ("linears.3.weight", "linears.3.bias"):
        arrays[name] = arrays[name][[2, 1, 0]].copy()


def swap_names(tree: dict) -> None:
    names = tree["features"]["names"]
    names[0], names[1] = names[1], names[0]


def as_bfloat16(folder: Path) -> None:
    header = json.dumps({"scaler_mean": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}).encode()
    (folder / MODEL).write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))


def truncated(file: str) -> Fault:
    return lambda folder: (folder / file).write_bytes(
        (folder / file).read_bytes()[: (folder / file).stat().st_size // 2]
    )


def zero_filled(file: str) -> Fault:
    return lambda folder: (folder / file).write_bytes(bytes((folder / file).stat().st_size))


def link_to(file: str) -> Fault:
    def fault(folder: Path) -> None:
        real = folder.parent / "elsewhere"
        (folder / file).rename(real)
        (folder / file).symlink_to(real)

    return fault


def link_folder(folder: Path) -> None:
    (folder / "golden").rename(folder.parent / "golden-elsewhere")
    (folder / "golden").symlink_to(folder.parent / "golden-elsewhere")


def list_outside(folder: Path) -> None:
    (folder.parent / "secret").write_bytes(b"x")
    edit_json(folder / "hashes.json", lambda tree: tree["files"].update({"../secret": "0" * 64}))


PLAIN: dict[str, tuple[Fault, str]] = {
    "model truncated": (truncated(MODEL), "model.safetensors changed since"),
    "model zero-filled": (zero_filled(MODEL), "model.safetensors changed since"),
    "golden truncated": (truncated(GOLDEN), "golden.safetensors changed since"),
    "manifest edited": (with_manifest(lambda tree: tree.update(valid_days=700)), "manifest.json changed since"),
    "gate report edited": (
        lambda folder: edit_json(folder / "run.json", lambda tree: tree.update(gates=[])),
        "run.json changed",
    ),
    "report edited": (
        lambda folder: (folder / "reports/report.html").write_text("fine"),
        "reports/report.html changed",
    ),
    "half upload, no model": (lambda folder: (folder / MODEL).unlink(), "model.safetensors missing"),
    "half upload, no golden": (lambda folder: (folder / GOLDEN).unlink(), "golden.safetensors missing"),
    "half upload, no hashes": (lambda folder: (folder / "hashes.json").unlink(), "hashes.json missing"),
    "half upload, no report": (lambda folder: (folder / "reports/report.html").unlink(), "report.html missing"),
    "unlisted report": (lambda folder: (folder / "reports/more.html").write_text("x"), "more.html not listed"),
    "onnx changed": (lambda folder: (folder / "model.onnx").write_bytes(b"x"), "model.onnx changed since"),
    "onnx missing": (lambda folder: (folder / "model.onnx").unlink(), "model.onnx missing"),
    "hashes truncated": (truncated("hashes.json"), "hashes.json is damaged"),
    "hashes zero-filled": (zero_filled("hashes.json"), "hashes.json is damaged"),
    "hashes of another bundle": (
        lambda folder: edit_json(folder / "hashes.json", lambda tree: tree.update(bundle="0" * 64)),
        "hashes.json says 000000000000",
    ),
    "listed path outside": (list_outside, "'../secret', which no bundle holds"),
}
FORGED: dict[str, tuple[Fault, str]] = {
    "pickle beside": (lambda folder: (folder / "scaler.pkl").write_bytes(b"x"), "'scaler.pkl' is no file of a bundle"),
    "hidden file": (lambda folder: (folder / "reports/.x").write_bytes(b"x"), "is no file of a bundle"),
    "strange folder": (lambda folder: (folder / "more").mkdir(), "more is not a plain file of a bundle"),
    "folder in a folder": (lambda folder: (folder / "golden/more").mkdir(), "golden/more is not a plain file"),
    "pipe": (lambda folder: os.mkfifo(folder / "reports/pipe"), "reports/pipe is not a plain file"),
    "link to a file": (link_to(MODEL), "model.safetensors is a link"),
    "link to a report": (link_to("reports/report.html"), "reports/report.html is a link"),
    "link to a folder": (link_folder, "golden is a link"),
    "model truncated": (truncated(MODEL), "model.safetensors is damaged"),
    "model zero-filled": (zero_filled(MODEL), "model.safetensors is damaged"),
    "model empty": (lambda folder: (folder / MODEL).write_bytes(b""), "model.safetensors is damaged"),
    "golden zero-filled": (zero_filled(GOLDEN), "golden.safetensors is damaged"),
    "manifest not JSON": (truncated(MANIFEST), "manifest.json is damaged"),
    "manifest a list": (lambda folder: (folder / MANIFEST).write_text("[]"), "must hold an object, was a list"),
    "manifest with NaN": (with_manifest(lambda tree: tree["label"].update(threshold=float("nan"))), "NaN is not JSON"),
    "manifest key twice": (lambda folder: (folder / MANIFEST).write_text('{"a": 1, "a": 2}'), "a key stands twice"),
    "manifest field unknown": (with_manifest(lambda tree: tree.update(extra=1)), "extra: Extra inputs"),
    "manifest field missing": (with_manifest(lambda tree: tree.pop("data_hash")), "data_hash: Field required"),
    "newer schema": (
        with_manifest(lambda tree: tree.update(schema_version=4)),
        "schema version 4 is not the 1, 2 or 3",
    ),
    "no schema": (with_manifest(lambda tree: tree.pop("schema_version")), "schema version None is not the 1, 2 or 3"),
    "schema true": (
        with_manifest(lambda tree: tree.update(schema_version=True)),
        "schema version True is not the 1, 2 or 3",
    ),
    "another symbol": (
        with_manifest(lambda tree: tree.update(symbol="ETH-USD")),
        "a bundle of ETH-USD, not of BTC-USD",
    ),
    "symbol with a path": (with_manifest(lambda tree: tree.update(symbol="../../x")), "symbol: String should match"),
    "class order": (
        with_manifest(lambda tree: tree["label"].update(classes=["UP", "NEUTRAL", "DOWN"])),
        "label.classes.0: Input should be 'DOWN'",
    ),
    "splits overlap": (
        with_manifest(lambda tree: tree["splits"]["test"].update(first=tree["splits"]["train"]["first"])),
        "must follow each other in time",
    ),
    "family": (with_manifest(lambda tree: tree.update(family="v7")), "family must equal network.family"),
    "feature order": (with_manifest(swap_names), "the features stand in another order: number 0 is"),
    "feature renamed": (with_manifest(lambda tree: tree["features"]["names"].__setitem__(3, "magic")), "different: "),
    "feature removed": (
        with_manifest(lambda tree: tree["features"]["names"].pop()),
        "71 features where this code has 72",
    ),
    "feature set": (
        with_manifest(lambda tree: tree["features"].update(set="v9")),
        "features.set is 'v9', this code has",
    ),
    "feature version": (with_manifest(lambda tree: tree["features"].update(version=99)), "features.version is 99"),
    "warm-up": (with_manifest(lambda tree: tree["features"].update(warm_up_bars=60)), "features.warm_up_bars is 60"),
    "serving bars": (
        with_manifest(lambda tree: tree["features"].update(serving_bars=64)),
        "features.serving_bars is 64",
    ),
    "scaler missing": (
        with_arrays(MODEL, lambda arrays: [arrays.pop(name) for name in ("scaler_mean", "scaler_scale")]),
        "no scaler_mean and no scaler_scale",
    ),
    "temperature missing": (with_arrays(MODEL, lambda arrays: arrays.pop("temperature")), "no temperature"),
    "weight missing": (
        with_arrays(MODEL, lambda arrays: arrays.pop("linears.1.weight")),
        "missing ['linears.1.weight']",
    ),
    "weight extra": (
        with_arrays(MODEL, lambda arrays: arrays.update(back_door=np.zeros(1, np.float32))),
        "unknown ['back_door']",
    ),
    "weight mis-shaped": (
        with_arrays(MODEL, lambda arrays: arrays.update({"linears.1.bias": np.zeros(7, np.float32)})),
        "linears.1.bias must be float32 [128]",
    ),
    "scaler mis-shaped": (
        with_arrays(MODEL, lambda arrays: arrays.update(scaler_mean=arrays["scaler_mean"][:-1].copy())),
        "scaler_mean must be [72], was [71]",
    ),
    "temperature mis-shaped": (
        with_arrays(MODEL, lambda arrays: arrays.update(temperature=np.ones((1, 1), np.float32))),
        "temperature must be [1], was [1, 1]",
    ),
    "both temperatures": (
        with_arrays(MODEL, lambda arrays: arrays.update(log_temperature=np.zeros(1, np.float32))),
        "unknown ['temperature']",
    ),
    "float64": (
        with_arrays(
            MODEL, lambda arrays: arrays.update({"linears.0.weight": arrays["linears.0.weight"].astype(np.float64)})
        ),
        "linears.0.weight is float64",
    ),
    "half": (
        with_arrays(
            MODEL, lambda arrays: arrays.update({"linears.0.bias": arrays["linears.0.bias"].astype(np.float16)})
        ),
        "linears.0.bias is F16",
    ),
    "bfloat16": (as_bfloat16, "scaler_mean is BF16"),
    "NaN weight": (with_arrays(MODEL, put_value("linears.2.weight", np.nan)), "NaN or infinity in linears.2.weight"),
    "infinite weight": (with_arrays(MODEL, put_value("linears.2.bias", np.inf)), "NaN or infinity in linears.2.bias"),
    "NaN scale": (with_arrays(MODEL, put_value("scaler_scale", np.nan)), "NaN or infinity in scaler_scale"),
    "scale 0": (with_arrays(MODEL, put_value("scaler_scale", 0.0)), "the smallest was 0 (feature 0)"),
    "scale negative": (with_arrays(MODEL, put_value("scaler_scale", -1.0)), "the smallest was -1"),
    "temperature 0": (with_arrays(MODEL, put_value("temperature", 0.0)), "temperature must be above 0, was 0"),
    "temperature negative": (
        with_arrays(MODEL, put_value("temperature", -1.5)),
        "temperature must be above 0, was -1.5",
    ),
    "temperature of the learned": (with_arrays(MODEL, put_value("temperature", 2.5)), "a probability comes out"),
    "logits shifted": (
        with_arrays(MODEL, lambda arrays: arrays["linears.3.bias"].__iadd__(1.0)),
        "a logit comes out 0.8 away",
    ),
    "class rows swapped": (with_arrays(MODEL, swap_classes), "a probability comes out"),
    "scaler of another run": (
        with_arrays(MODEL, lambda arrays: arrays.update(scaler_mean=arrays["scaler_mean"] + 0.5)),
        "a probability comes out",
    ),
    "running statistics reset": (
        with_arrays(
            MODEL, lambda arrays: arrays.update({"norms.0.running_mean": arrays["norms.0.running_mean"] + 0.3})
        ),
        "a probability comes out",
    ),
    "onnx truncated": (truncated(ONNX), "model.onnx is damaged"),
    "onnx zero-filled": (zero_filled(ONNX), "model.onnx is damaged"),
    "onnx of other features": (
        with_onnx_of(cut_feature),
        "model.onnx: inputs and outputs must be",
    ),
    "onnx of other weights": (with_onnx_of(put_value("linears.0.weight", 3.0)), "a probability comes out"),
    "onnx of another temperature": (with_onnx_of(put_value("temperature", 1.3)), "a probability comes out"),
    "no envelope": (with_manifest(lambda tree: tree.pop("envelope")), "schema version 2 must come with an envelope"),
    "envelope in version 1": (
        with_manifest(lambda tree: tree.update(schema_version=1)),
        "schema version 1 must come without an envelope",
    ),
    "envelope of 71 features": (
        with_manifest(lambda tree: [tree["envelope"][end].pop() for end in ("low", "high")]),
        "the envelope has 71 ranges for 72 features",
    ),
    "envelope without an end": (
        with_manifest(lambda tree: tree["envelope"]["low"].pop()),
        "low and high must be as many",
    ),
    "envelope with NaN": (
        with_manifest(lambda tree: tree["envelope"]["low"].__setitem__(0, None)),
        "envelope.low.0: Input should be a valid number",
    ),
    "golden features moved": (
        with_arrays(GOLDEN, lambda arrays: arrays["features"].__iadd__(1e-2)),
        "std away from the record",
    ),
    "golden candles moved": (
        with_arrays(GOLDEN, lambda arrays: arrays["ohlcv"][-1].__imul__(1.001)),
        "std away from the record",
    ),
    "golden probabilities moved": (
        with_arrays(GOLDEN, lambda arrays: arrays["probabilities"].__iadd__(2e-5)),
        "a probability comes out 2e-05 away",
    ),
    "golden NaN": (with_arrays(GOLDEN, put_value("features", np.nan)), "NaN or infinity among the values"),
    "golden empty": (
        with_arrays(
            GOLDEN,
            lambda arrays: arrays.update({name: arrays[name][:0] for name in ("features", "logits", "probabilities")}),
        ),
        "0 rows from 4159 candles prove nothing",
    ),
    "golden shuffled": (
        with_arrays(GOLDEN, lambda arrays: arrays["timestamps"].__setitem__(5, 0)),
        "not in order of time",
    ),
    "golden incomplete": (with_arrays(GOLDEN, lambda arrays: arrays.pop("ohlcv")), "must hold features, logits, ohlcv"),
    "golden mis-shaped": (
        with_arrays(GOLDEN, lambda arrays: arrays.update(logits=arrays["logits"][:-1].copy())),
        "logits must be [64, 3], was [63, 3]",
    ),
    "golden half": (
        with_arrays(GOLDEN, lambda arrays: arrays.update(features=arrays["features"].astype(np.float64))),
        "features must be float32, was float64",
    ),
    "facts of another bundle": (
        lambda folder: edit_json(folder / "run.json", lambda tree: tree.update(bundle="1" * 64)),
        "run.json is about bundle 111111111111",
    ),
    "unmeasured gate passed": (
        lambda folder: edit_json(folder / "run.json", lambda tree: tree["gates"][0].update(value=None)),
        "cannot have passed",
    ),
}


def assert_refused(folder: Path, message: str) -> None:
    with pytest.raises(BundleError) as refusal:
        load_bundle(folder, symbol="BTC-USD")
    assert message in str(refusal.value)
    findings = verify_bundle(folder, symbol="BTC-USD")
    assert not is_sound(findings)
    assert findings[-1].level == "error"
    assert findings[-1].message == str(refusal.value)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_fault_is_refused(bundle: Path, name: str) -> None:
    fault, message = PLAIN[name]
    fault(bundle)
    assert_refused(bundle, message)


@pytest.mark.parametrize("name", FORGED)
def test_forged_fault_is_refused(bundle: Path, name: str) -> None:
    fault, message = FORGED[name]
    fault(bundle)
    if name != "pipe":
        reseal(bundle)
    if name not in ("pipe", "facts of another bundle"):
        _facts_follow(bundle)
    assert_refused(bundle, message)


def _facts_follow(folder: Path) -> None:
    """Makes run.json speak of the forged bundle, so that only the fault itself can be noticed."""
    forged = json.loads((folder / "hashes.json").read_text())["bundle"]
    edit_json(folder / "run.json", lambda tree: tree.update(bundle=forged))
    reseal(folder)


def test_forging_alone_is_not_the_fault(bundle: Path) -> None:
    edit_json(bundle / MANIFEST, lambda tree: tree.update(valid_days=8))
    reseal(bundle)
    _facts_follow(bundle)
    assert load_bundle(bundle, symbol="BTC-USD").manifest.valid_days == 8


def test_folder_named_by_another_hash_is_refused(bundle: Path) -> None:
    moved = bundle.rename(bundle.with_name("a" * 64))
    assert_refused(moved, "but the folder's name says aaaaaaaaaaaa")


def test_other_bundle_than_expected_is_refused(bundle: Path) -> None:
    with pytest.raises(BundleError, match="but the caller says bbbbbbbbbbbb"):
        load_bundle(bundle, expected_hash="b" * 64)


def test_missing_folder_is_a_wrong_path_not_a_bad_bundle(tmp_path: Path) -> None:
    for ask in (load_bundle, verify_bundle):
        with pytest.raises(ConfigError, match="no such bundle folder"):
            ask(tmp_path / "nothing")


FORGERIES: dict[str, tuple[dict[str, Any], str]] = {
    "passed against its own figures": (
        {"passed": True, "value": 0.401},
        r"gate accuracy cannot have passed with 0\.401 against 0\.68",
    ),
    "advisory all of a sudden": ({"severity": "advisory"}, "gate accuracy was not judged by the limit and severity"),
    "a lower limit": (
        {"passed": True, "value": 0.401, "limit": 0.1},
        "gate accuracy was not judged by the limit and severity",
    ),
    "passed without a value": ({"passed": True, "value": None}, "gate accuracy has no measured value"),
    "a gate that nobody knows": ({"passed": True, "name": "accuracies"}, "gate accuracies cannot have passed"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_judgement_that_contradicts_itself_is_refused_also_with_fresh_hashes(tmp_path: Path, name: str) -> None:
    changes, told = FORGERIES[name]
    folder = tmp_path / "bundle"
    write_judged(folder, failed={"accuracy": "blocking"})
    facts = json.loads((folder / "run.json").read_text())
    (gate,) = [gate for gate in facts["gates"] if gate["name"] == "accuracy"]
    gate.update({"value": 0.401, **changes})
    (folder / "run.json").write_text(json.dumps(facts))
    reseal(folder)
    with pytest.raises(BundleError, match=told):
        load_bundle(folder)
    assert not is_sound(verify_bundle(folder))
