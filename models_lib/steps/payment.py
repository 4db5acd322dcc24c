"""What the paid jobs of a run may cost, what a person or a budget decided about it, and what they came to.

The decision is kept in the run folder: a run that goes on after a pause or a crash neither asks nor decides again.

What does not belong here: asking (flows/paid.py), prices (tasks/adapters/sagemaker), and what budgets allow (models_lib.costs).
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import AwareDatetime, ValidationError

from models_lib.config import SageMakerSection
from models_lib.costs import Budgets, CostLedger, JobCost, Price, ceiling_usd, month_of, told_usd
from models_lib.errors import ConfigError
from models_lib.files import write_text
from models_lib.reports import wording
from models_lib.steps.refs import Reference

QUOTE_NAME, PAYMENT_NAME = "quote.json", "payment.json"
Kept = TypeVar("Kept", bound=Reference)


class Quote(Reference):
    """What one job a symbol may cost, and usually costs."""

    at: AwareDatetime
    instance_type: str
    spot: bool
    usd_per_hour: float
    price_as_of: date
    price_source: str
    job_ceiling_usd: float
    """Of one job."""
    estimates_usd: dict[str, float | None]
    """By symbol, what such jobs usually cost; None: not measured yet."""
    per_run_usd: float | None
    """The budget of a run; None: there is none."""
    per_month_usd: float | None
    month_usd: float
    """What counts to the month's budget already."""

    @property
    def price(self) -> Price:
        """With its date."""
        return Price(self.usd_per_hour, self.price_as_of, self.price_source)

    @property
    def ceiling_usd(self) -> float:
        """Of all jobs together."""
        return self.job_ceiling_usd * len(self.estimates_usd)

    @property
    def estimate_usd(self) -> float | None:
        """Of all jobs together; None when one was not measured yet."""
        known = [usd for usd in self.estimates_usd.values() if usd is not None]
        return math.fsum(known) if len(known) == len(self.estimates_usd) else None

    def sentence(self) -> str:
        """How much, for what, at which price."""
        count = len(self.estimates_usd)
        jobs = f"{count} {'job' if count == 1 else 'jobs'} on {self.instance_type}{' (spot)' if self.spot else ''}"
        return (
            f"{jobs} for {', '.join(self.estimates_usd)} may cost up to {self.ceiling_usd:.2f} USD together (estimate: "
            f"{_usd(self.estimate_usd)}), at {self.price.sentence()}"
        )

    def markdown(self) -> str:
        """What a person is shown above the question."""
        budgets = {
            "of the run": _budget(self.per_run_usd),
            f"of {month_of(self.at)} (UTC)": f"{_budget(self.per_month_usd)}; {self.month_usd:.2f} USD of it cost or may "
            f"still cost by jobs of before",
        }
        return "\n".join(
            [
                f"{self.sentence()[:1].upper()}{self.sentence()[1:]}.",
                "",
                "| symbol | estimate | at most |",
                "|---|---:|---:|",
                *(
                    f"| {symbol} | {_usd(usual)} | {self.job_ceiling_usd:.2f} USD |"
                    for symbol, usual in self.estimates_usd.items()
                ),
                "",
                *(f"- budget {name}: {told}" for name, told in budgets.items()),
            ]
        )


class Payment(Reference):
    """What was decided about a quote."""

    quote: Quote
    decision: Literal["approve", "refuse"]
    how: Literal["asked", "in advance", "budgets"]
    """A person was asked; a person who started the run said so in advance; or nobody is asked, within both budgets."""
    by: str
    note: str = ""

    @property
    def most_usd(self) -> float | None:
        """The most that the run's jobs may cost together: the budget, and never more than what a person has approved."""
        approved = None if self.how == "budgets" else self.quote.ceiling_usd
        limits = [limit for limit in (self.quote.per_run_usd, approved) if limit is not None]
        return min(limits, default=None)

    def refusal(self) -> str:
        """Why the run ends without a job."""
        why = f": {self.note}" if self.note else ""
        return (
            f"{self.by} refused to pay up to {self.quote.ceiling_usd:.2f} USD{why}. No job was submitted and nothing was "
            f"billed; start a new run to ask again."
        )


def quote_of(section: SageMakerSection, price: Price, *, home: Path, symbols: Sequence[str], now: datetime) -> Quote:
    """The quote for one job a symbol, by the limits of the configuration and by what the ledger has measured.

    Args:
        section: machine, limits, budgets.
        price: of the machine.
        home: whose ledger of costs knows earlier jobs.
        symbols: whose models shall be trained.
        now: aware.
    """
    ledger, kind = CostLedger(home), section.instance_type
    return Quote(
        at=now,
        instance_type=kind,
        spot=section.spot,
        usd_per_hour=price.usd_per_hour,
        price_as_of=price.as_of,
        price_source=price.source,
        job_ceiling_usd=ceiling_usd(price, max_runtime_seconds=section.max_runtime_seconds),
        estimates_usd={symbol: ledger.estimate_usd(price, symbol=symbol, instance_type=kind) for symbol in symbols},
        per_run_usd=section.budget_per_run_usd,
        per_month_usd=section.budget_per_month_usd,
        month_usd=ledger.committed(now),
    )


def budgets_of(section: SageMakerSection, payment: Payment | None) -> Budgets:
    """The budgets that bind a run's jobs: the configured ones, and what a person has approved for it."""
    per_run = section.budget_per_run_usd if payment is None else payment.most_usd
    return Budgets(per_run, section.budget_per_month_usd)


def keep_quote(folder: Path, quote: Quote) -> Quote:
    """Keeps what a person is asked about in the run folder: prices may change before the answer."""
    write_text(folder / QUOTE_NAME, quote.model_dump_json(indent=2) + "\n")
    return quote


def kept_quote(folder: Path) -> Quote | None:
    """What was asked about, if this run came so far before.

    Raises:
        ConfigError: it cannot be read.
    """
    return _kept(folder / QUOTE_NAME, Quote)


def keep_payment(folder: Path, payment: Payment) -> None:
    """Keeps the decision in the run folder."""
    write_text(folder / PAYMENT_NAME, payment.model_dump_json(indent=2) + "\n")


def kept_payment(folder: Path) -> Payment | None:
    """The decision of before, if this run came so far before.

    Raises:
        ConfigError: it cannot be read.
    """
    return _kept(folder / PAYMENT_NAME, Payment)


def _kept(path: Path, kind: type[Kept]) -> Kept | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        raise ConfigError(
            f"{path}: what was decided about the costs of this run cannot be read by this version. Start a new run."
        ) from error


def cost_rows(run_id: str, payment: Payment, *, home: Path) -> list[dict[str, str]]:
    """One row a symbol: what its job usually costs, what it may cost, and what this run's jobs of it came to."""
    by_symbol: Mapping[str, list[JobCost]] = {symbol: [] for symbol in payment.quote.estimates_usd}
    for job in CostLedger(home).of_run(run_id):
        by_symbol.get(job.symbol, []).append(job)
    return [
        {
            "symbol": symbol,
            "estimate": _usd(payment.quote.estimates_usd[symbol]),
            "ceiling": f"{payment.quote.job_ceiling_usd:.2f} USD",
            "billed": _billed(jobs),
            "price": payment.quote.price.sentence(),
        }
        for symbol, jobs in by_symbol.items()
    ]


def _billed(jobs: Sequence[JobCost]) -> str:
    if not jobs:
        return "0.00 USD, no job of this run"
    billed = math.fsum(job.cost_usd or 0.0 for job in jobs)
    seconds = math.fsum(job.billable_seconds or 0.0 for job in jobs)
    told = f"{told_usd(billed)} USD for {wording.duration(seconds)}"
    count = f" in {len(jobs)} jobs" if len(jobs) > 1 else ""
    unsettled = sum(job.cost_usd is None for job in jobs)
    return f"{told}{count}{f'; {unsettled} without a bill yet' if unsettled else ''}"


def _usd(amount: float | None) -> str:
    return "not measured yet" if amount is None else f"{told_usd(amount)} USD"


def _budget(amount: float | None) -> str:
    return "none" if amount is None else f"{amount:.2f} USD"
