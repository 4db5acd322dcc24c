"""The ledger of costs: every paid job, what it may cost and what it cost, and the budgets that refuse the next one.

    costs.jsonl   one JSON line an event, appended and made durable before anything is billed (lines.py)
    costs.lock    flock of whoever checks a budget and writes

A job is reserved before it is created, so a process that dies in between has counted too much, never too little. The same
job reserved again by its run, also by another process, is the same reservation.

What does not belong here: what a budget allows (budgets.py), asking a person, prices, and talking to AWS.
"""

import logging
import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from statistics import median

from models_lib.costs.budgets import Budgets, committed_usd
from models_lib.costs.jobs import CostLine, JobCost, Outcome
from models_lib.costs.lines import Record, Released, Reserved, Settled, read_record
from models_lib.costs.prices import Price, usd_of
from models_lib.errors import PreflightError
from models_lib.files import append_line
from models_lib.locks import locked

LEDGER_NAME = "costs.jsonl"
LOCK_SECONDS = 60.0
"""The lock is held for milliseconds."""
_log = logging.getLogger("models_lib")


class CostLedger:
    """The ledger in the state folder `home`; every call reads the file anew, as other processes write it, too."""

    def __init__(self, home: Path) -> None:
        self._home = home.absolute()
        self.path = self._home / LEDGER_NAME

    def reserve(
        self, line: CostLine, *, per_run_usd: float | None, per_month_usd: float | None, now: datetime
    ) -> JobCost:
        """Takes the job's ceiling from the budgets, before the job is created. The same job of the same run again is nothing.

        A job that another run reserved, and that has not ended, was never created: whoever reserves it now will pay for it,
        at the limits and the price of now.

        What counts to a budget: what ended jobs cost, the ceilings of all others, and this ceiling. To that of the month
        (UTC) count the jobs that ended in it, were submitted in it without an end, or can still run.

        Args:
            line: the job.
            per_run_usd: the most for the jobs of its run together; None: no limit.
            per_month_usd: the most for the month of `now`; None: no limit.
            now: aware.

        Raises:
            PreflightError: a budget does not allow it; nothing was written.
            BusyError: another process held the ledger for a minute.
        """
        with self._writing():
            record = self._told()
            known = record.jobs.get(line.job)
            if known is not None and (known.outcome is not None or known.run_id == line.run_id):
                return known
            budgets = Budgets(per_run_usd, per_month_usd)
            jobs = [job for job in record.jobs.values() if job.job != line.job]
            if over := budgets.overdrawn_by(line.ceiling_usd, jobs, run_id=line.run_id, now=now):
                subject = f"{line.symbol}: job {line.job} may cost up to {line.ceiling_usd:.2f} USD."
                raise PreflightError(f"{subject} {' '.join(over)} It was not submitted and nothing was billed.")
            if known is not None:
                append_line(self.path, Released(time=now, job=line.job).line())
            return self._reserved(line, now)

    def adopt(self, line: CostLine, *, now: datetime) -> JobCost:
        """Takes in a job that was found running, or ended, without being known here: no budget can stop it any more."""
        with self._writing():
            return self._told().jobs.get(line.job) or self._reserved(line, now)

    def settle(
        self, job: str, *, billable_seconds: float, training_seconds: float | None, outcome: Outcome, now: datetime
    ) -> JobCost:
        """Writes what an ended job is billed, at the price of its reservation. Settling again keeps the first figures.

        Args:
            job: its name.
            billable_seconds: as the place says.
            training_seconds: from the start of the training to its end; None: never said.
            outcome: how it ended.
            now: when it ended, aware; the month of this time is billed.

        Raises:
            KeyError: the job was never reserved or adopted.
            BusyError: another process held the ledger for a minute.
        """
        with self._writing():
            record = self._told()
            known = record.jobs.get(job) or record.released[job]
            if known.outcome is not None:
                return known
            settled = Settled(
                time=now,
                job=job,
                billable_seconds=billable_seconds,
                training_seconds=training_seconds,
                cost_usd=usd_of(billable_seconds, known.usd_per_hour),
                outcome=outcome,
            )
            append_line(self.path, settled.line())
            return self._record().jobs[job]

    def release(self, job: str, *, now: datetime) -> None:
        """Gives the ceiling of a job back that was not created. A job that is unknown, or has ended, stays as it is."""
        with self._writing():
            known = self._told().jobs.get(job)
            if known is not None and known.outcome is None:
                append_line(self.path, Released(time=now, job=job).line())

    def jobs(self) -> tuple[JobCost, ...]:
        """Every job, in the order of submission."""
        return tuple(self._record().jobs.values())

    def damaged_lines(self) -> tuple[int, ...]:
        """Numbers of the lines, from 1, that cannot be read; a process that died may have left half of one."""
        return self._record().damaged

    def of_job(self, job: str) -> JobCost | None:
        """The job of that name, if there is one."""
        return self._record().jobs.get(job)

    def of_run(self, run_id: str) -> tuple[JobCost, ...]:
        """The jobs that a run pays for."""
        return tuple(job for job in self.jobs() if job.run_id == run_id)

    def by_run(self) -> dict[str, tuple[JobCost, ...]]:
        """Jobs by run, the oldest run first."""
        return _grouped((job.run_id, job) for job in self.jobs())

    def by_symbol(self) -> dict[str, tuple[JobCost, ...]]:
        """Jobs by symbol, in order of name."""
        return dict(sorted(_grouped((job.symbol, job) for job in self.jobs()).items()))

    def by_month(self) -> dict[str, tuple[JobCost, ...]]:
        """Jobs by UTC month of their end, or of their submission while they have none; the oldest month first."""
        return dict(sorted(_grouped((job.month, job) for job in self.jobs()).items()))

    def running(self) -> tuple[JobCost, ...]:
        """Jobs whose end nobody has settled yet."""
        return tuple(job for job in self.jobs() if job.outcome is None)

    def spent(self, month: str) -> float:
        """What the jobs that ended in a UTC month, as in `2026-11`, are billed in USD."""
        return math.fsum(job.cost_usd for job in self.jobs() if job.cost_usd is not None and job.month == month)

    def committed(self, now: datetime) -> float:
        """What counts to the budget of the month of `now` already, in USD: billed, and ceilings of what can still run."""
        return committed_usd(self.jobs(), now)

    def usual_seconds(self, *, symbol: str, instance_type: str) -> float | None:
        """The median of what completed jobs of this symbol on this kind of machine were billed; None: not measured yet.

        It is not scaled by rows or epochs: early stopping decides how many epochs there are, not the number of rows.
        """
        billed = [
            job.billable_seconds
            for job in self.jobs()
            if job.outcome == "completed" and (job.symbol, job.instance_type) == (symbol, instance_type)
        ]
        measured = [seconds for seconds in billed if seconds is not None]
        return median(measured) if measured else None

    def estimate_usd(self, price: Price, *, symbol: str, instance_type: str) -> float | None:
        """What such a job usually takes, at this price; None: not measured yet."""
        seconds = self.usual_seconds(symbol=symbol, instance_type=instance_type)
        return None if seconds is None else usd_of(seconds, price.usd_per_hour)

    def _reserved(self, line: CostLine, now: datetime) -> JobCost:
        entry = Reserved.of(line, now)
        append_line(self.path, entry.line())
        return entry.as_job()

    def _writing(self) -> AbstractContextManager[None]:
        self._home.mkdir(parents=True, exist_ok=True)
        busy = f"{self.path}: another process has held the ledger of costs for {LOCK_SECONDS:g} s. Try again."
        return locked(self._home / "costs.lock", within_seconds=LOCK_SECONDS, otherwise=busy)

    def _record(self) -> Record:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            content = b""
        return read_record(content)

    def _told(self) -> Record:
        record = self._record()
        if record.damaged:
            _log.warning("%s", damage_sentence(self.path, record.damaged))
        return record


def damage_sentence(path: Path, damaged: tuple[int, ...]) -> str:
    """What is said of lines that cannot be read."""
    numbers = ", ".join(map(str, damaged))
    return (
        f"{path}: line {numbers} cannot be read and does not count; a process that died may have left half a line. "
        f"Compare the sums with AWS's bill if it was none."
    )


def _grouped(named: Iterable[tuple[str, JobCost]]) -> dict[str, tuple[JobCost, ...]]:
    groups: dict[str, tuple[JobCost, ...]] = {}
    for name, job in named:
        groups[name] = (*groups.get(name, ()), job)
    return groups
