"""How much to buy or sell: the largest size that no fill of the entry range takes past the risk, nor past the leverage.

Risk is judged at the **worst** fill, the end of the entry range that is farthest from the stop; leverage at the dearest,
the upper end, which for SHORT is where the order is placed. Sizes are rounded down to the exchange's step. What cannot be
sized is a refusal with its reason, not an error: the next bar may be sizable.

What does not belong here: where entry, stop and target lie (build.py); fees and slippage, which come on top.
"""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal, localcontext

from models_lib.config import ExchangeRules, SignalsSection
from models_lib.signals.exact import EXACT, decimal_of, plain
from models_lib.signals.signal import Direction

HUNDREDTH = Decimal("0.01")


@dataclass(frozen=True)
class Unsized:
    """Why there is no position to propose."""

    reason: str
    """One sentence: the fact with its limit."""


@dataclass(frozen=True)
class Levels:
    """The prices of a signal, on the right sides of each other: stop, best fill, worst fill, target."""

    direction: Direction
    best: Decimal
    """Fill nearest to the stop, where the limit order is placed."""
    worst: Decimal
    """Fill farthest from the stop; equal to `best` where there is no range."""
    stop: Decimal
    target: Decimal

    def in_order(self) -> bool:
        """Whether the prices are positive and on the right sides of each other."""
        rising = (self.stop, self.best, self.worst, self.target)
        first, second, third, last = rising if self.direction == "LONG" else reversed(rising)
        return 0 < first < second <= third < last

    def risk(self, fill: Decimal) -> Decimal:
        """What one unit loses from `fill` to the stop."""
        return abs(fill - self.stop)

    def reward(self, fill: Decimal) -> Decimal:
        """What one unit gains from `fill` to the target."""
        return abs(self.target - fill)


@dataclass(frozen=True)
class Sized:
    """A position. Amounts are in the account's currency, exact; ratios are rounded down to a hundredth."""

    size: Decimal
    """Risks no more than `risk_amount` wherever in the range it is filled."""
    size_best: Decimal
    """Would risk no more if the fill at `best` were certain."""
    risk_amount: Decimal
    risk_at_worst: Decimal
    notional: Decimal
    """Value of `size` at the worst fill."""
    leverage: int
    risk_reward: Decimal
    """At the worst fill."""
    risk_reward_best: Decimal
    remark: str | None
    """Said when the leverage, not the risk, limits the size."""


def size_position(levels: Levels, rules: ExchangeRules, settings: SignalsSection) -> Sized | Unsized:
    """The size of a position at these levels, or the reason why there is none.

    Args:
        levels: multiples of the price step.
        rules: of the symbol at the exchange.
        settings: account, risk, leverage and the smallest risk:reward.
    """
    with localcontext(EXACT):
        if not levels.in_order():
            return Unsized(
                f"stop {levels.stop:f}, entry {levels.best:f} to {levels.worst:f} and target {levels.target:f} are not "
                f"in the order of a {levels.direction} signal in steps of {decimal_of(rules.price_step):f}"
            )
        balance = decimal_of(settings.account_balance)
        risk_amount = plain(balance * decimal_of(settings.risk_per_trade))
        leverage = _leverage(levels, settings.max_leverage)
        by_risk = _sizable(risk_amount, levels.risk(levels.worst), rules)
        by_leverage = _sizable(balance * leverage, max(levels.best, levels.worst), rules)
        size = min(by_risk, by_leverage)
        sized = Sized(
            size=size,
            size_best=min(
                _sizable(risk_amount, levels.risk(levels.best), rules),
                _sizable(balance * leverage, levels.best, rules),
            ),
            risk_amount=risk_amount,
            risk_at_worst=plain(size * levels.risk(levels.worst)),
            notional=plain(size * levels.worst),
            leverage=leverage,
            risk_reward=_risk_reward(levels, levels.worst),
            risk_reward_best=_risk_reward(levels, levels.best),
            remark=_remark(by_risk, by_leverage, leverage),
        )
        reason = _too_little(sized, levels, rules, settings)
        return Unsized(reason) if reason else sized


def _sizable(amount: Decimal, each: Decimal, rules: ExchangeRules) -> Decimal:
    """The largest size of whole steps of which `each` a unit takes no more than `amount`."""
    step = decimal_of(rules.size_step)
    return (amount // (each * step)) * step


def _leverage(levels: Levels, largest: int) -> int:
    """The largest whole leverage at which the stop lies within half of the margin.

    Beyond, the exchange might close the position before its stop; the other half is left for its maintenance margin.
    """
    return max(1, min(largest, int(levels.worst // (2 * levels.risk(levels.worst)))))


def _risk_reward(levels: Levels, fill: Decimal) -> Decimal:
    return (levels.reward(fill) / levels.risk(fill)).quantize(HUNDREDTH, rounding=ROUND_DOWN)


def _remark(by_risk: Decimal, by_leverage: Decimal, leverage: int) -> str | None:
    if by_leverage >= by_risk:
        return None
    return f"the size is cut from {by_risk:f} to {by_leverage:f}: leverage {leverage}x carries no more"


def _too_little(sized: Sized, levels: Levels, rules: ExchangeRules, settings: SignalsSection) -> str | None:
    """Why the position is not worth it or not accepted; None when it is."""
    risk_reward = levels.reward(levels.worst) / levels.risk(levels.worst)
    if risk_reward < decimal_of(settings.min_risk_reward):
        return (
            f"risk:reward at the worst fill {levels.worst:f} is 1:{risk_reward:.3f} "
            f"(at least 1:{settings.min_risk_reward:g} needed)"
        )
    least = decimal_of(rules.min_size)
    if sized.size < least:
        return (
            f"the size {sized.size:f} is below the exchange's smallest, {least:f}; the account or the risk is too small"
        )
    value = sized.size * min(levels.best, levels.worst)
    if value < decimal_of(rules.min_notional):
        return (
            f"the order is worth {value:.2f} {settings.currency} (the exchange takes at least {rules.min_notional:g}); "
            f"the account or the risk is too small"
        )
    return None
