"""Paid jobs for the tests: one price, one ceiling, a time that each test chooses."""

import dataclasses
from datetime import UTC, date, datetime
from typing import Any

from models_lib.costs import CostLedger, CostLine, JobCost, Price

PRICE = Price(usd_per_hour=1.44, as_of=date(2026, 11, 1), source="a table")
NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
LINE = CostLine(
    job="crpbot-btc-usd-0123456789ab-1",
    run_id="20261121T020000Z-0a1b2c3d4e5f",
    symbol="BTC-USD",
    backend="sagemaker",
    instance_type="ml.g5.xlarge",
    spot=False,
    price=PRICE,
    ceiling_usd=3.0,
)


def line(job: str, **changes: Any) -> CostLine:
    return dataclasses.replace(LINE, job=job, **changes)


def reserve(
    ledger: CostLedger,
    asked: CostLine,
    *,
    per_run_usd: float | None = None,
    per_month_usd: float | None = None,
    now: datetime = NOW,
) -> JobCost:
    return ledger.reserve(asked, per_run_usd=per_run_usd, per_month_usd=per_month_usd, now=now)


def settle(ledger: CostLedger, job: str, billable_seconds: float = 1800, **changes: Any) -> JobCost:
    given: dict[str, Any] = {"training_seconds": billable_seconds, "outcome": "completed", "now": NOW} | changes
    return ledger.settle(job, billable_seconds=billable_seconds, **given)


def paid(ledger: CostLedger, job: str, billable_seconds: float = 1800, **changes: Any) -> JobCost:
    """A job that was reserved and has ended."""
    reserve(ledger, line(job, **changes))
    return settle(ledger, job, billable_seconds)
