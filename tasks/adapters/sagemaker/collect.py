"""From the model.tar.gz of a job to weights and history that are those of the training that was asked for.

What does not belong here: opening the archive (model_archive.py), and measuring the model: gates are judged on this
machine, by the same steps as every other model's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from models_lib.errors import BundleError, DataError, TrainingError, excerpt
from models_lib.files import sha256_bytes
from models_lib.networks import network_from_tensors
from models_lib.training.container import FACTS_FILE
from models_lib.training.history import TrainingHistory
from models_lib.training.spec import HISTORY_FILE, WEIGHTS_FILE, TrainingSpec
from tasks.adapters.aws.clients import Aws
from tasks.adapters.s3.objects import S3Folder
from tasks.adapters.sagemaker.model_archive import MOST_BYTES, open_archive

_KNOWN: Final = {WEIGHTS_FILE: MOST_BYTES // 2, HISTORY_FILE: MOST_BYTES // 4, FACTS_FILE: 1024 * 1024}
_IGNORED: Final = frozenset({"checkpoints", "code", "tensorboard"})
"""What toolkits of AWS's images may put there."""
_REMEDY: Final = "Start the run again: the next attempt is another job."


@dataclass(frozen=True)
class ReturnedModel:
    """A model that came back and is what was asked for.

    Attributes:
        weights: bytes of the safetensors file.
        history_file: bytes of the history.
        history: the same, read.
        record: what the container says about itself.
    """

    weights: bytes
    history_file: bytes
    history: TrainingHistory
    record: Mapping[str, Any]


def fetch_model(aws: Aws, artefact: str | None, spec: TrainingSpec, *, inputs_sha256: str) -> ReturnedModel:
    """The model of a completed job.

    Args:
        aws: gives the client.
        artefact: s3:// address of model.tar.gz, as AWS told it.
        spec: what was to be trained.
        inputs_sha256: of its inputs.

    Raises:
        TrainingError: it is gone, damaged, or the model of another training.
        TransientError: S3 does not answer.
    """
    if artefact is None:
        raise TrainingError(f"{spec.symbol}: the job is completed, but AWS names no model.tar.gz. {_REMEDY}")
    uri, _, name = artefact.rpartition("/")
    with TemporaryDirectory(prefix="crpbot-") as fresh:
        archive = Path(fresh) / "model.tar.gz"
        _fetch(S3Folder(aws, uri), name, archive, spec.symbol)
        content = open_archive(archive, _KNOWN, subject=f"{spec.symbol}: {artefact}", ignored=_IGNORED)
    return checked_model(content, spec, inputs_sha256=inputs_sha256, subject=f"{spec.symbol}: {artefact}")


def _fetch(folder: S3Folder, name: str, archive: Path, symbol: str) -> None:
    there = folder.head(name)
    if there is None:
        raise TrainingError(f"{symbol}: {folder.uri}/{name} is gone. {_REMEDY}")
    if there.size_bytes > MOST_BYTES:
        raise TrainingError(
            f"{symbol}: {folder.uri}/{name} has {there.size_bytes} bytes (at most {MOST_BYTES} allowed). {_REMEDY}"
        )
    try:
        folder.download(name, archive)
    except DataError as error:
        raise TrainingError(f"{symbol}: the model came back damaged: {error} {_REMEDY}") from error


def checked_model(
    content: Mapping[str, bytes], spec: TrainingSpec, *, inputs_sha256: str, subject: str
) -> ReturnedModel:
    """The files of an archive, after each was found to be whole and to belong to this training.

    Raises:
        TrainingError: they are not.
    """
    record = _record(content[FACTS_FILE], subject)
    if record.get("inputs_sha256") != inputs_sha256:
        found = excerpt(record.get("inputs_sha256"))
        raise TrainingError(
            f"{subject} is the model of another training (inputs {found}, not {inputs_sha256}). See who else writes to "
            f"training.sagemaker.uri. {_REMEDY}"
        )
    hashes = record["files"]
    for name in (WEIGHTS_FILE, HISTORY_FILE):
        if hashes.get(name) != (found := sha256_bytes(content[name])):
            raise TrainingError(
                f"{subject}: {name} is damaged (SHA-256 {found[:12]}, the container wrote {excerpt(hashes.get(name))[:12]}). "
                f"{_REMEDY}"
            )
    history = _history(content[HISTORY_FILE], spec, subject)
    _check_weights(content[WEIGHTS_FILE], spec, subject)
    return ReturnedModel(content[WEIGHTS_FILE], content[HISTORY_FILE], history, record)


def _record(content: bytes, subject: str) -> dict[str, Any]:
    try:
        record = json.loads(content)
        if isinstance(record, dict) and isinstance(record.get("files"), dict):
            return record
    except (ValueError, RecursionError):
        pass
    raise TrainingError(f"{subject}: {FACTS_FILE} is not the record of a training. {_REMEDY}")


def _history(content: bytes, spec: TrainingSpec, subject: str) -> TrainingHistory:
    """The history, whose best epoch is one that was trained and judged."""
    try:
        history = TrainingHistory.from_json(json.loads(content))
        numbers = [epoch.epoch for epoch in history.epochs]
        in_order = numbers == list(range(1, len(numbers) + 1)) and len(numbers) <= spec.training.max_epochs
        if in_order and 1 <= history.best_epoch <= len(numbers) and history.best.validation_nll is not None:
            return history
        fault = f"{len(numbers)} epochs of at most {spec.training.max_epochs}, the best {excerpt(history.best_epoch)}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        fault = excerpt(repr(error))
    raise TrainingError(f"{subject}: {HISTORY_FILE} is no history of this training ({fault}). {_REMEDY}")


def _check_weights(content: bytes, spec: TrainingSpec, subject: str) -> None:
    """Refuses weights that are not finite, or cannot be those of a network with the spec's features."""
    try:
        tensors: dict[str, NDArray[Any]] = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise TrainingError(f"{subject}: {WEIGHTS_FILE} cannot be read ({excerpt(error)}). {_REMEDY}") from error
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise TrainingError(f"{subject}: the tensor {excerpt(name)} holds numbers that are not finite. {_REMEDY}")
    try:
        network = network_from_tensors(spec.network, tensors)
    except BundleError as error:
        raise TrainingError(
            f"{subject}: the weights are not those of the network of this run: {error} {_REMEDY}"
        ) from error
    wanted = np.load(spec.features, mmap_mode="r", allow_pickle=False).shape[1]
    if network.num_features != wanted:
        raise TrainingError(
            f"{subject}: the weights are for {network.num_features} features, the inputs of this run {wanted}. {_REMEDY}"
        )
