"""The contract between a run and the place where its training happens.

What does not belong here: any particular place.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from models_lib.training.history import EpochRecord, StepProgress, TrainingHistory
from models_lib.training.spec import TrainingSpec

OnProgress = Callable[[EpochRecord | StepProgress], None]


@dataclass(frozen=True)
class TrainedModel:
    """A finished training, on this machine's disk.

    Attributes:
        path: the weights, a safetensors file.
        sha256: of that file.
        history_path: the history as JSON.
        history: the same, read.
    """

    path: Path
    sha256: str
    history_path: Path
    history: TrainingHistory

    @property
    def best_epoch(self) -> int:
        """Number of the epoch whose weights were kept, from 1."""
        return self.history.best_epoch


class TrainingBackend(Protocol):
    """A place that trains."""

    def train(self, spec: TrainingSpec, *, on_progress: OnProgress) -> TrainedModel:
        """Trains one symbol and returns where its weights lie.

        Start state: the spec's input files are whole; its output folder may be absent, empty, or hold what an earlier
        call left, finished or not.
        Steps: earlier weights, history and failure are removed; the training runs under the spec's time limit;
        `on_progress` is told of steps and epochs, in the caller's thread.
        End state, on return: weights and history are whole, and are those of this spec. On an error: no weights; nothing
        of the training still runs.
        Idempotence: the same spec on the same kind of machine gives the same bytes of weights, however often it is
        called and however an earlier call ended.

        Raises:
            TrainingError: non-finite loss, the time limit, a killed process, or no usable epoch.
            DataError: the input files are damaged or hold what they must not.
            ConfigError: the spec asks for what the place does not have.
        """
