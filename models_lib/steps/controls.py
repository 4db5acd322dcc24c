"""A control of one symbol: its own training on data from which the truth was taken out, judged like the model.

Everything is done by the code that the run uses for its model: that code is what the control tests. A control never
becomes a bundle, and neither store nor registry hears of it. It is trained on this machine, whatever the configuration
says of the model: nobody pays for a training that must find nothing.

What does not belong here: what is taken out, and what a figure means (models_lib.evaluation.controls).
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from models_lib.backends import TrainingBackend
from models_lib.bundle import TorchPredictor, with_temperature
from models_lib.candles.schema import data_hash
from models_lib.candles.sign_flipped import sign_flipped
from models_lib.config import ControlName, RunConfig
from models_lib.errors import CrpbotError
from models_lib.evaluation.controls import control_alarm, control_seed, permuted_classes
from models_lib.evaluation.evaluation import evaluate
from models_lib.features import CURRENT
from models_lib.files import whole_file, write_json
from models_lib.labels import is_known_part_inside
from models_lib.steps.candles import read_candles
from models_lib.steps.features import compute_feature_matrix
from models_lib.steps.judgement import answers_of_predictor, evaluation_inputs
from models_lib.steps.labels import label_rows, read_labels
from models_lib.steps.market import market_of_run
from models_lib.steps.refs import CandlesRef, ControlRef, FeaturesRef, FileRef, LabelsRef, Prepared
from models_lib.steps.scaler import fit_feature_scaler
from models_lib.steps.temperature import tune_temperature
from models_lib.steps.train import train_model
from models_lib.training.checkpoint import read_weights
from models_lib.training.history import TrainingHistory

MatrixOf = Callable[[CandlesRef, Path], FeaturesRef]
"""Makes the feature matrix of candles in a folder."""
_DATA = frozenset({".npy", ".parquet", ".safetensors"})
"""What is large; what is left tells how the training went."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Asked:
    """What a control learns from, and the truth that it is judged by; test rows and features are the same."""

    learns: Prepared
    judged: Prepared


def judge_control(
    config: RunConfig,
    prepared: Prepared,
    control: ControlName,
    folder: Path,
    *,
    backend: TrainingBackend,
    matrix_of: MatrixOf | None = None,
) -> ControlRef:
    """The figures of a control on its test rows, and the alarm about them.

    Args:
        config: the run's; see `on_this_machine`.
        prepared: the data of the model.
        control: which.
        folder: for its files; what is large is removed again, whatever happens.
        backend: of this machine.
        matrix_of: the features of the flipped market; None: those of every run.

    Raises:
        TrainingError: non-finite loss, the time limit, or a killed process.
        DataError: a part of the flipped market has too few rows, or no threshold.
    """
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    _log.info("control %s ...", control, extra={"symbol": prepared.symbol})
    seed = control_seed(config.training.seed, prepared.symbol, control)
    try:
        match control:
            case "shuffled":
                asked = _shuffled(prepared, folder, seed=seed)
            case "signflip":
                asked = _flipped(config, prepared, folder, seed=seed, matrix_of=matrix_of or _matrix_of_a_run)
        metrics, history = _figures(config, asked, folder, backend=backend)
    finally:
        _remove_data(folder)
    alarm = control_alarm(control, metrics, known_part_inside=is_known_part_inside(config.label))
    rows = asked.judged.labels
    return ControlRef(
        name=control,
        metrics=dict(metrics),
        alarm=None if alarm is None else alarm.to_json(),
        rows={"train": rows.train_rows, "validation": rows.validation_rows, "test": rows.test_rows},
        epochs=len(history.epochs),
        device=history.device,
        seconds=round(time.monotonic() - began, 3),
    )


def on_this_machine(config: RunConfig, *, minutes_left: float) -> RunConfig:
    """The configuration with which controls are trained: here, and in half of the time that the symbol has left.

    So the model's report, promotion and deployment have their time, however slow a control is.

    Args:
        config: the run's.
        minutes_left: of orchestration.symbol_time_limit_minutes.
    """
    training, controls = config.training, max(len(config.evaluation.controls), 1)
    update: dict[str, Any] = {
        "backend": "local",
        "time_limit_minutes": min(training.time_limit_minutes, max(minutes_left, 0.1) / (2.0 * controls)),
    }
    if training.backend != "local":
        update["device"] = "auto"  # the configured device was that of the rented machine
    return config.model_copy(update={"training": training.model_copy(update=update)})


def failed_control(symbol: str, control: ControlName, failure: object) -> ControlRef:
    """A control that came to nothing: the model's verdict stands, and the control is tried again by the next run."""
    reason = str(failure) if isinstance(failure, CrpbotError) else f"{type(failure).__name__}: {failure}"
    _log.warning("control %s was not measured: %s", control, reason, extra={"symbol": symbol})
    return ControlRef(name=control, reason=reason)


def _shuffled(prepared: Prepared, folder: Path, *, seed: int) -> _Asked:
    """The run's own data; only the classes that are learned from are in another order."""
    rows = read_labels(prepared.labels)
    arrays = {name: getattr(rows, name) for name in ("known_part", "forward_return", "train", "validation", "test")}
    arrays["classes"] = permuted_classes(rows.classes, (rows.train, rows.validation), test=rows.test, seed=seed)
    path = folder / "labels.safetensors"
    with whole_file(path) as fresh:
        save_file(arrays, fresh)
    permuted: LabelsRef = prepared.labels.model_copy(update={"arrays": FileRef.of(path)})
    return _Asked(prepared.model_copy(update={"labels": permuted}), prepared)


def _flipped(config: RunConfig, prepared: Prepared, folder: Path, *, seed: int, matrix_of: MatrixOf) -> _Asked:
    """Candles with random signs, and all that a run makes of candles."""
    candles = _flipped_candles(prepared.candles, folder, seed=seed)
    features = matrix_of(candles, folder)
    labels = label_rows(candles, config.label, config.splits, folder)
    scaler = fit_feature_scaler(features, labels, folder)
    own = Prepared(candles=candles, features=features, labels=labels, scaler=scaler)
    return _Asked(own, own)


def _flipped_candles(candles: CandlesRef, folder: Path, *, seed: int) -> CandlesRef:
    flipped = sign_flipped(read_candles(candles), seed=seed)
    path, told = folder / "candles.parquet", folder / "candles.json"
    with whole_file(path) as fresh:
        flipped.to_parquet(fresh, compression="zstd", index=False)
    report: dict[str, Any] = json.loads(candles.report.checked().read_text())
    digest = data_hash(flipped)
    write_json(told, report | {"origin": f"{report['origin']}, signs flipped", "data_hash": digest})
    return candles.model_copy(
        update={"candles": FileRef.of(path), "report": FileRef.of(told), "data_hash": digest, "rows": len(flipped)}
    )


def _matrix_of_a_run(candles: CandlesRef, folder: Path) -> FeaturesRef:
    return compute_feature_matrix(candles, folder, threads=1)


def _figures(
    config: RunConfig, asked: _Asked, folder: Path, *, backend: TrainingBackend
) -> tuple[Mapping[str, Any], TrainingHistory]:
    """Trains, fits the temperature, and measures on the true labels of the test rows."""
    trained = train_model(config, asked.learns, folder / "training", backend=backend)
    temperature = tune_temperature(config, asked.learns, trained, folder)
    tensors = with_temperature(read_weights(trained.weights.checked()), temperature.temperature)
    market = market_of_run(config, asked.judged)
    answers = answers_of_predictor(
        TorchPredictor(config.network, tensors), market, CURRENT, scaler=None, num_non_finite_weights=0
    )
    evaluation = evaluate(evaluation_inputs(market, answers, config.evaluation))
    return evaluation.metrics, TrainingHistory.from_json(json.loads(trained.history.checked().read_text()))


def _remove_data(folder: Path) -> None:
    for path in (*folder.glob("*"), *folder.glob("training/*")):
        if path.suffix in _DATA:
            path.unlink(missing_ok=True)
