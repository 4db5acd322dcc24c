"""The sections that the trading host reads as well: what a signal looks like and what it may risk.

They say nothing about the model: no bundle's hash depends on them.

What does not belong here: how a bundle is made and judged (sections.py), and anything that acts on the values.
"""

import zoneinfo
from datetime import UTC, tzinfo
from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from models_lib.config.section import PositiveFloat, Section, Share
from models_lib.config.sections import SymbolName

Percent = Annotated[float, Field(gt=0.0, lt=100.0, allow_inf_nan=False)]
Multiple = Annotated[float, Field(gt=0.0, le=100.0, allow_inf_nan=False)]


def zone_of(name: str) -> tzinfo:
    """The time zone of an IANA name; `UTC` needs no data base of zones.

    Raises:
        ValueError: this machine knows no such zone.
    """
    if name == "UTC":
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            "must be an IANA time zone that this machine knows, such as America/New_York or UTC; "
            "without any (package tzdata) only UTC is known"
        ) from error


class ExchangeRules(Section):
    """What an exchange accepts as an order of one symbol."""

    price_step: PositiveFloat
    """Prices are multiples of it, in the quote currency."""
    size_step: PositiveFloat
    """Sizes are multiples of it, in the base coin."""
    min_size: PositiveFloat
    """Smallest size of an order, in the base coin."""
    min_notional: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    """Smallest value of an order, in the quote currency."""


_SPOT_RULES: Final = {
    "BTC-USD": ExchangeRules(price_step=0.01, size_step=0.00001, min_size=0.00001, min_notional=5.0),
    "ETH-USD": ExchangeRules(price_step=0.01, size_step=0.0001, min_size=0.0001, min_notional=5.0),
    "SOL-USD": ExchangeRules(price_step=0.01, size_step=0.001, min_size=0.001, min_notional=5.0),
}


class SignalsSection(Section):
    """What a signal proposes: entry, stop, target, size, expiry (SPEC 12). A signal places no order."""

    min_confidence: Annotated[float, Field(ge=1.0 / 3.0, le=1.0, allow_inf_nan=False)] = 0.60
    """Smallest calibrated probability of UP or DOWN that is spoken of."""
    expiry_minutes: Annotated[int, Field(ge=1, le=1_440)] = 30
    """Life of a signal. The label's horizon (15) and as long again: when the time is up, the label has matured even of a
    fill in the middle."""
    one_at_a_time: bool = True
    """While a signal has not expired, no other of the same symbol and direction is issued: each would risk
    `risk_per_trade` once more, and a steady trend gives one a minute."""
    levels: Literal["volatility", "fixed"] = "volatility"
    """`volatility`: entry range, stop and target are multiples of the move that is forecast for the signal's life;
    `fixed`: percentages of the price."""
    volatility_minutes: Annotated[int, Field(ge=15, le=240)] = 240
    """The forecast: root mean square of the one-minute log returns of so many minutes, times the root of the life."""
    min_volatility_percent: Percent = 0.10
    """A smaller forecast for the life counts as this: the costs of a round trip (10 bp), below which no level pays."""
    entry_range_multiple: Multiple = 0.25
    """Width of the entry range, in forecast moves."""
    stop_multiple: Multiple = 1.0
    """Distance of the stop from the entry, in forecast moves."""
    target_multiple: Multiple = 1.8
    """Distance of the target from the entry, in forecast moves; 1:1.8 is the ratio that operators know."""
    entry_range_percent: Percent = 0.74
    """Width of the entry range of `fixed`, in percent of the price."""
    stop_percent: Percent = 1.5
    """Distance of the stop of `fixed`, in percent of the entry."""
    target_percent: Percent = 2.7
    """Distance of the target of `fixed`, in percent of the entry."""
    min_risk_reward: Annotated[float, Field(ge=0.0, le=100.0, allow_inf_nan=False)] = 0.67
    """Smallest reward per risk at the worst fill. At the smallest confidence, 0.60, less than 0.40 / 0.60 loses even
    if every call came true as often as it claims."""
    account_balance: PositiveFloat = 10_000.0
    """Account that sizes are computed for, in `currency`."""
    currency: Annotated[str, Field(pattern=r"^[A-Z0-9]{2,10}$")] = "USD"
    """Of the account; symbols quoted in another one get no signal."""
    risk_per_trade: Annotated[Share, Field(gt=0.0)] = 0.01
    """Share of the account that a signal may lose at its stop, wherever in the entry range it is filled."""
    max_leverage: Annotated[int, Field(ge=1, le=125)] = 10
    """Leverage that is set at the exchange; the value of a position never exceeds the account times it."""
    exchange: dict[SymbolName, ExchangeRules] = Field(default_factory=lambda: dict(_SPOT_RULES))
    """Steps and minimums by symbol, those of a spot exchange; a symbol without rules gets no signal."""
    time_zone: str = "America/New_York"
    """Zone of the times in a signal's text; JSON has UTC."""

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, name: str) -> str:
        zone_of(name)
        return name

    @model_validator(mode="after")
    def _target_lies_beyond_the_entry_range(self) -> Self:
        if self.target_multiple <= self.entry_range_multiple or self.target_percent <= self.entry_range_percent:
            raise ValueError(
                "target_multiple must exceed entry_range_multiple, and target_percent entry_range_percent: "
                "the worst fill would have nothing to gain"
            )
        return self
