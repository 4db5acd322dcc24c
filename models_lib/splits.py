"""Chronological train, validation and test parts, with a purge and an embargo at each boundary.

The look-ahead rule: no training label looks at or past the first bar of the next part (purge of the label's span), and
the next part starts its own rows only after the label's look-back (embargo), so that the two sides of a boundary share
no bar through the label (Lopez de Prado 2018, chapter 7). Distances are minutes of the clock, not rows, so that holes
in the candles never shorten them.

What does not belong here: which rows are usable (features and label known), and the scaler.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_lib.config import SplitsSection
from models_lib.errors import DataError

_MINUTE_MS = 60_000


@dataclass(frozen=True, eq=False)
class Splits:
    """The rows of the three parts, and their spans.

    Attributes:
        train: int64 row numbers, ascending; every label ends before the first minute of validation.
        validation: int64, ascending; every label ends before the first minute of the test part.
        test: int64, ascending; used once a run, for the final judgement.
        spans: for each part the open times of its first and last row, ms since 1970 UTC.
        purge_minutes: the label's span, cut before each boundary.
        embargo_minutes: the label's look-back, cut after each boundary.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    spans: dict[str, tuple[int, int]]
    purge_minutes: int
    embargo_minutes: int

    def to_json(self) -> dict[str, Any]:
        """Row counts and spans as plain values; the row numbers themselves stay out."""
        return {
            "rows": {"train": self.train.size, "validation": self.validation.size, "test": self.test.size},
            "spans": {name: list(span) for name, span in self.spans.items()},
            "purge_minutes": self.purge_minutes,
            "embargo_minutes": self.embargo_minutes,
        }


def split_rows(
    timestamps_ms: NDArray[np.int64],
    usable: NDArray[np.bool_],
    splits: SplitsSection,
    *,
    span_minutes: int,
    embargo_minutes: int,
    symbol: str,
) -> Splits:
    """The three parts of the usable rows, by share of rows, purged and embargoed.

    With b the open time of the first usable row after a boundary: the earlier part keeps rows t with
    t + span < b, the later part rows t with t >= b + embargo.

    Args:
        timestamps_ms: int64 [N], open times, ascending.
        usable: bool [N], rows with features and a known label.
        splits: shares and the fewest rows of a part.
        span_minutes: how far the label looks ahead.
        embargo_minutes: how far the label looks back.
        symbol: for the message.

    Raises:
        DataError: a part has fewer rows than `splits.min_rows`.
    """
    rows = np.flatnonzero(usable)
    times = timestamps_ms[rows]
    num_train = int(rows.size * splits.train_share)
    num_validation = int(rows.size * splits.validation_share)
    facts: dict[str, Any] = {"usable": rows.size, "splits": splits, "purge": span_minutes, "embargo": embargo_minutes}
    if min(num_train, num_validation, rows.size - num_train - num_validation) < 1:
        raise DataError(_too_few(symbol, "a part", 0, **facts))
    validation_start, test_start = times[num_train], times[num_train + num_validation]
    span, embargo = span_minutes * _MINUTE_MS, embargo_minutes * _MINUTE_MS
    in_part = {
        "train": times + span < validation_start,
        "validation": (times >= validation_start + embargo) & (times + span < test_start),
        "test": times >= test_start + embargo,
    }
    for name, inside in in_part.items():
        kept = int(np.count_nonzero(inside))
        if kept < max(splits.min_rows, 1):
            raise DataError(_too_few(symbol, f"the {name} part", kept, **facts))
    parts = {name: rows[inside].astype(np.int64) for name, inside in in_part.items()}
    return Splits(
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        spans={name: (int(timestamps_ms[part[0]]), int(timestamps_ms[part[-1]])) for name, part in parts.items()},
        purge_minutes=span_minutes,
        embargo_minutes=embargo_minutes,
    )


def _too_few(symbol: str, part: str, kept: int, *, usable: int, splits: SplitsSection, purge: int, embargo: int) -> str:
    """The message for a part without enough rows."""
    return (
        f"{symbol}: {kept:,} rows in {part} (at least {splits.min_rows:,} needed), from {usable:,} usable rows after a "
        f"purge of {purge} and an embargo of {embargo} minutes at each boundary. "
        f"Give more candles, or lower splits.min_rows."
    )
