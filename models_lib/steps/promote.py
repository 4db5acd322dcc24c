"""The promotion of a candidate that passed every blocking gate."""

from datetime import datetime

from models_lib.errors import PromotionError, RecordError
from models_lib.holds import held
from models_lib.registry import Registry
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import Judged, PromotionRef


def promote_candidate(plan: RunPlan, judged: Judged, *, registry: Registry, now: datetime) -> PromotionRef:
    """What the registry answered; its no (another champion meanwhile) is a result, and so is a person's hold.

    Raises:
        RecordError: ledger or pointers are damaged; that is no verdict on the candidate, and a person must look.
    """
    symbol = judged.prepared.symbol
    if hold := held(plan.home, symbol):
        return PromotionRef(outcome="held", reason=hold.sentence())
    try:
        answer = registry.promote(
            symbol,
            judged.stored.bundle,
            expected_champion=judged.judgement.champion,
            who=plan.who,
            why=_why(plan, symbol),
            now=now,
            run_id=plan.run_id,
        )
    except RecordError:
        raise
    except PromotionError as error:
        return PromotionRef(outcome="held", reason=str(error))
    return PromotionRef(outcome="promoted", reason="" if answer.changed else "already champion")


def _why(plan: RunPlan, symbol: str) -> str:
    why = f"run {plan.run_id}: every blocking gate passed"
    approval = plan.approvals.get(symbol)
    if approval is None:
        return why
    return f"{why}; approved by {approval.by}" + (f": {approval.note}" if approval.note else "")
