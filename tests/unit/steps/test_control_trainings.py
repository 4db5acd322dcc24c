"""Controls as trainings: honest data raise no alarm, planted leaks do, and nothing large is left."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from models_lib.backends import LocalBackend
from models_lib.config import ControlName, RunConfig, load_config
from models_lib.errors import TrainingError
from models_lib.labels import label_values
from models_lib.steps.candles import read_candles
from models_lib.steps.controls import failed_control, judge_control, on_this_machine
from models_lib.steps.features import compute_feature_matrix, map_features
from models_lib.steps.labels import read_labels
from models_lib.steps.refs import CandlesRef, ControlRef, FeaturesRef, FileRef, Prepared
from models_lib.steps.scaler import fit_feature_scaler
from tests.unit.steps.conftest import PreparedSymbol

KNOWING = 7
"""The column of the matrix that the leaking feature takes."""


PAID = (
    "training.backend=sagemaker",
    "training.sagemaker.uri=s3://bucket/crpbot",
    "training.sagemaker.role_arn=arn:aws:iam::123456789012:role/training",
    "training.sagemaker.instance_type=ml.g5.xlarge",
    "aws.region=eu-central-1",
)


def left_in(folder: Path) -> set[str]:
    return {path.suffix for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module", params=["shuffled", "signflip"])
def honest(request: pytest.FixtureRequest, btc: PreparedSymbol, tmp_path_factory: pytest.TempPathFactory) -> ControlRef:
    folder = tmp_path_factory.mktemp("control")
    control = judge_control(btc.config, btc.prepared, request.param, folder, backend=LocalBackend())
    assert not left_in(folder) & {".npy", ".parquet", ".safetensors"}
    return control


@pytest.mark.long
def test_honest_control_raises_no_alarm(honest: ControlRef) -> None:
    assert honest.alarm is None
    assert honest.reason == ""
    assert honest.metrics is not None
    assert honest.epochs == 2
    assert honest.device == "cpu"
    assert honest.seconds is not None
    assert honest.seconds > 0.0
    low, _ = honest.metrics["directional_accuracy_interval"]
    assert low <= 0.5
    assert honest.metrics["lift_interval"][0] <= 0.0


@pytest.mark.long
def test_shuffled_control_is_judged_on_the_model_s_rows_by_the_model_s_rule(
    btc: PreparedSymbol, tmp_path: Path
) -> None:
    control = judge_control(btc.config, btc.prepared, "shuffled", tmp_path, backend=LocalBackend())
    rows = btc.prepared.labels
    assert control.rows == {"train": rows.train_rows, "validation": rows.validation_rows, "test": rows.test_rows}
    assert control.metrics is not None
    true = read_labels(btc.prepared.labels)
    counts = np.bincount(true.classes[true.train])
    assert control.metrics["majority_accuracy"] == (true.classes[true.test] == counts.argmax()).mean()
    assert control.metrics["mechanical_rule_accuracy"] > 0.6  # fitted on the true labels, as for the model
    again = judge_control(btc.config, btc.prepared, "shuffled", tmp_path / "again", backend=LocalBackend())
    assert again.metrics == control.metrics


def leaking_split(prepared: Prepared, folder: Path) -> Prepared:
    """The same data, with every test row among the training rows: a boundary that was drawn in the wrong place."""
    rows = read_labels(prepared.labels)
    path = folder / "leaking.safetensors"
    names = ("classes", "known_part", "forward_return", "validation", "test")
    arrays = {name: getattr(rows, name) for name in names}
    save_file({**arrays, "train": np.concatenate((rows.train, rows.test))}, path)
    labels = prepared.labels.model_copy(update={"arrays": FileRef.of(path)})
    scaler = fit_feature_scaler(prepared.features, labels, folder)
    return prepared.model_copy(update={"labels": labels, "scaler": scaler})


@pytest.mark.long
def test_shuffled_control_finds_test_rows_in_the_training(btc: PreparedSymbol, tmp_path: Path) -> None:
    longer = longer_training(btc.config)
    leaking = leaking_split(btc.prepared, tmp_path)
    control = judge_control(longer, leaking, "shuffled", tmp_path / "control", backend=LocalBackend())
    assert control.alarm is not None, control.metrics
    assert control.alarm["name"] == "accuracy"
    assert "It knows test labels" in control.alarm["words"]


def longer_training(config: RunConfig) -> RunConfig:
    """Six epochs of small batches: two weeks are few rows, and a seventh of them says something."""
    training = config.training.model_copy(update={"max_epochs": 6, "batch_size": 128})
    return config.model_copy(update={"training": training})


@pytest.mark.long
def test_signflip_control_finds_a_feature_that_reads_the_future(btc: PreparedSymbol, tmp_path: Path) -> None:
    def with_the_future(candles: CandlesRef, folder: Path) -> FeaturesRef:
        """The usual matrix, one feature of which is the return of the horizon, seen through noise half as large."""
        features = compute_feature_matrix(candles, folder, threads=1)
        matrix = map_features(features).copy()
        ahead = label_values(read_candles(candles), btc.config.label).forward_return
        noise = np.random.default_rng(1).normal(size=ahead.size) * np.nanstd(ahead) / 2.0
        known = np.isfinite(ahead) & np.isfinite(matrix[:, KNOWING])
        matrix[known, KNOWING] = (ahead + noise)[known]
        np.save(features.matrix.path, matrix)
        return FeaturesRef(matrix=FileRef.of(features.matrix.path), rows=features.rows)

    control = judge_control(
        btc.config, btc.prepared, "signflip", tmp_path, backend=LocalBackend(), matrix_of=with_the_future
    )
    assert control.alarm is not None, control.metrics
    assert "reads bars after its row" in control.alarm["words"]


def test_failed_training_leaves_its_log_and_nothing_large(btc: PreparedSymbol, tmp_path: Path) -> None:
    training = btc.config.training.model_copy(update={"time_limit_minutes": 1e-4})
    hurried = btc.config.model_copy(update={"training": training})
    with pytest.raises(TrainingError, match="time_limit_minutes"):
        judge_control(hurried, btc.prepared, "signflip", tmp_path, backend=LocalBackend())
    assert (tmp_path / "training" / "worker.log").exists()
    assert not left_in(tmp_path) & {".npy", ".parquet", ".safetensors"}


@pytest.mark.parametrize("control", ["shuffled", "signflip"])
def test_failed_control_tells_why_and_has_no_figures(control: ControlName) -> None:
    failed = failed_control("BTC-USD", control, TrainingError("BTC-USD: out of memory. Start again."))
    assert (failed.name, failed.metrics, failed.alarm) == (control, None, None)
    assert failed.reason == "BTC-USD: out of memory. Start again."
    assert failed_control("BTC-USD", control, ZeroDivisionError("by what")).reason == "ZeroDivisionError: by what"


def test_controls_are_trained_here_in_half_of_the_time_that_is_left() -> None:
    settings = ("training.device=cuda", "evaluation.controls=[shuffled, signflip]", *PAID)
    config = load_config(None, settings)
    training = on_this_machine(config, minutes_left=40.0).training
    assert (training.backend, training.device) == ("local", "auto")
    assert training.time_limit_minutes == 10.0  # 40 minutes / (2 x 2 controls)
    assert on_this_machine(config, minutes_left=10_000.0).training.time_limit_minutes == 120.0
    own = load_config(None, ("training.device=cuda",))
    assert on_this_machine(own, minutes_left=40.0).training.device == "cuda"
