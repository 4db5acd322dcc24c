"""A price with its date, and the arithmetic of costs.

What does not belong here: the prices themselves, which change with the calendar (tasks.adapters.sagemaker.tables).
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

BILLED_BEYOND_SECONDS: Final = 300.0
"""What may be billed beyond the time limit of a job: fetching image and data, the grace before it is killed, uploading."""


@dataclass(frozen=True)
class Price:
    """What one machine costs.

    Attributes:
        usd_per_hour: of billable time; storage, which is some cents a job, is left out.
        as_of: the day on which the price was known to hold.
        source: who said so, as in "table of crpbot" or "AWS Price List".
    """

    usd_per_hour: float
    as_of: date
    source: str

    def __post_init__(self) -> None:
        """A price is a positive number; nothing is free."""
        if not 0.0 < self.usd_per_hour < float("inf"):
            raise ValueError(f"usd_per_hour must be above 0 and finite, was {self.usd_per_hour}")

    def sentence(self) -> str:
        """The price with its date and source."""
        return f"{self.usd_per_hour:g} USD/h as of {self.as_of.isoformat()} ({self.source})"


def usd_of(billable_seconds: float, usd_per_hour: float) -> float:
    """What so many billable seconds cost, in USD.

    Examples:
        >>> usd_of(1800, 1.41)
        0.705
    """
    return billable_seconds / 3600.0 * usd_per_hour


def told_usd(amount: float) -> str:
    """The amount for people: cents, and below a cent what there is.

    Examples:
        >>> told_usd(2.9375), told_usd(0.0), told_usd(0.0021)
        ('2.94', '0.00', '0.0021')
    """
    return f"{amount:.4f}" if 0.0 < amount < 0.01 else f"{amount:.2f}"


def ceiling_usd(price: Price, *, max_runtime_seconds: float) -> float:
    """The most that one job costs: its time limit, and what may be billed beyond it, at this price.

    Examples:
        >>> round(ceiling_usd(Price(1.41, date(2026, 11, 1), "a table"), max_runtime_seconds=7200), 4)
        2.9375
    """
    return usd_of(max_runtime_seconds + BILLED_BEYOND_SECONDS, price.usd_per_hour)
