"""What a training sees: features, classes, which rows, and the scaler. Never a test row.

What does not belong here: how rows are split (models_lib.splits) and classes fitted (models_lib.labels).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models_lib.errors import DataError
from models_lib.scaler import Scaler


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The arrays of one symbol's training.

    Attributes:
        features: float32 [N, F], in memory or memory-mapped; only the rows named below are read.
        classes: int8 [N], 0 DOWN, 1 NEUTRAL, 2 UP; known (not -1) on the rows named below.
        train_rows: int64 [n], rows whose class was known before the validation part begins.
        validation_rows: int64 [m].
        scaler: fitted on `train_rows` alone; None for a v6, which has none.
    """

    features: NDArray[np.float32]
    classes: NDArray[np.int8]
    train_rows: NDArray[np.int64]
    validation_rows: NDArray[np.int64]
    scaler: Scaler | None

    def __post_init__(self) -> None:
        for part, rows in (("training", self.train_rows), ("validation", self.validation_rows)):
            if rows.size < 2:
                raise DataError(f"{rows.size} {part} rows (at least 2 needed). Train on a longer window.")
            if rows.min() < 0 or rows.max() >= len(self.features):
                raise ValueError(
                    f"{part} rows must lie in 0..{len(self.features) - 1}, were {rows.min()}..{rows.max()}"
                )
            classes = self.classes[rows]
            unknown = int(((classes < 0) | (classes > 2)).sum())
            if unknown:
                raise DataError(
                    f"{unknown:,} of {rows.size:,} {part} rows have no class of 0..2. Leave them out of the split."
                )
