"""A candidate against the reigning champion: the only fair old and new, on rows that neither was fitted or chosen on.

What does not belong here: which rows these are and asking the two models (models_lib.steps), and the gate (gates.py).
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_lib.config import EvaluationSection
from models_lib.evaluation.blocks import Blocks, block_bars
from models_lib.evaluation.bootstrap import Interval
from models_lib.evaluation.metrics import nll_per_row

Logits = NDArray[np.floating]


@dataclass(frozen=True)
class SameRows:
    """What both reach on the same rows."""

    rows: int
    champion_accuracy: float
    champion_nll: float
    candidate_accuracy: float
    candidate_nll: float


@dataclass(frozen=True)
class ChampionComparison:
    """The champion against the candidate on rows that neither was fitted or chosen on.

    Attributes:
        difference: champion's NLL minus the candidate's; above 0 the candidate is better. None when not measured.
        interval: its 95 % interval.
        note: on which rows, or why it was not measured.
        same_rows: what both reach there; None when not measured.
    """

    difference: float | None
    interval: Interval | None
    note: str
    same_rows: SameRows | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values: the numbers that a promotion keeps; what was not measured is None."""
        same = (
            dict.fromkeys(each.name for each in fields(SameRows)) if self.same_rows is None else asdict(self.same_rows)
        )
        return {
            "nll_difference": self.difference,
            "nll_difference_interval": None if self.interval is None else [self.interval.low, self.interval.high],
            **same,
            "note": self.note,
        }


def compare_with_champion(
    candidate_logits: Logits, champion_logits: Logits, classes: NDArray[np.int8], *, section: EvaluationSection
) -> ChampionComparison:
    """The paired NLL difference; both are asked the candidate's question: its label and threshold.

    Args:
        candidate_logits: float [n, 3] after temperature, on rows that neither model was fitted or chosen on.
        champion_logits: float [n, 3], of the champion on the same rows.
        classes: int8 [n], every one known.
        section: blocks and samples.
    """
    note = f"on {classes.size:,} test rows after the validation ends of both"
    if not classes.size:
        return ChampionComparison(None, None, note)
    if not (np.isfinite(candidate_logits).all() and np.isfinite(champion_logits).all()):
        return ChampionComparison(None, None, f"{note}, where one of them emits logits that are not finite")
    candidate, reigning = nll_per_row(candidate_logits, classes), nll_per_row(champion_logits, classes)
    per_row = reigning - candidate
    interval = Blocks(per_row.size, section).mean(per_row)
    if interval is None:
        note += f"; too few: an interval needs {section.min_blocks} blocks of {block_bars(per_row.size, section)}"
    same_rows = SameRows(
        rows=int(classes.size),
        champion_accuracy=float((champion_logits.argmax(axis=1) == classes).mean()),
        champion_nll=float(reigning.mean()),
        candidate_accuracy=float((candidate_logits.argmax(axis=1) == classes).mean()),
        candidate_nll=float(candidate.mean()),
    )
    return ChampionComparison(float(per_row.mean()), interval, note, same_rows)
