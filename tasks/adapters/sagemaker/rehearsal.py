"""A rehearsal of a training job: one epoch on a few of its rows, through the archive that would be uploaded.

What AWS does is done here: the archive is unpacked, the channel laid out, the entry started with the hyperparameters and the
variables of the container; and what comes out must be a model. It costs seconds and no money.

What does not belong here: whether AWS would take the job (checks), the training itself (models_lib.training).
"""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models_lib.errors import CrpbotError, TrainingError, excerpt
from models_lib.files import fresh_folder, sha256_file
from models_lib.training.channel import CHANNEL, pack_inputs
from models_lib.training.checkpoint import read_weights
from models_lib.training.container import FACTS_FILE
from models_lib.training.data import TrainingData
from models_lib.training.history import TrainingHistory
from models_lib.training.spec import HISTORY_FILE, WEIGHTS_FILE, TrainingSpec, write_training_inputs
from tasks.adapters.sagemaker.archive import Archive, command, plain_environment, unpack

MOST_ROWS: Final = 5_000
_VALIDATION_ROWS: Final = 1_000
_LIMIT_SECONDS: Final = 600.0
_LAST_LINES: Final = 5


@dataclass(frozen=True)
class Rehearsal:
    """What came out of a rehearsal.

    Attributes:
        symbol: whose rows they were.
        rows: how many were trained and validated on.
        seconds: from start to end, loading torch included.
        validation_nll: of the one epoch, in nats; it says that something was learned from, and nothing about the model.
        versions: of Python and the libraries here; the image has its own.
    """

    symbol: str
    rows: int
    seconds: float
    validation_nll: float
    versions: dict[str, str]


def dry_run(archive: Archive, spec: TrainingSpec, folder: Path) -> Rehearsal:
    """Trains one epoch on at most 5,000 rows of the spec, as the container would, and verifies the model.

    Args:
        archive: as it would be uploaded.
        spec: of the job.
        folder: for the rehearsal; nothing of it stays.

    Raises:
        TrainingError: no model came out; with the entry's own words.
        DataError: the spec's files cannot be read.
        PreflightError: the archive cannot be unpacked.
    """
    with fresh_folder(folder) as ml:
        small, rows = _cut(spec, ml / "cut")
        sent = pack_inputs(small, ml / "input" / "data" / CHANNEL)
        code = ml / "code"
        code.mkdir()
        unpack(archive.path, code)
        hyperparameters = {"inputs_sha256": sent.sha256, "device": "cpu", "checkpoint_seconds": "0"}
        started = time.monotonic()
        _run(spec.symbol, command(archive.entry, hyperparameters), ml)
        seconds = time.monotonic() - started
        try:
            history, facts = _verified(ml / "model", sent.sha256, num_features=spec.load_data().features.shape[1])
        except (CrpbotError, OSError, ValueError, KeyError) as error:
            raise TrainingError(
                f"{spec.symbol}: the rehearsal ended well, but left no whole model ({excerpt(error)}). "
                "The archive's code is not this project's: let crpbot build it."
            ) from error
    nll = history.best.validation_nll
    assert nll is not None, "the trainer keeps no epoch without"
    return Rehearsal(spec.symbol, rows, seconds, nll, facts["versions"])


def _cut(spec: TrainingSpec, folder: Path) -> tuple[TrainingSpec, int]:
    """The spec of one epoch on evenly spaced rows of its parts, whose files lie in `folder`; and how many rows."""
    data = spec.load_data()
    train = _spaced(data.train_rows, MOST_ROWS - _VALIDATION_ROWS)
    validation = _spaced(data.validation_rows, _VALIDATION_ROWS)
    rows = np.concatenate([train, validation])
    cut = TrainingData(
        features=np.ascontiguousarray(data.features[rows]),
        classes=data.classes[rows],
        train_rows=np.arange(len(train), dtype=np.int64),
        validation_rows=np.arange(len(train), len(rows), dtype=np.int64),
        scaler=data.scaler,
    )
    folder.mkdir(parents=True)
    features = folder / "rows.npy"
    np.save(features, cut.features, allow_pickle=False)
    training = spec.training.model_copy(update={"max_epochs": 1})
    paths = {"features": features, "targets": write_training_inputs(folder, cut), "output": folder}
    return spec.model_copy(update={**paths, "training": training}), len(rows)


def _spaced(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of the rows, evenly spaced, first and last among them."""
    chosen: NDArray[np.int64] = rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64)]
    return chosen


def _run(symbol: str, started_as: list[str], ml: Path) -> None:
    """Runs the entry in the folder of the code, with the container's variables and folders.

    Raises:
        TrainingError: it did not end well, or not in time.
    """
    environment = plain_environment(
        SM_CHANNEL_TRAINING=str(ml / "input" / "data" / CHANNEL),
        SM_MODEL_DIR=str(ml / "model"),
        SM_OUTPUT_DATA_DIR=str(ml / "output" / "data"),
    )
    try:
        ended = subprocess.run(  # noqa: S603  our own interpreter, on the archive that we would pay for
            started_as,
            cwd=ml / "code",
            env=environment,
            capture_output=True,
            text=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TrainingError(
            f"{symbol}: one epoch on at most {MOST_ROWS:,} rows did not end within {_LIMIT_SECONDS:g} s. "
            "See what else this machine is doing, then rehearse again."
        ) from error
    if ended.returncode != 0:
        raise TrainingError(f"{symbol}: the rehearsal of the job fails: {_reason(ml, ended.stderr)}")


def _reason(ml: Path, log: str) -> str:
    """What the entry says in its failure file; without one, the end of what it wrote."""
    failure = ml / "output" / "failure"
    if failure.exists():
        return failure.read_text()
    last = " | ".join(excerpt(line) for line in log.strip().splitlines()[-_LAST_LINES:])
    return f"it left no reason; its log ends: {last or '(nothing)'}"


def _verified(model: Path, inputs_sha256: str, *, num_features: int) -> tuple[TrainingHistory, dict[str, Any]]:
    """The history and the facts of a model, after every file of it was verified."""
    facts: dict[str, Any] = json.loads((model / FACTS_FILE).read_bytes())
    if facts["inputs_sha256"] != inputs_sha256:
        raise ValueError(f"it says that it is of {facts['inputs_sha256']}")
    for name in (HISTORY_FILE, WEIGHTS_FILE):
        if sha256_file(model / name) != facts["files"][name]:
            raise ValueError(f"{name} is not what {FACTS_FILE} says")
    weights = read_weights(model / WEIGHTS_FILE)
    if weights["linears.0.weight"].shape[1] != num_features:
        raise ValueError(f"its first layer does not take {num_features} features")
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise ValueError("its weights are not finite")
    return TrainingHistory.from_json(json.loads((model / HISTORY_FILE).read_bytes())), facts
