"""The reigning champion beside a candidate: asked on the same rows, and what it reached.

Fair are only the same rows, later than all that either of the two was fitted or chosen on. Where the two could not be
compared there, the champion's own run has a figure of its own rows; where that is not known either, nothing is said.

What does not belong here: judging (the gate against the champion), and how the figures are shown (models_lib.reports).
"""

from dataclasses import replace
from typing import Any

from models_lib.bundle import Manifest, load_bundle
from models_lib.config import EvaluationSection
from models_lib.errors import BundleError, RecordError
from models_lib.evaluation.champion import ChampionComparison, compare_with_champion
from models_lib.registry import Registry
from models_lib.registry.store import Store
from models_lib.steps.judgement import ModelAnswers, answers_of
from models_lib.steps.market import Market


def champion_to_beat(registry: Registry, symbol: str) -> str | None:
    """The hash of the reigning champion, if there is one.

    Raises:
        RecordError: its pointer is damaged.
    """
    champion = registry.champion(symbol)
    return champion.bundle if champion else None


def against_champion(
    registry: Registry,
    champion: str | None,
    market: Market,
    answers: ModelAnswers,
    *,
    candidate: Manifest,
    section: EvaluationSection,
) -> ChampionComparison | None:
    """The champion, asked with its own features, and the candidate on the same rows; None without a champion.

    Not measured, so that the champion stays: a champion that was asked another question (another label), one that this
    code cannot load, and one that was trained on real candles when this market is simulated, which says nothing about
    it.

    Args:
        registry: where the champion is kept.
        champion: hash of the bundle to beat.
        market: on whose judged rows they are compared, as far as neither was fitted or chosen on them.
        answers: of the candidate.
        candidate: what it is.
        section: blocks and samples of the interval.
    """
    if champion is None:
        return None
    try:
        folder = registry.store.bundle(champion)
        reigning = load_bundle(folder, symbol=market.symbol, expected_hash=champion)
    except BundleError as error:
        return ChampionComparison(None, None, f"the champion cannot be loaded: {error}")
    reason = _not_comparable(reigning.manifest, market)
    if reason:
        return ChampionComparison(None, None, reason)
    unseen = market.unseen((reigning.manifest, candidate))
    compared = compare_with_champion(
        answers.logits[unseen],
        answers_of(reigning, market).logits[unseen],
        market.labels.classes[market.judged_rows][unseen],
        section=section,
    )
    old = " and ".join(
        name
        for name, model in (("the champion", reigning.manifest), ("the candidate", candidate))
        if model.holds_old_network
    )
    return (
        replace(compared, note=f"{compared.note}; what the old network of {old} learned from is not known")
        if old
        else compared
    )


def _not_comparable(champion: Manifest, market: Market) -> str:
    """Why a figure of the champion on this market would say nothing; empty where it says something."""
    if market.labelled is None:
        return f"there are no labels: {market.unlabelled_because}"
    if champion.label.section != market.label:
        return "the champion was trained on another label, so they cannot be compared"
    if market.simulated_market is not None and champion.simulated_market is None:
        return "a model of the simulated market never replaces one of real candles"
    return ""


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
