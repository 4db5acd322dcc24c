"""The order that a training process is given: what to fit, from which files, into which folder.

Here: the order and the writing of its input files. Features come as a `.npy` that is memory-mapped; classes, rows and
scaler as one safetensors file. Nothing is pickled.

What does not belong here: when to train, and where (models_lib.backends).
"""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models_lib.config import GatesSection, NetworkSection, Section, TrainingSection
from models_lib.errors import DataError
from models_lib.files import write_bytes
from models_lib.scaler import Scaler
from models_lib.training.data import TrainingData

TARGETS_FILE = "training_inputs.safetensors"
WEIGHTS_FILE = "weights.safetensors"
HISTORY_FILE = "history.json"
FAILURE_FILE = "failure.json"


class TrainingSpec(Section):
    """Everything that decides the weights, and where they go."""

    symbol: str
    """Named in messages."""
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    """Of weights, row order and dropout; see `symbol_seed`."""
    features: Path
    """A .npy file, float32 [N, F], row-major."""
    targets: Path
    """The safetensors file that `write_training_inputs` wrote: classes, rows, scaler."""
    output: Path
    """Folder for weights.safetensors, history.json and tensorboard/; made when absent."""
    network: NetworkSection
    training: TrainingSection
    gates: GatesSection

    def load_data(self) -> TrainingData:
        """The arrays of the files; features are memory-mapped.

        Raises:
            DataError: if a file is missing, damaged or does not hold what it should.
        """
        try:
            features = np.load(self.features, mmap_mode="r", allow_pickle=False)
            targets = load(self.targets.read_bytes())
            scaler = Scaler(targets["scaler_mean"], targets["scaler_scale"]) if "scaler_mean" in targets else None
            return TrainingData(features, targets["classes"], targets["train_rows"], targets["validation_rows"], scaler)
        except (OSError, EOFError, ValueError, KeyError, SafetensorError) as error:
            raise DataError(
                f"{self.symbol}: the training inputs {self.features} and {self.targets} cannot be read ({error!r}). "
                "Start the run again, so that they are written anew."
            ) from error


def write_training_inputs(folder: Path, data: TrainingData) -> Path:
    """Writes all of `data` but the features to a file in `folder`, whole or not at all, and returns its path."""
    tensors: dict[str, np.ndarray] = {
        "classes": data.classes,
        "train_rows": data.train_rows,
        "validation_rows": data.validation_rows,
    }
    if data.scaler is not None:
        tensors |= {"scaler_mean": data.scaler.mean, "scaler_scale": data.scaler.scale}
    path = folder / TARGETS_FILE
    write_bytes(path, save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}))
    return path
