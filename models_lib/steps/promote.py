"""The promotion of a candidate that passed every blocking gate."""

from datetime import datetime

from models_lib.errors import PromotionError, RecordError
from models_lib.registry import open_registry
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import JudgementRef, PromotionRef, StoredRef


def promote_candidate(
    plan: RunPlan, symbol: str, judgement: JudgementRef, stored: StoredRef, *, now: datetime
) -> PromotionRef:
    """What the registry answered; its no (another champion meanwhile) is a result: the candidate is held.

    Raises:
        RecordError: ledger or pointers are damaged; that is no verdict on the candidate, and a person must look.
    """
    try:
        answer = open_registry(plan.home).promote(
            symbol,
            stored.bundle,
            expected_champion=judgement.champion,
            who=plan.who,
            why=f"run {plan.run_id}: every blocking gate passed",
            now=now,
            run_id=plan.run_id,
        )
    except RecordError:
        raise
    except PromotionError as error:
        return PromotionRef(outcome="held", reason=str(error))
    return PromotionRef(outcome="promoted", reason="" if answer.changed else "already champion")
