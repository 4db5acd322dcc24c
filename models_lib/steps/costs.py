"""What a run's trainings cost, from the ledger of costs.

What does not belong here: asking a person before a job is paid (payment.py), and the ledger itself (models_lib.costs).
"""

import logging
from pathlib import Path

from models_lib.costs import CostLedger
from models_lib.errors import PreflightError
from models_lib.reports.inputs import PaidTraining
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import TrainedRef

_MOST_DRAWN = 120
_log = logging.getLogger("models_lib")


def cost_of_training(home: Path, trained: TrainedRef) -> float | None:
    """What the job that trained it was billed in USD, whichever run paid for it; 0 where nothing was paid.

    None, and a warning, where a job was paid and this home's ledger knows no bill: it is never guessed.
    """
    if trained.paid_job is None:
        return 0.0
    ledger = CostLedger(home)
    job = ledger.of_job(trained.paid_job)
    if job is None or job.cost_usd is None:
        fact = "has no such job: another installation paid for it" if job is None else "has no bill of it yet"
        _log.warning(
            "%s: what job %s cost is not known; %s %s", trained.weights.path, trained.paid_job, ledger.path, fact
        )
        return None
    return job.cost_usd


def paid_trainings(home: Path, symbol: str) -> tuple[PaidTraining, ...]:
    """What the newest paid trainings of the symbol were billed, in order of time."""
    ended = [
        PaidTraining(ended_at=job.ended_at, usd=job.cost_usd)
        for job in CostLedger(home).by_symbol().get(symbol, ())
        if job.ended_at is not None and job.cost_usd is not None
    ]
    return tuple(sorted(ended, key=lambda each: each.ended_at)[-_MOST_DRAWN:])


def refuse_unapproved(plan: RunPlan) -> None:
    """Returns where nothing is paid, the budgets answer for it, or somebody has approved it.

    A run asks before it launches its symbols; this holds for whoever trains a symbol without such a run.

    Raises:
        PreflightError: nobody has approved what the job may cost.
    """
    asks = plan.config.training.backend == "sagemaker" and plan.config.training.sagemaker.approval == "required"
    if asks and (plan.payment is None or plan.payment.decision != "approve"):
        raise PreflightError(
            f"run {plan.run_id}: nobody has approved what its jobs on rented machines may cost; no job was submitted and "
            f"nothing was billed. Start it as train-all, or with training.sagemaker.approval=auto under budgets."
        )
