"""What the champion reached, as the figures that stand beside a candidate's: measured, and said on which rows.

Fair are only the same rows. Where the two could not be compared there, the champion's own run has a figure of its own
rows; where that is not known either, nothing is said.

What does not belong here: judging (the gate against the champion), and how the figures are shown (models_lib.reports).
"""

from typing import Any

from models_lib.errors import BundleError, RecordError
from models_lib.evaluation.evaluation import ChampionComparison
from models_lib.registry.store import Store


def champion_figures(
    store: Store, champion: str | None, comparison: ChampionComparison | None
) -> dict[str, Any] | None:
    """The champion's accuracy and NLL as plain values; None without a champion.

    `measured_on` is `same_rows` (then the candidate's figures on these rows are there too), `own_run`, or None where
    neither is known.
    """
    if champion is None:
        return None
    same = None if comparison is None else comparison.same_rows
    if same is not None:
        return {
            "bundle": champion,
            "measured_on": "same_rows",
            "rows": same.rows,
            "accuracy": same.champion_accuracy,
            "nll": same.champion_nll,
            "candidate_accuracy": same.candidate_accuracy,
            "candidate_nll": same.candidate_nll,
        }
    own = _own_metrics(store, champion)
    return {
        "bundle": champion,
        "measured_on": None if own is None else "own_run",
        "rows": None,
        "accuracy": None if own is None else own.get("accuracy"),
        "nll": None if own is None else own.get("nll"),
        "candidate_accuracy": None,
        "candidate_nll": None,
    }


def _own_metrics(store: Store, champion: str) -> dict[str, Any] | None:
    """What the run that judged the champion last had measured; None when its facts are gone or damaged."""
    try:
        verdicts = store.verdicts(champion)
    except (BundleError, RecordError):
        return None  # a damaged champion is refused where it is loaded and promoted; here it has no figures
    return dict(verdicts[-1].metrics) if verdicts else None
