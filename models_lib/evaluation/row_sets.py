"""The four sets of test rows on which models are compared (SPEC 9), the same for every model.

Knowable when: which rows a set holds is known at their close, except that its limits (the newest time, the decile) are
taken on these test rows themselves; nothing of a model or of a label decides.

What does not belong here: what is measured on them (comparison.py).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models_lib.config import EvaluationSection
from models_lib.evaluation.blocks import Blocks
from models_lib.evaluation.bootstrap import Interval

Floats = NDArray[np.float64]

SAMPLE_ROWS = 1_000
NEWEST_DAYS = 7
HIGH_VOLATILITY_BARS = 60
"""Window of the realised volatility by which a row is one of high volatility."""
_HIGH_VOLATILITY_QUANTILE = 0.9
_DAY_MS = 86_400_000


@dataclass(frozen=True, eq=False)
class RowSet:
    """Some of the n test rows.

    Attributes:
        name: `test`, `sample`, `newest_week` or `high_volatility`.
        meaning: which rows these are, for a reader.
        inside: bool [n].
    """

    name: str
    meaning: str
    inside: NDArray[np.bool_]

    @property
    def rows(self) -> int:
        """How many they are."""
        return int(np.count_nonzero(self.inside))


def row_sets(times_ms: NDArray[np.int64], log_volatility: Floats, *, seed: int) -> tuple[RowSet, ...]:
    """The whole test part, the sample, the newest week and the rows of high volatility.

    Args:
        times_ms: int64 [n], open times of the test rows, ascending.
        log_volatility: float64 [n], log realised volatility of the last HIGH_VOLATILITY_BARS bars at each row.
        seed: of the sample.
    """
    everything = np.ones(times_ms.size, dtype=np.bool_)
    limit = float(np.quantile(log_volatility, _HIGH_VOLATILITY_QUANTILE))
    return (
        RowSet("test", "the whole test part", everything),
        RowSet(
            "sample",
            f"{SAMPLE_ROWS:,} rows drawn with seed {seed}, all of them where there are fewer",
            _drawn(everything, seed),
        ),
        RowSet(
            "newest_week",
            f"the newest {NEWEST_DAYS} days of the test part",
            times_ms > times_ms[-1] - NEWEST_DAYS * _DAY_MS,
        ),
        RowSet(
            "high_volatility",
            f"the tenth of the test rows with the highest realised volatility of the last {HIGH_VOLATILITY_BARS} minutes "
            f"(above {1e4 * np.exp(limit):.1f} bp a minute)",
            log_volatility > limit,
        ),
    )


def _drawn(everything: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    inside = np.zeros_like(everything)
    size = min(SAMPLE_ROWS, everything.size)
    inside[np.random.default_rng(seed).choice(everything.size, size=size, replace=False)] = True
    return inside


class RowSetBlocks:
    """Intervals of means over one row set, by the same blocks for every model.

    Rows that follow one another, such as the newest week, have blocks of their own. The rows of another set keep their
    place in time: the blocks are those of the whole test part, and a resample counts the rows of the set that it holds.
    """

    def __init__(self, row_set: RowSet, section: EvaluationSection) -> None:
        places = np.flatnonzero(row_set.inside)
        self._in_one_piece = places.size > 0 and places[-1] - places[0] + 1 == places.size
        self._inside = row_set.inside
        self._blocks = Blocks(places.size if self._in_one_piece else row_set.inside.size, section)
        self.block_bars = self._blocks.block_bars
        within = np.arange(places.size) if self._in_one_piece else places
        self.blocks = (places.size if self._in_one_piece else row_set.inside.size) // self.block_bars
        self.blocks_with_rows = int(np.unique(np.minimum(within // self.block_bars, max(self.blocks - 1, 0))).size)

    def mean(self, per_row: Floats) -> Interval | None:
        """Of the mean over the set of figures per test row, float64 [n]."""
        if self._in_one_piece:
            return self._blocks.mean(per_row[self._inside])
        return self._blocks.ratio(np.where(self._inside, per_row, 0.0), self._inside.astype(np.float64))
