"""From a prediction and the market to a signal: entry range, stop and target, size, expiry, reasons.

LONG buys at or below the price and SHORT sells at or above it, with limit orders; their levels mirror each other.
Prices are rounded to the exchange's step so that the risk never grows: the entry range never widens, the stop comes
nearer and the target as well.

What does not belong here: whether the prediction deserves a signal (the runtime decides), and its words (text.py).
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal, localcontext

from models_lib.candles.schema import BAR_MINUTES
from models_lib.config import ExchangeRules, LabelSection, SignalsSection
from models_lib.signals.exact import EXACT, decimal_of, floor_to, plain
from models_lib.signals.reasons import Market, claim_of, reasons_of
from models_lib.signals.signal import Direction, Signal
from models_lib.signals.sizing import HUNDREDTH, Levels, Sized, Unsized, size_position


def build_signal(
    *,
    number: int,
    symbol: str,
    direction: Direction,
    probabilities: tuple[float, float, float],
    bar_at: datetime,
    market: Market,
    label: LabelSection,
    bundle: str,
    simulated: bool,
    words: Sequence[str],
    moved_by: Sequence[tuple[str, float]],
    settings: SignalsSection,
) -> Signal | Unsized:
    """The signal, or the reason why no position can be proposed.

    Args:
        number: the next running number; not used up by a refusal.
        symbol: as the exchange rules name it, base and quote currency.
        direction: of the likeliest class.
        probabilities: calibrated, of DOWN, NEUTRAL and UP.
        bar_at: open time of the bar, UTC.
        market: at the close of that bar.
        label: what the model was asked.
        bundle: its hash.
        simulated: whether it learned from the simulated market.
        words: what every signal of the bundle carries.
        moved_by: features that moved this prediction, each with the change of the probability.
        settings: of the host.
    """
    found = _rules_of(symbol, settings)
    if isinstance(found, Unsized):
        return found
    levels = levels_of(direction, market, found, settings)
    sized = size_position(levels, found, settings)
    if isinstance(sized, Unsized):
        return sized
    issued_at = bar_at + timedelta(minutes=BAR_MINUTES)
    caveats = (*words, *(["the model learned from a simulated market"] if simulated else []))
    return Signal(
        number=number,
        symbol=symbol,
        direction=direction,
        confidence=probabilities[2 if direction == "LONG" else 0],
        probabilities=probabilities,
        bar_at=bar_at,
        issued_at=issued_at,
        expires_at=issued_at + timedelta(minutes=settings.expiry_minutes),
        price=decimal_of(market.close),
        **_figures(levels, sized, settings),
        claim=claim_of(label, direction),
        reasons=(*reasons_of(market, direction, label), _basis_of_levels(market, settings)),
        moved_by=tuple(moved_by),
        caveats=(*caveats, sized.remark) if sized.remark else caveats,
        bundle=bundle,
        simulated=simulated,
    )


def levels_of(direction: Direction, market: Market, rules: ExchangeRules, settings: SignalsSection) -> Levels:
    """Entry range, stop and target in steps of the price; not in order where the step is too coarse for them.

    `volatility`: the move that is forecast for the signal's life is the volatility of a minute times the root of the
    life's minutes (a random walk's), at least `min_volatility_percent`; distances are multiples of it and of the price.
    """
    with localcontext(EXACT):
        step = decimal_of(rules.price_step)
        mirror = 1 if direction == "LONG" else -1
        # SHORT is LONG seen in a mirror: with prices below zero all roundings are right for both.
        price = mirror * decimal_of(market.close)
        width, stop_distance, target_distance = _distances(market, settings, mirror)
        best = price - width
        worst = floor_to(price, step)
        return Levels(
            direction=direction,
            best=mirror * min(_ceiling_to(best, step), worst),
            worst=mirror * worst,
            stop=mirror * _ceiling_to(best - stop_distance, step),
            target=mirror * floor_to(best + target_distance, step),
        )


def forecast_move(market: Market, settings: SignalsSection) -> float:
    """The move forecast for the signal's life, one standard deviation as a share of the price."""
    move = market.volatility * math.sqrt(settings.expiry_minutes)
    return max(move, settings.min_volatility_percent / 100.0)


def _basis_of_levels(market: Market, settings: SignalsSection) -> str:
    """Where entry, stop and target come from."""
    if settings.levels == "fixed":
        return "besides: entry range, stop and target are fixed percentages of the price"
    return (
        f"besides: a move of {100.0 * forecast_move(market, settings):.2f} % is forecast for {settings.expiry_minutes} "
        f"minutes; entry range, stop and target are {settings.entry_range_multiple:g}, {settings.stop_multiple:g} and "
        f"{settings.target_multiple:g} times that"
    )


def _distances(market: Market, settings: SignalsSection, mirror: int) -> tuple[Decimal, Decimal, Decimal]:
    """Width of the entry range, distance of stop and of target from the entry, in price."""
    price = decimal_of(market.close)
    if settings.levels == "volatility":
        move = price * decimal_of(forecast_move(market, settings))
        multiples = (settings.entry_range_multiple, settings.stop_multiple, settings.target_multiple)
        width, stop, target = (move * decimal_of(multiple) for multiple in multiples)
        return width, stop, target
    width = price * _share(settings.entry_range_percent)
    entry = price - mirror * width
    return width, entry * _share(settings.stop_percent), entry * _share(settings.target_percent)


def _share(percent: float) -> Decimal:
    return decimal_of(percent) / 100


def _ceiling_to(value: Decimal, step: Decimal) -> Decimal:
    return -floor_to(-value, step)


def _rules_of(symbol: str, settings: SignalsSection) -> ExchangeRules | Unsized:
    quote = symbol.rpartition("-")[2]
    if quote != settings.currency:
        return Unsized(
            f"{symbol} is quoted in {quote}, and signals.currency is {settings.currency}: no size can be given"
        )
    rules = settings.exchange.get(symbol)
    return rules or Unsized(f"signals.exchange has no rules for {symbol}; add its steps and minimums")


def _figures(levels: Levels, sized: Sized, settings: SignalsSection) -> dict[str, object]:
    with localcontext(EXACT):
        return {
            "entry_low": min(levels.best, levels.worst),
            "entry_high": max(levels.best, levels.worst),
            "entry": levels.best,
            "stop": levels.stop,
            "target": levels.target,
            "stop_percent": _percent(levels.risk(levels.best), levels.best),
            "target_percent": _percent(levels.reward(levels.best), levels.best),
            "risk_reward": sized.risk_reward,
            "risk_reward_best": sized.risk_reward_best,
            "account_balance": plain(decimal_of(settings.account_balance)),
            "risk_percent": plain(decimal_of(settings.risk_per_trade) * 100),
            "risk_amount": sized.risk_amount,
            "size": sized.size,
            "size_best": sized.size_best,
            "risk_at_worst": sized.risk_at_worst,
            "notional": sized.notional,
            "leverage": sized.leverage,
            "currency": settings.currency,
        }


def _percent(distance: Decimal, of: Decimal) -> Decimal:
    return (100 * distance / of).quantize(HUNDREDTH)
