"""What is written is what is read, and the identity depends on the training alone."""

import hashlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models_lib.bundle import (
    Manifest,
    TorchPredictor,
    add_run_facts,
    load_bundle,
    record_golden,
    verify_bundle,
    verify_hashes,
    write_bundle,
)
from models_lib.bundle.golden import GOLDEN_CANDLES, GOLDEN_ROWS, parse_golden
from models_lib.bundle.layout import bundle_hash
from models_lib.bundle.tensors import decode, encode, with_temperature
from models_lib.candles.schema import epoch_ms
from models_lib.config import NetworkSection, TrainingSection, identity_of_training
from models_lib.errors import BundleError, DataError
from models_lib.features import SERVING_BARS, WARM_UP_BARS, FeatureSet, compute_features
from models_lib.networks import network_from_tensors
from tests.bundles import (
    TEMPERATURE,
    example_facts,
    example_manifest,
    example_tensors,
    walk_candles,
    write_example,
    write_judged,
)


def test_loaded_bundle_predicts_softmax_of_the_networks_logits_over_the_fitted_temperature(pristine: Path) -> None:
    candles = walk_candles()
    features = compute_features(candles)[WARM_UP_BARS:]
    network = network_from_tensors(NetworkSection(), example_tensors(candles))
    with torch.inference_mode():
        expected = torch.softmax(network.raw_logits(torch.from_numpy(features)) / TEMPERATURE, dim=1).numpy()
    predicted = load_bundle(pristine).predict(candles)
    assert predicted.shape == (len(candles), 3)
    assert predicted.dtype == np.float32
    assert np.isnan(predicted[:WARM_UP_BARS]).all()
    np.testing.assert_allclose(predicted[WARM_UP_BARS:], expected, atol=2e-6)


def test_prediction_is_nan_exactly_where_features_are(pristine: Path) -> None:
    candles = walk_candles(4_500, hole_after=2_000)
    predicted = load_bundle(pristine).predict(candles)
    np.testing.assert_array_equal(np.isnan(predicted), np.isnan(compute_features(candles))[:, :3])
    assert np.isnan(predicted[2_001 : 2_001 + WARM_UP_BARS]).all()
    assert not np.isnan(predicted[2_001 + WARM_UP_BARS :]).any()


def test_newest_row_from_the_serving_window_is_bit_equal_to_the_full_history(pristine: Path) -> None:
    candles = walk_candles()
    bundle = load_bundle(pristine)
    served = bundle.predict(candles.iloc[-SERVING_BARS:].reset_index(drop=True))
    np.testing.assert_array_equal(served[-1], bundle.predict(candles)[-1])


@pytest.mark.parametrize("rows", [7, 63, 511, 512, 513])
def test_logits_of_a_row_do_not_depend_on_the_rows_beside_it(pristine: Path, rows: int) -> None:
    bundle = load_bundle(pristine)
    features = compute_features(walk_candles())[-1_030:]
    together = bundle.logits(features)
    apart = np.concatenate([bundle.logits(features[first : first + rows]) for first in range(0, len(features), rows)])
    np.testing.assert_array_equal(apart, together)


def test_predicting_leaves_the_model_as_it_was(pristine: Path) -> None:
    bundle = load_bundle(pristine)
    features = compute_features(walk_candles())[WARM_UP_BARS:]
    first = bundle.logits(features)
    bundle.logits(features * 1e3)
    np.testing.assert_array_equal(bundle.logits(features), first)


def test_no_candles_give_no_rows(pristine: Path) -> None:
    assert load_bundle(pristine).predict(walk_candles(10)).shape == (10, 3)


def test_same_training_gives_the_same_hash_and_another_seed_another(pristine: Path, tmp_path: Path) -> None:
    again = write_example(tmp_path / "again")
    assert again == verify_hashes(pristine)
    assert write_example(tmp_path / "other", seed=2) != again


def test_identity_is_the_documented_formula(pristine: Path) -> None:
    pairs = [
        [path, hashlib.sha256((pristine / path).read_bytes()).hexdigest()]
        for path in ("golden/golden.safetensors", "manifest.json", "model.onnx", "model.safetensors")
    ]
    expected = hashlib.sha256(json.dumps(pairs, separators=(",", ":")).encode()).hexdigest()
    assert verify_hashes(pristine) == expected


def test_run_facts_and_reports_stay_outside_the_identity(tmp_path: Path) -> None:
    folder = tmp_path / "candidate"
    bare = write_example(folder)
    assert load_bundle(folder).facts is None
    add_run_facts(folder, facts=example_facts(bare, run_id="one"), reports={"report.html": b"1"})
    add_run_facts(folder, facts=example_facts(bare, run_id="two"), reports={"other.html": b"2"})
    bundle = load_bundle(folder)
    assert bundle.hash == bare
    assert bundle.facts is not None
    assert bundle.facts.run_id == "two"
    assert sorted(path.name for path in (folder / "reports").iterdir()) == ["other.html"]


def test_onnx_counts_for_the_identity_and_reports_do_not() -> None:
    files = {"model.safetensors": "a" * 64, "manifest.json": "b" * 64, "golden/golden.safetensors": "c" * 64}
    bare = bundle_hash(files)
    assert bundle_hash({**files, "run.json": "d" * 64, "reports/report.html": "e" * 64}) == bare
    assert bundle_hash({**files, "model.onnx": "d" * 64}) != bare


def test_facts_about_another_bundle_are_not_laid_beside(tmp_path: Path) -> None:
    folder = tmp_path / "candidate"
    write_example(folder)
    with pytest.raises(BundleError, match="the facts are about 000000000000"):
        add_run_facts(folder, facts=example_facts("0" * 64), reports={})
    assert load_bundle(folder).facts is None


@pytest.mark.parametrize("name", ["../report.html", "/report.html", ".report", "a b"])
def test_report_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "candidate"
    bundle = write_example(folder)
    with pytest.raises(BundleError, match="cannot name a report"):
        add_run_facts(folder, facts=example_facts(bundle), reports={name: b""})
    assert not (folder.parent / "report.html").exists()


def test_training_identity_leaves_out_where_it_ran() -> None:
    here = TrainingSection(device="cpu", max_parallel=1, time_limit_minutes=5)
    there = TrainingSection(device="cuda", max_parallel=8, time_limit_minutes=50)
    assert identity_of_training(here) == identity_of_training(there)
    assert identity_of_training(TrainingSection(seed=1)) != identity_of_training(TrainingSection(seed=2))
    left_out = TrainingSection.model_fields.keys() - identity_of_training(here).keys()
    assert left_out == {"backend", "sagemaker", "device", "max_parallel", "time_limit_minutes"}


def test_manifest_survives_its_file(pristine: Path) -> None:
    candles = walk_candles()
    assert load_bundle(pristine).manifest == example_manifest(candles)
    assert Manifest.model_validate_json(json.dumps(example_manifest(candles).to_json())) == example_manifest(candles)


def test_writing_twice_is_writing_once(tmp_path: Path) -> None:
    folder = tmp_path / "candidate"
    first = write_judged(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write_example(folder) == first
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_another_bundle_is_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "candidate"
    first = write_example(folder)
    with pytest.raises(BundleError, match="stands there already"):
        write_example(folder, seed=2)
    assert verify_hashes(folder) == first
    assert [path.name for path in tmp_path.iterdir()] == ["candidate"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensors: [tensors.pop("scaler_mean"), tensors.pop("scaler_scale")],
            "no scaler_mean and no scaler_scale",
        ),
        (lambda tensors: tensors.update(temperature=np.zeros(1, np.float32)), "temperature must be above 0"),
        (lambda tensors: tensors["linears.0.weight"].fill(np.nan), "NaN or infinity"),
        (lambda tensors: tensors["linears.3.bias"].__iadd__(1.0), "a logit comes out"),
    ],
)
def test_unsound_model_is_not_written(tmp_path: Path, change: object, message: str) -> None:
    candles = walk_candles()
    tensors = {name: array.copy() for name, array in example_tensors(candles).items()}
    manifest = example_manifest(candles)
    golden = record_golden(candles, TorchPredictor(manifest.network, tensors), symbol="BTC-USD")
    change(tensors)  # type: ignore[operator]
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path / "candidate", tensors=tensors, manifest=manifest, golden=golden)
    assert list(tmp_path.iterdir()) == []


def test_disk_that_fills_up_leaves_no_bundle(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from tests.bundles import walk_candles, example_tensors, example_manifest
from models_lib.bundle import TorchPredictor, record_golden, write_bundle
candles = walk_candles()
tensors, manifest = example_tensors(candles), example_manifest(candles)
golden = record_golden(candles, TorchPredictor(manifest.network, tensors), symbol="BTC-USD")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_bundle(Path(sys.argv[1]), tensors=tensors, manifest=manifest, golden=golden)
except OSError as error:
    print("refused", error.strerror)
"""
    answer = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "candidate")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert answer.stdout.startswith("refused File too large")
    assert list(tmp_path.iterdir()) == []


def test_changed_feature_code_with_equal_golden_vectors_is_a_warning(
    pristine: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(FeatureSet, "code_hash", lambda self: "f" * 64)
    with caplog.at_level(logging.WARNING):
        load_bundle(pristine)
    assert "the feature code changed" in caplog.text
    levels = {finding.check: finding.level for finding in verify_bundle(pristine)}
    assert levels["golden"] == "warning"
    assert "error" not in levels.values()


def test_sound_bundle_has_only_good_findings(pristine: Path) -> None:
    findings = verify_bundle(pristine, symbol="BTC-USD")
    assert [finding.check for finding in findings] == [
        "files",
        "hashes",
        "manifest",
        "features",
        "tensors",
        "engine",
        "golden",
        "run facts",
    ]
    assert {finding.level for finding in findings} == {"ok"}


def test_golden_vectors_are_the_newest_rows_and_their_serving_windows() -> None:
    candles = walk_candles()
    tensors = example_tensors(candles)
    golden = record_golden(candles, TorchPredictor(NetworkSection(), tensors), symbol="BTC-USD")
    assert len(golden.timestamps) == GOLDEN_CANDLES == SERVING_BARS + 63
    np.testing.assert_array_equal(golden.timestamps, epoch_ms(candles)[-GOLDEN_CANDLES:])
    np.testing.assert_array_equal(golden.features, compute_features(candles)[-GOLDEN_ROWS:])
    again = parse_golden(golden.to_bytes())
    np.testing.assert_array_equal(compute_features(again.candles())[-GOLDEN_ROWS:], golden.features)


def test_golden_vectors_avoid_rows_behind_a_fresh_hole() -> None:
    candles = walk_candles(hole_after=5_000)
    tensors = example_tensors(walk_candles())
    golden = record_golden(candles, TorchPredictor(NetworkSection(), tensors), symbol="BTC-USD")
    assert golden.timestamps[-1] == epoch_ms(candles)[5_000]
    np.testing.assert_array_equal(golden.features, compute_features(candles)[5_000 - 63 : 5_001])


def test_history_without_a_long_stretch_has_no_golden_vectors() -> None:
    tensors = example_tensors(walk_candles())
    with pytest.raises(DataError, match=r"BTC-USD: no stretch of 1,5\d\d candles without a hole"):
        record_golden(walk_candles(WARM_UP_BARS + 63), TorchPredictor(NetworkSection(), tensors), symbol="BTC-USD")


def test_fitted_temperature_replaces_the_learned_one() -> None:
    learned = {"w": np.ones(2, np.float32), "log_temperature": np.ones(1, np.float32)}
    fitted = with_temperature(learned, 0.95)
    assert sorted(fitted) == ["temperature", "w"]
    np.testing.assert_array_equal(fitted["temperature"], np.array([0.95], np.float32))


def test_equal_arrays_give_equal_bytes_in_any_order() -> None:
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([3], np.int64)
    assert encode({"a": a, "b": b}) == encode({"b": b, "a": np.asfortranarray(a)})
    again = decode(encode({"a": np.asfortranarray(a), "b": b}), name="x")
    np.testing.assert_array_equal(again["a"], a)


def test_verifying_hashes_imports_nothing_heavy() -> None:
    code = (
        "import sys, models_lib.bundle, models_lib.registry; models_lib.bundle.verify_hashes;"
        "print([name for name in ('torch', 'numba', 'pandas', 'numpy', 'sklearn') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
