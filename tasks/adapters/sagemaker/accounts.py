"""What the jobs of this home cost: reserved before they are created, settled when they are seen to be over.

What does not belong here: the ledger's file and the budgets (models_lib.costs).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from models_lib.config import SageMakerSection
from models_lib.costs import Budgets, CostLedger, CostLine, JobCost, Outcome, Price, ceiling_usd
from models_lib.costs.prices import usd_of
from models_lib.errors import ConfigError, TransientError
from tasks.adapters.sagemaker.alarm import FailedJobsAlarm
from tasks.adapters.sagemaker.jobs import Jobs
from tasks.adapters.sagemaker.state import JobState

BACKEND: Final = "sagemaker"
_OUTCOMES: Final[dict[str, Outcome]] = {"Completed": "completed", "Failed": "failed", "Stopped": "stopped"}
_log = logging.getLogger("models_lib.backends")


@dataclass(frozen=True)
class Accounts:
    """The ledger of this home, for the jobs of one run.

    Attributes:
        ledger: of the home.
        run_id: the run that pays.
        section: machine and limits.
        price: of the machine.
        budgets: that bind the run's jobs.
        alarm: is told of failures.
        clock: aware time.
    """

    ledger: CostLedger
    run_id: str
    section: SageMakerSection
    price: Price
    budgets: Budgets
    alarm: FailedJobsAlarm
    clock: Callable[[], datetime]

    def reserve(self, symbol: str, job: str) -> bool:
        """Takes the job's ceiling from the budgets; False when this run, or a process that works beside it, had it taken.

        Raises:
            PreflightError: a budget does not allow it.
        """
        before = self.ledger.of_job(job)
        reserved = self.ledger.reserve(
            self._line(symbol, job),
            per_run_usd=self.budgets.per_run_usd,
            per_month_usd=self.budgets.per_month_usd,
            now=self.clock(),
        )
        return before is None and reserved.run_id == self.run_id

    def has_ended(self, job: str) -> bool:
        """Whether the ledger knows what the job came to."""
        known = self.ledger.of_job(job)
        return known is not None and known.outcome is not None

    def release(self, job: str) -> None:
        """The job was not created."""
        self.ledger.release(job, now=self.clock())

    def adopt(self, symbol: str, job: str) -> None:
        """The job runs, or ran, whether this home knew of it or not."""
        self.ledger.adopt(self._line(symbol, job), now=self.clock())

    def settle(self, symbol: str, state: JobState) -> JobCost:
        """Writes what a job that is over is billed, once; a failure that nobody saw before is counted for the alarm."""
        now = self.clock()
        known = self.ledger.adopt(self._line(symbol, state.name), now=now)
        if known.outcome is not None:
            return known
        if state.status == "Failed" or state.secondary.startswith("Max"):
            self.alarm.count_failure()
        return self.ledger.settle(
            state.name,
            billable_seconds=state.billable_seconds(now),
            training_seconds=state.seconds(now),
            outcome=_OUTCOMES[state.status],
            now=state.ended_at or now,
        )

    def settle_what_ended(self, jobs: Jobs) -> None:
        """Settles jobs of earlier runs that ended while nobody looked, so that their ceilings burden no budget."""
        for job in self.ledger.running():
            if job.backend != BACKEND or job.run_id == self.run_id:
                continue
            try:
                state = jobs.describe(job.job)
                if state is not None and state.over:
                    self.settle(job.symbol, state)
            except (TransientError, ConfigError) as error:
                _log.warning("what job %s cost is not settled yet: %s", job.job, error)
                return

    def sentence(self, state: JobState) -> str:
        """What the job cost, or has cost so far and may cost at most."""
        known = self.ledger.of_job(state.name)
        billable = state.billable_seconds(self.clock())
        usd_per_hour = known.usd_per_hour if known is not None else self.price.usd_per_hour
        usd = f"{usd_of(billable, usd_per_hour):.2f} USD ({billable:.0f} billable seconds)"
        if not state.over:
            most = known.ceiling_usd if known is not None else self._ceiling()
            return f"It has cost {usd} so far, and will cost at most {most:.2f} USD."
        return f"It cost {usd}." if billable else "Nothing was billed."

    def _line(self, symbol: str, job: str) -> CostLine:
        return CostLine(
            job=job,
            run_id=self.run_id,
            symbol=symbol,
            backend=BACKEND,
            instance_type=self.section.instance_type,
            spot=self.section.spot,
            price=self.price,
            ceiling_usd=self._ceiling(),
        )

    def _ceiling(self) -> float:
        return ceiling_usd(self.price, max_runtime_seconds=self.section.max_runtime_seconds)
