"""What is said: one signal, with every figure that a person or a machine needs, and none that contradicts another.

A signal is advice and places no order. Its figures are checked against each other when it is made and when it is read
again: a size that risks more than stated, or a stop on the wrong side, is no signal.

What does not belong here: how the figures come about (sizing.py, build.py), words for people (text.py), files.
"""

from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models_lib.signals.exact import EXACT

Direction = Literal["LONG", "SHORT"]
Price = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]
Figure = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Words = Annotated[str, Field(min_length=1)]

PROBABILITY_TOLERANCE = 1e-5
"""How far the three probabilities may be from a sum of 1: they come from float32 logits."""


class Signal(BaseModel):
    """One signal. Money, prices and sizes are decimals, and strings in JSON; times are aware, UTC in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    number: Annotated[int, Field(ge=1)]
    """Running number of the host, never given twice."""
    symbol: Words
    """Such as BTC-USD."""
    direction: Direction
    """LONG gains when the price rises, SHORT when it falls."""
    confidence: Probability
    """Calibrated probability of the class that `claim` names."""
    probabilities: tuple[Probability, Probability, Probability]
    """DOWN, NEUTRAL, UP."""
    bar_at: datetime
    """Open time of the bar that the signal was made from."""
    issued_at: datetime
    """Close time of that bar."""
    expires_at: datetime
    """From here on an order that is not filled is taken back, and an open position is closed."""
    price: Price
    """Close of the bar."""
    order_type: Literal["LIMIT"] = "LIMIT"
    entry_low: Price
    """Lower end of the entry range."""
    entry_high: Price
    """Upper end of the entry range."""
    entry: Price
    """Best fill, where the limit order is placed: the low end for LONG, the high end for SHORT."""
    stop: Price
    """Price at which the position is closed at a loss."""
    target: Price
    """Price at which a limit order closes the position at a gain."""
    stop_percent: Figure
    """Distance of the stop from `entry`, in percent."""
    target_percent: Figure
    """Distance of the target from `entry`, in percent."""
    risk_reward: Figure
    """Reward per unit of risk at the worst fill, rounded down."""
    risk_reward_best: Figure
    """The same at `entry`, the best fill, rounded down."""
    account_balance: Price
    """Account that the size was computed for, in `currency`."""
    risk_percent: Figure
    """Share of the account that may be lost, in percent."""
    risk_amount: Price
    """The most that may be lost at the stop, in `currency`; fees and slippage come on top."""
    size: Price
    """Size in units of the base currency that risks no more than `risk_amount` at the worst fill."""
    size_best: Price
    """Size that would risk no more than `risk_amount` if the fill at `entry` were certain."""
    risk_at_worst: Figure
    """What `size` loses at the stop when filled at the worst fill, in `currency`."""
    notional: Price
    """Value of `size` at the worst fill, in `currency`."""
    leverage: Annotated[int, Field(ge=1)]
    """Leverage set at the exchange; at no fill of the range is `size` worth more than the account times it."""
    currency: Words
    """Of the prices, the account and the amounts."""
    claim: Words
    """What the class means, and no more than that."""
    reasons: tuple[Words, ...]
    """What the newest bars say for it and against it, with the figures."""
    moved_by: tuple[tuple[Words, Annotated[float, Field(allow_inf_nan=False)]], ...] = ()
    """Features that moved this prediction most, each with its share of the change of the probability."""
    caveats: tuple[Words, ...] = ()
    """What limits the signal's worth, such as "no edge after costs measured"."""
    bundle: Words
    """Hash of the bundle that the probabilities come from."""
    simulated: bool
    """Whether the model learned from the simulated market."""

    @property
    def worst_entry(self) -> Decimal:
        """The fill of the entry range that is farthest from the stop: the dearest buy, the cheapest sale."""
        return self.entry_high if self.direction == "LONG" else self.entry_low

    def to_json(self) -> str:
        """The signal as one line of JSON; `model_validate_json` reads it again unchanged."""
        return self.model_dump_json()

    @model_validator(mode="after")
    def _sides_are_right(self) -> Self:
        low, high = self.entry_low, self.entry_high
        if self.direction == "LONG":
            right = self.stop < low <= high < self.target and self.entry == low and high <= self.price
        else:
            right = self.target < low <= high < self.stop and self.entry == high and low >= self.price
        if not right:
            raise ValueError(
                f"stop {self.stop}, entry {self.entry} of {low}-{high}, price {self.price} and target {self.target} "
                f"are not in the order of a {self.direction} signal"
            )
        return self

    @model_validator(mode="after")
    def _times_are_in_order(self) -> Self:
        for name in ("bar_at", "issued_at", "expires_at"):
            if getattr(self, name).utcoffset() != timedelta(0):
                raise ValueError(f"{name} must be in UTC, was {getattr(self, name)}")
        if not self.bar_at < self.issued_at < self.expires_at:
            raise ValueError(
                f"bar_at {self.bar_at}, issued_at {self.issued_at} and expires_at {self.expires_at} must follow each other"
            )
        return self

    @model_validator(mode="after")
    def _confidence_is_of_the_direction(self) -> Self:
        down, _, up = self.probabilities
        if abs(sum(self.probabilities) - 1.0) > PROBABILITY_TOLERANCE:
            raise ValueError(f"the probabilities must sum to 1, were {self.probabilities}")
        if self.confidence != (up if self.direction == "LONG" else down):
            raise ValueError(f"the confidence {self.confidence} is not that of {self.direction}: {self.probabilities}")
        return self

    @model_validator(mode="after")
    def _risks_what_it_says(self) -> Self:
        with localcontext(EXACT):
            risk, value = self.size * abs(self.worst_entry - self.stop), self.size * self.entry_high
            most = self.account_balance * self.leverage
        if risk > self.risk_amount:
            raise ValueError(
                f"size {self.size} risks {risk} at the worst fill {self.worst_entry}, not {self.risk_amount}"
            )
        if value > most:
            raise ValueError(f"size {self.size} is worth {value}, and leverage {self.leverage} carries only {most}")
        return self
