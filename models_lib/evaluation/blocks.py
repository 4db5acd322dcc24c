"""The block bootstrap of one set of rows: every figure gets the same blocks, of the configured length.

What does not belong here: how blocks are drawn (bootstrap.py), and which figures there are.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_lib.config import EvaluationSection
from models_lib.evaluation.bootstrap import (
    Interval,
    block_interval,
    block_interval_difference,
    block_interval_ratio,
)

Floats = NDArray[np.float64]


class Blocks:
    """Intervals of figures over the same rows."""

    def __init__(self, rows: int, section: EvaluationSection) -> None:
        self.block_bars = block_bars(rows, section)
        self._settings: dict[str, Any] = {
            "block_bars": self.block_bars,
            "samples": section.bootstrap_samples,
            "seed": section.bootstrap_seed,
            "min_blocks": section.min_blocks,
        }

    def mean(self, per_row: Floats) -> Interval | None:
        """Of the mean of figures per row."""
        return block_interval(per_row, **self._settings)

    def ratio(self, numerator: Floats, denominator: Floats) -> Interval | None:
        """Of sum(numerator) / sum(denominator), such as a mean over the called rows."""
        return block_interval_ratio(numerator, denominator, **self._settings)

    def difference(self, first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> Interval | None:
        """Of the difference of two such ratios."""
        return block_interval_difference(first, second, **self._settings)


def block_bars(rows: int, section: EvaluationSection) -> int:
    """Length of the bootstrap blocks for this many rows."""
    return section.long_block_bars if rows >= section.long_test_rows else section.block_bars
