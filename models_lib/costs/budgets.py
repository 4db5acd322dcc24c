"""What the budgets of a run and of a month leave, by the jobs that there are.

What does not belong here: the record of jobs (ledger.py) and a person's approval.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from models_lib.costs.jobs import JobCost, month_of

_ROUNDING_USD = 1e-6
"""Sums of amounts that are not exact in binary: a budget of exactly three ceilings allows three jobs."""


@dataclass(frozen=True)
class Budgets:
    """The most that may be spent; None is no limit.

    Attributes:
        per_run_usd: for the jobs of one run together.
        per_month_usd: for the jobs of one UTC month.
    """

    per_run_usd: float | None
    per_month_usd: float | None

    def overdrawn_by(
        self, more_usd: float, jobs: Iterable[JobCost], *, run_id: str | None, now: datetime
    ) -> tuple[str, ...]:
        """One sentence for each budget that does not allow so much more; empty: it is allowed.

        Args:
            more_usd: ceiling of a job, or of several together.
            jobs: all that the ledger knows.
            run_id: the run that shall pay; None: one that has no jobs yet.
            now: aware; its month pays.
        """
        jobs = tuple(jobs)
        return (*self._of_the_run(more_usd, jobs, run_id), *self._of_the_month(more_usd, jobs, now))

    def _of_the_run(self, more_usd: float, jobs: Iterable[JobCost], run_id: str | None) -> Iterable[str]:
        taken = math.fsum(job.committed_usd for job in jobs if job.run_id == run_id)
        if _allows(self.per_run_usd, taken + more_usd):
            return
        yield (
            f"With the {taken:.2f} USD of this run's jobs that is {taken + more_usd:.2f} USD (at most {self.per_run_usd:.2f} "
            f"allowed a run, by its budget or by what was approved). Lower training.sagemaker.max_runtime_seconds, train "
            f"fewer symbols, raise training.sagemaker.budget_per_run_usd, or start a new run, which asks anew."
        )

    def _of_the_month(self, more_usd: float, jobs: Iterable[JobCost], now: datetime) -> Iterable[str]:
        taken = committed_usd(jobs, now)
        if _allows(self.per_month_usd, taken + more_usd):
            return
        yield (
            f"With the {taken:.2f} USD that jobs of {month_of(now)} (UTC) cost or may still cost that is "
            f"{taken + more_usd:.2f} USD (at most {self.per_month_usd:.2f} allowed a month). Wait for the next month, see "
            f"`crpbot costs`, or raise training.sagemaker.budget_per_month_usd."
        )


def committed_usd(jobs: Iterable[JobCost], now: datetime) -> float:
    """What counts to the budget of the month of `now`: billed amounts, and ceilings of what can still run."""
    return math.fsum(job.committed_in(now) for job in jobs)


def _allows(budget_usd: float | None, needed_usd: float) -> bool:
    return budget_usd is None or needed_usd <= budget_usd + _ROUNDING_USD
