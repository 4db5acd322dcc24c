"""One paid job: what is known before it is created, and what it came to.

What does not belong here: how jobs are recorded (ledger.py).
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

from models_lib.costs.prices import Price

Outcome = Literal["completed", "failed", "stopped"]
"""How a job ended. All three are billed."""
LONGEST_JOB: Final = timedelta(days=28)
"""AWS lets no training job run for longer: one that was submitted before that is over, whether somebody looked or not."""


@dataclass(frozen=True)
class CostLine:
    """A job that shall be created.

    Attributes:
        job: its name, which no other job of this ledger has.
        run_id: the run that pays for it.
        symbol: whose model it trains.
        backend: where, such as "sagemaker".
        instance_type: kind of machine.
        spot: whether it is a spare machine at a lower price.
        price: of the machine.
        ceiling_usd: the most that it may cost.
    """

    job: str
    run_id: str
    symbol: str
    backend: str
    instance_type: str
    spot: bool
    price: Price
    ceiling_usd: float


@dataclass(frozen=True)
class JobCost:
    """A job as the ledger knows it.

    Attributes:
        job: its name.
        run_id: the run that pays for it.
        symbol: whose model it trains.
        backend: where, such as "sagemaker".
        instance_type: kind of machine.
        spot: whether it is a spare machine at a lower price.
        usd_per_hour: the price at its submission.
        price_as_of: the day of that price.
        price_source: who said so.
        ceiling_usd: the most that it may cost.
        submitted_at: aware.
        billable_seconds: what is billed; None until the job has ended, like all that follows.
        training_seconds: how long it trained; with spot more than what is billed.
        cost_usd: billable time at that price.
        outcome: how it ended.
        ended_at: aware.
    """

    job: str
    run_id: str
    symbol: str
    backend: str
    instance_type: str
    spot: bool
    usd_per_hour: float
    price_as_of: date
    price_source: str
    ceiling_usd: float
    submitted_at: datetime
    billable_seconds: float | None = None
    training_seconds: float | None = None
    cost_usd: float | None = None
    outcome: Outcome | None = None
    ended_at: datetime | None = None

    @property
    def price(self) -> Price:
        """The price with its date."""
        return Price(self.usd_per_hour, self.price_as_of, self.price_source)

    @property
    def committed_usd(self) -> float:
        """What it cost; its ceiling while nobody knows."""
        return self.ceiling_usd if self.cost_usd is None else self.cost_usd

    @property
    def month(self) -> str:
        """The UTC month that it counts to: of its end, or of its submission while it has none."""
        return month_of(self.ended_at or self.submitted_at)

    @property
    def spot_saving(self) -> float | None:
        """The share of the training time that was not billed; None where there was none, or without spot."""
        if not self.spot or self.billable_seconds is None or not self.training_seconds:
            return None
        return max(0.0, 1.0 - self.billable_seconds / self.training_seconds)

    def committed_in(self, now: datetime) -> float:
        """What it takes from the budget of the month of `now`, in USD.

        A job without an end counts with its ceiling in the month of its submission, and later while it can still run.
        """
        here = self.month == month_of(now)
        if self.ended_at is None:
            here = here or now - self.submitted_at < LONGEST_JOB
        return self.committed_usd if here else 0.0


def month_of(time: datetime) -> str:
    """The UTC month of an aware time, as in `2026-11`."""
    return f"{time.astimezone(UTC):%Y-%m}"
