"""The training within the container: the channel verified, the loop, and the model's files.

What does not belong here: telling of a failure (container.py), which must work also where this module cannot be loaded.
"""

import contextlib
import json
import logging
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import safetensors
import torch

from models_lib.errors import ConfigError
from models_lib.files import sha256_bytes, sha256_file, write_bytes, write_json
from models_lib.training.channel import read_channel
from models_lib.training.checkpoint import encode_weights
from models_lib.training.checkpoints import Checkpoints
from models_lib.training.choice import kernels
from models_lib.training.container import FACTS_FILE, FIGURES, Options, Places
from models_lib.training.history import EpochRecord, StepProgress
from models_lib.training.progress import message_of
from models_lib.training.settle import settle_torch
from models_lib.training.spec import HISTORY_FILE, WEIGHTS_FILE
from models_lib.training.trainer import TrainingOutcome, choose_device, train_spec

_log = logging.getLogger(__name__)


def loaded() -> dict[str, Any]:
    """What was loaded, and from where."""
    return {"code": str(Path(__file__).parents[2]), "versions": _versions()}


def train(places: Places, options: Options) -> None:
    """Trains what the channel holds and writes the model.

    Raises:
        DataError: the channel is missing, damaged, or not of what is to be trained.
        TrainingError: as the training says.
        ConfigError: the device is not there, a GPU that is paid for cannot be used, or this code does not know what is
            asked for.
    """
    spec = read_channel(places.channel, expected=options.inputs_sha256, device=options.device, output=places.model)
    settle_torch()
    device = choose_device(spec.training.device)
    if spec.training.device == "auto" and device.type == "cpu" and places.num_gpus > 0:
        raise ConfigError(
            f"{spec.symbol}: this machine has {places.num_gpus} GPU, and torch {torch.__version__} of the image sees none: a GPU "
            "would be paid for and not used. Choose another training.sagemaker.image, or set training.device=cpu."
        )
    facts = {"inputs_sha256": options.inputs_sha256, "versions": _versions(), "kernels": kernels(device)}
    _log.info("%s: training on %s, %s", spec.symbol, device.type, json.dumps(facts))
    if device.type == "cpu" and facts["kernels"] == "torch":
        _log.warning(
            "numba is not installed: the training is slower, and its weights are not bit for bit those of others"
        )
    checkpoints = None
    if options.checkpoint_seconds is not None:
        identity = json.dumps(facts | {"device": device.type}, sort_keys=True)
        checkpoints = Checkpoints(places.checkpoints, identity=identity, seconds=options.checkpoint_seconds)
    outcome = train_spec(spec, listener=_tell, checkpoints=checkpoints)
    _write(places.model, outcome, facts | {"resumed_after": checkpoints.resumed_after if checkpoints else None})


def _versions() -> dict[str, str]:
    """Of what decides the bits; of numba, whose loops do so on a CPU, where it is installed."""
    known = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
        "pydantic": pydantic.VERSION,
    }
    with contextlib.suppress(metadata.PackageNotFoundError):
        known["numba"] = metadata.version("numba")
    return known


def _write(folder: Path, outcome: TrainingOutcome, facts: dict[str, Any]) -> None:
    """The model's files; whoever finds weights finds the rest, and can verify all of it."""
    write_json(folder / HISTORY_FILE, outcome.history.to_json())
    weights = encode_weights(outcome.tensors)
    files = {HISTORY_FILE: sha256_file(folder / HISTORY_FILE), WEIGHTS_FILE: sha256_bytes(weights)}
    write_json(folder / FACTS_FILE, {**facts, "device": outcome.history.device, "files": files})
    write_bytes(folder / WEIGHTS_FILE, weights)


def _tell(progress: EpochRecord | StepProgress) -> None:
    """A line for this project's eyes, and after an epoch one for SageMaker's."""
    sys.stdout.write(json.dumps(message_of(progress)) + "\n")
    if isinstance(progress, EpochRecord):
        figures = {name: getattr(progress, name) for name in FIGURES}
        told = " ".join(f"{name}={value:.8g}" for name, value in figures.items() if value is not None)
        sys.stdout.write(f"crpbot epoch={progress.epoch} {told}\n")
    sys.stdout.flush()
