"""TensorBoard event files of a training: one scalar a figure and epoch.

What does not belong here: the record itself (history.py); event files are for looking, nothing reads them back.
"""

from pathlib import Path
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from models_lib.training.history import EpochRecord

_FIGURES = (
    "train_loss",
    "validation_nll",
    "validation_accuracy",
    "temperature",
    "learned_temperature",
    "largest_logit",
    "learning_rate",
    "gradient_norm",
    "seconds",
)


class Board:
    """Writes the figures of each epoch to event files in a folder; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._writer = SummaryWriter(log_dir=str(folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def add(self, record: EpochRecord) -> None:
        """Adds one epoch; figures that were not measured are left out."""
        for name in _FIGURES:
            value = getattr(record, name)
            if value is not None:
                self._writer.add_scalar(name, value, record.epoch)
        self._writer.add_scalar("failed_blocking_gates", len(record.failed_gates), record.epoch)
        self._writer.flush()
