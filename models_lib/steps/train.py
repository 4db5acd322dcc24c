"""The training of one symbol: its inputs written for a process of its own, and what came back."""

import logging
from pathlib import Path

from models_lib.backends import OnProgress, TrainingBackend, train
from models_lib.config import RunConfig
from models_lib.steps.features import map_features
from models_lib.steps.labels import read_labels
from models_lib.steps.refs import FileRef, Prepared, TrainedRef
from models_lib.steps.scaler import read_scaler
from models_lib.training.data import TrainingData
from models_lib.training.history import EpochRecord, StepProgress
from models_lib.training.seeds import symbol_seed
from models_lib.training.spec import TrainingSpec, write_training_inputs

_log = logging.getLogger(__name__)


def train_model(config: RunConfig, prepared: Prepared, folder: Path, *, backend: TrainingBackend) -> TrainedRef:
    """Weights of the best epoch by validation NLL after temperature, with the history of all.

    Raises:
        TrainingError: non-finite loss, the time limit, or a killed process.
    """
    spec = training_spec(config, prepared, folder)
    trained = train(backend, spec, on_progress=_tell(prepared.symbol, config.training.max_epochs))
    return TrainedRef(
        weights=FileRef(path=trained.path, sha256=trained.sha256),
        history=FileRef.of(trained.history_path),
        best_epoch=trained.best_epoch,
        stopped_by_gates=trained.history.stopped_by,
        paid_job=trained.paid_job,
    )


def training_spec(config: RunConfig, prepared: Prepared, folder: Path) -> TrainingSpec:
    """The order of one training, whose input files are in `folder` and whose output goes there."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = read_labels(prepared.labels)
    data = TrainingData(
        features=map_features(prepared.features),
        classes=rows.classes,
        train_rows=rows.train,
        validation_rows=rows.validation,
        scaler=None if config.network.family == "v6" else read_scaler(prepared.scaler),
    )
    return TrainingSpec(
        symbol=prepared.symbol,
        seed=symbol_seed(config.training.seed, prepared.symbol),
        features=prepared.features.matrix.path,
        targets=write_training_inputs(folder, data),
        output=folder,
        network=config.network,
        training=config.training,
        gates=config.gates,
    )


def _tell(symbol: str, max_epochs: int) -> OnProgress:
    """Progress as log records: each epoch for everyone, steps for whoever draws a bar."""

    def tell(event: EpochRecord | StepProgress) -> None:
        if isinstance(event, EpochRecord):
            nll = "not finite" if event.validation_nll is None else f"{event.validation_nll:.4f}"
            message = f"epoch {event.epoch} of at most {max_epochs}, validation NLL {nll}"
            _log.info(message, extra={"symbol": symbol, "done": event.epoch, "total": max_epochs})
        else:
            done = event.epoch - 1 + event.steps_done / event.steps
            _log.debug("training epoch %d", event.epoch, extra={"symbol": symbol, "done": done, "total": max_epochs})

    return tell
