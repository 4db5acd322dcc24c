"""One symbol's training in AWS's container: the channel `training` in, a model or the real reason out.

Start: the files of the channel (channel.py), and what SageMaker's toolkit hands over: its variables, and every
hyperparameter as `--name value`. Steps: one line of JSON for each progress message, one line of figures for each epoch.
End, exit status 0: history.json, training.json and, last, weights.safetensors in the folder of the model. End, exit status
1: no weights, and in output/failure the class and the message of the error, which AWS shows as the reason.

Only torch, numpy, safetensors and pydantic are needed, and even these are loaded within the watched part, so that a missing
one is told as well.

What does not belong here: the training between the two (job.py), submitting and collecting jobs (tasks/adapters/sagemaker),
and the same on this machine (worker.py).
"""

import argparse
import json
import logging
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Never

from models_lib.errors import ConfigError, CrpbotError
from models_lib.files import write_text

FACTS_FILE: Final = "training.json"
"""Beside the weights: identity, device, versions, and the hashes of the other files."""
LONGEST_FAILURE: Final = 1_024
"""Characters of the failure file that AWS shows."""
HYPERPARAMETERS: Final = ("inputs_sha256", "checkpoint_seconds", "device")
"""Every hyperparameter that the entry knows: what is trained; the shortest time between two checkpoints, none without; auto,
cpu or cuda."""
FIGURES: Final = (
    "train_loss",
    "validation_nll",
    "validation_accuracy",
    "temperature",
    "learning_rate",
    "gradient_norm",
    "seconds",
)
METRIC_DEFINITIONS: Final = (
    ("epoch", r"crpbot epoch=([0-9]+)"),
    *((name, rf"crpbot epoch=.* {name}=([0-9.e+-]+)") for name in FIGURES),
)
"""Name and regular expression of each figure, as SageMaker finds it in the log."""
_OUT_OF_MEMORY: Final = {
    "MemoryError": "the container is out of memory",
    "OutOfMemoryError": "the GPU is out of memory",
}


def main(environ: Mapping[str, str], arguments: Sequence[str]) -> int:
    """Trains what the channel holds; 0 with a model, 1 with a failure file.

    Args:
        environ: the variables that the toolkit sets.
        arguments: hyperparameters as --name value; with --check everything is loaded and nothing trained.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    places = Places.of(environ)
    try:
        _run(places, _options(arguments))
    except Exception as error:  # noqa: BLE001 - whatever it was, the reason must leave the container
        traceback.print_exc()
        if "--check" not in arguments:
            write_text(places.failure, failure_text(error))
        return 1
    return 0


def _run(places: "Places", options: "Options") -> None:
    from models_lib.training import job  # noqa: PLC0415 - torch and the rest, within the watched part

    if options.check:
        sys.stdout.write(json.dumps(job.loaded()) + "\n")
    else:
        job.train(places, options)


def failure_text(error: Exception) -> str:
    """Class and message, then the last lines of the traceback of what nobody expected; at most 1,024 characters."""
    kind = type(error).__name__
    if kind in _OUT_OF_MEMORY:
        told = (
            f"TrainingError: {_OUT_OF_MEMORY[kind]} ({error}). "
            "Choose a larger training.sagemaker.instance_type, or lower training.batch_size."
        )
        return told[:LONGEST_FAILURE]
    told = f"{kind}: {error}"[:LONGEST_FAILURE]
    if isinstance(error, CrpbotError):
        return told
    frames: list[str] = []
    for frame in reversed(traceback.format_tb(error.__traceback__)):
        if len("\n".join([told, frame.strip(), *frames])) > LONGEST_FAILURE:
            break
        frames.insert(0, frame.strip())
    return "\n".join([told, *frames])


@dataclass(frozen=True)
class Places:
    """Where the container finds and leaves things: /opt/ml in AWS; and on what it runs.

    Attributes:
        channel: the files to train from.
        model: what is in it at the end is the model.
        failure: the file that holds the reason.
        checkpoints: what is in it outlives the container.
        num_gpus: that the machine has, as the toolkit counts them; 0 where nobody counts.
    """

    channel: Path
    model: Path
    failure: Path
    checkpoints: Path
    num_gpus: int

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Places":
        """As the toolkit's variables say; the checkpoints lie beside the model, for which there is no variable."""
        model = Path(environ.get("SM_MODEL_DIR", "/opt/ml/model"))
        output = Path(environ.get("SM_OUTPUT_DATA_DIR", "/opt/ml/output/data"))
        channel = environ.get("SM_CHANNEL_TRAINING", "/opt/ml/input/data/training")
        num_gpus = int(environ.get("SM_NUM_GPUS", "0"))
        return cls(Path(channel), model, output.parent / "failure", model.parent / "checkpoints", num_gpus)


@dataclass(frozen=True)
class Options:
    """The hyperparameters.

    Attributes:
        inputs_sha256: identity of what is to be trained.
        checkpoint_seconds: shortest time between two checkpoints; None: none are written.
        device: to train on.
        check: whether everything is only loaded.
    """

    inputs_sha256: str
    checkpoint_seconds: float | None
    device: Literal["auto", "cpu", "cuda"]
    check: bool


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is an error like any other."""

    def error(self, message: str) -> Never:
        raise ConfigError(
            f"the entry script does not take its hyperparameters: {message}. The known ones are "
            f"{', '.join(HYPERPARAMETERS)}. The source archive and the job are of different versions: submit again."
        )


def _options(arguments: Sequence[str]) -> Options:
    parser = _Parser(prog="train.py", allow_abbrev=False)
    parser.add_argument("--inputs_sha256", required=True)
    parser.add_argument("--checkpoint_seconds", type=float)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--check", action="store_true", help="load everything, train nothing")
    return Options(**vars(parser.parse_args(arguments)))
