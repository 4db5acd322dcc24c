"""What was paid for what: the ledger's jobs summed by run, symbol, month, or promoted model, as plain values.

What does not belong here: how a person is shown it (flows/commands/costs.py).
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from models_lib.costs.jobs import JobCost
from models_lib.costs.ledger import CostLedger
from models_lib.registry.ledger import LedgerEntry


@dataclass(frozen=True)
class PaidModel:
    """A bundle that became champion.

    Attributes:
        bundle: its hash.
        symbol: whose champion.
        promoted_at: the first time.
        run_id: the run that promoted it.
    """

    bundle: str
    symbol: str
    promoted_at: datetime
    run_id: str | None


@dataclass(frozen=True)
class Item:
    """One line of a statement.

    Attributes:
        name: the run, symbol, month or bundle.
        jobs: what it is the sum of; a model's are those of its run and symbol, also failed ones.
        cost_usd: what was billed; of a model what its training was billed. None: not known on this machine.
        open_usd: ceilings of jobs without an end.
        model: of a statement by model.
    """

    name: str
    jobs: tuple[JobCost, ...]
    cost_usd: float | None
    open_usd: float
    model: PaidModel | None = None

    @property
    def billable_seconds(self) -> float:
        """Of all jobs together."""
        return math.fsum(job.billable_seconds or 0.0 for job in self.jobs)

    @property
    def spot_saving(self) -> float | None:
        """The share of the training time of its spot jobs that was not billed; None where that was never measured."""
        measured = [job for job in self.jobs if job.spot_saving is not None]
        if not measured:
            return None
        trained = math.fsum(job.training_seconds or 0.0 for job in measured)
        return math.fsum((job.spot_saving or 0.0) * (job.training_seconds or 0.0) for job in measured) / trained

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        told: dict[str, Any] = {
            "name": self.name,
            "cost_usd": self.cost_usd,
            "open_usd": self.open_usd,
            "billable_seconds": self.billable_seconds,
            "spot_saving": self.spot_saving,
            "jobs": [job_json(job) for job in self.jobs],
        }
        if self.model is not None:
            when = self.model.promoted_at.isoformat()
            told |= {"symbol": self.model.symbol, "promoted_at": when, "run_id": self.model.run_id}
        return told


def statement(ledger: CostLedger, by: Literal["run", "symbol", "month"]) -> tuple[Item, ...]:
    """One item a run (the oldest first), symbol or UTC month."""
    groups: Mapping[str, tuple[JobCost, ...]]
    match by:
        case "run":
            groups = ledger.by_run()
        case "symbol":
            groups = ledger.by_symbol()
        case "month":
            groups = ledger.by_month()
    return tuple(_item(name, jobs) for name, jobs in groups.items())


def statement_of_models(ledger: CostLedger, entries: Iterable[LedgerEntry]) -> tuple[Item, ...]:
    """One item for each bundle that became champion, in the order of the first time.

    Its cost is that of its promotion's entry: of the job that trained it, whichever run paid for that.

    Args:
        ledger: of costs.
        entries: of the registry's ledger, the oldest first.
    """
    first: dict[str, LedgerEntry] = {}
    for entry in entries:
        if entry.action == "promote" and entry.to_bundle is not None:
            first.setdefault(entry.to_bundle, entry)
    jobs = ledger.jobs()
    return tuple(_item_of_model(bundle, entry, jobs) for bundle, entry in first.items())


def together(items: Sequence[Item]) -> Item:
    """All items as one."""
    jobs = tuple({job.job: job for item in items for job in item.jobs}.values())
    known = math.fsum(item.cost_usd or 0.0 for item in items)
    return Item("together", jobs, known, _open_usd(jobs))


def job_json(job: JobCost) -> dict[str, Any]:
    """The job as plain values."""
    return {name: _plain(value) for name, value in dataclasses.asdict(job).items()}


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value  # a datetime is a date, too


def _item(name: str, jobs: tuple[JobCost, ...]) -> Item:
    return Item(name, jobs, math.fsum(job.cost_usd or 0.0 for job in jobs), _open_usd(jobs))


def _item_of_model(bundle: str, entry: LedgerEntry, jobs: Iterable[JobCost]) -> Item:
    own = tuple(job for job in jobs if (job.run_id, job.symbol) == (entry.run_id, entry.symbol))
    model = PaidModel(bundle, entry.symbol, entry.time, entry.run_id)
    return Item(bundle, own, entry.cost_usd, _open_usd(own), model)


def _open_usd(jobs: Iterable[JobCost]) -> float:
    return math.fsum(job.ceiling_usd for job in jobs if job.cost_usd is None)
