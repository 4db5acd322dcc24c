"""The judgement of a bundle that no training run is about: what is repaired or compared passes the gates of every candidate.

What does not belong here: making the bundle, and what becomes of it (repair.py, compare.py).
"""

from dataclasses import dataclass
from datetime import datetime

from models_lib.bundle import Bundle, RunFacts
from models_lib.config import RunConfig
from models_lib.registry import Registry
from models_lib.steps.champion import against_champion, champion_to_beat
from models_lib.steps.judgement import JudgedModel, ModelAnswers, answers_of, judge_answers
from models_lib.steps.market import Market
from models_lib.steps.provenance import provenance
from models_lib.steps.run_facts import run_facts_of


@dataclass(frozen=True, eq=False, kw_only=True)
class JudgedBundle:
    """A bundle as read back from disk, what it answered, and the verdict.

    Attributes:
        bundle: the model.
        answers: on the market's judged rows.
        judged: figures and gates.
        facts: the verdict as it is laid beside the bundle; with it the bundle can be promoted.
    """

    bundle: Bundle
    answers: ModelAnswers
    judged: JudgedModel
    facts: RunFacts


def judge_bundle(
    bundle: Bundle, market: Market, config: RunConfig, *, registry: Registry, run_id: str, now: datetime
) -> JudgedBundle:
    """The verdict of every gate on the market's judged rows, also against the champion of this moment.

    Args:
        bundle: as read back from disk.
        market: with the label that the bundle was trained on.
        config: gates, and how figures are measured.
        registry: whose champion.
        run_id: names the judgement (`judgement_run_id`).
        now: aware.

    Raises:
        RecordError: the champion's pointer is damaged.
    """
    answers = answers_of(bundle, market)
    champion = champion_to_beat(registry, market.symbol)
    comparison = against_champion(
        registry, champion, market, answers, candidate=bundle.manifest, section=config.evaluation
    )
    judged = judge_answers(market, answers, config, champion=comparison)
    facts = run_facts_of(
        judged.to_json(),
        run_id=run_id,
        symbol=market.symbol,
        bundle=bundle.hash,
        config=config,
        champion=champion,
        data=market.report,
        origin=provenance(),
        started_at=now,
        judged_at=now,
        seconds={},
    )
    return JudgedBundle(bundle=bundle, answers=answers, judged=judged, facts=facts)
