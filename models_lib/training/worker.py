"""One symbol's training as a process of its own: `python -m models_lib.training.worker SPEC.json --parent PID`.

Start: a `TrainingSpec` as JSON and its input files. Steps: one JSON line on stdout for each progress message. End, exit
status 0: `weights.safetensors` and `history.json`, each whole, in the spec's output folder, and TensorBoard event files
below it; the weights come last, so a folder with weights is complete. End, exit status 1: `failure.json` with the
class and the message of the error, and no weights.

One thread: two of them gain nothing on a batch and lose much when the cores are shared. The process dies with its
parent (Linux) and has its own random numbers.

What does not belong here: starting, limiting and killing the process (models_lib.backends).
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from models_lib.errors import CrpbotError
from models_lib.files import write_json
from models_lib.orphans import die_with_parent
from models_lib.training.board import Board
from models_lib.training.checkpoint import write_weights
from models_lib.training.history import EpochRecord, StepProgress
from models_lib.training.progress import message_of
from models_lib.training.settle import settle_torch
from models_lib.training.spec import FAILURE_FILE, HISTORY_FILE, WEIGHTS_FILE, TrainingSpec
from models_lib.training.trainer import train_spec


def main(arguments: list[str] | None = None) -> int:
    """Trains what the spec asks for; 0 with weights, 1 with a failure file."""
    parser = argparse.ArgumentParser(prog="python -m models_lib.training.worker", description=__doc__)
    parser.add_argument("spec", type=Path, help="a TrainingSpec as JSON")
    parser.add_argument("--parent", type=int, help="process id of the parent; this process ends when that one does")
    chosen = parser.parse_args(arguments)
    if chosen.parent is not None:
        die_with_parent(chosen.parent)
    spec = TrainingSpec.model_validate_json(chosen.spec.read_bytes())
    settle_torch()
    try:
        _train(spec)
    except CrpbotError as error:
        write_json(spec.output / FAILURE_FILE, {"class": type(error).__name__, "message": str(error)})
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _train(spec: TrainingSpec) -> None:
    board_folder = spec.output / "tensorboard"
    shutil.rmtree(board_folder, ignore_errors=True)
    with Board(board_folder) as board:

        def listen(progress: EpochRecord | StepProgress) -> None:
            if isinstance(progress, EpochRecord):
                board.add(progress)
            sys.stdout.write(json.dumps(message_of(progress)) + "\n")
            sys.stdout.flush()

        outcome = train_spec(spec, listener=listen)
    write_json(spec.output / HISTORY_FILE, outcome.history.to_json())
    write_weights(spec.output / WEIGHTS_FILE, outcome.tensors)


if __name__ == "__main__":
    sys.exit(main())
