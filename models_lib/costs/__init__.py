"""What trainings cost: prices with their date, ceilings before a job, and the record of what was billed.

    ledger = CostLedger(home)
    ledger.reserve(line, per_run_usd=10.0, per_month_usd=100.0, now=now)   # before the job is created, or PreflightError
    ledger.settle(job, billable_seconds=1840, training_seconds=1720, outcome="completed", now=ended_at)

What does not belong here: where prices come from and how a job is billed (tasks.adapters.sagemaker), and asking a person.
"""

from models_lib.costs.budgets import Budgets
from models_lib.costs.jobs import CostLine, JobCost, Outcome, month_of
from models_lib.costs.ledger import CostLedger
from models_lib.costs.prices import BILLED_BEYOND_SECONDS, Price, ceiling_usd, told_usd, usd_of

__all__ = [
    "BILLED_BEYOND_SECONDS",
    "Budgets",
    "CostLedger",
    "CostLine",
    "JobCost",
    "Outcome",
    "Price",
    "ceiling_usd",
    "month_of",
    "told_usd",
    "usd_of",
]
