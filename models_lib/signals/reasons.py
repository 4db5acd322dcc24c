"""What the newest bars say for and against a direction, in words with their figures, and what a class claims.

The measures are those of the features, computed by the same code. A reason is a fact about the past minutes; it is no
cause of what the model says (for that, see a signal's `moved_by`).

What does not belong here: the model's answer, and whether anything is said at all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models_lib.config import LabelSection
from models_lib.errors import DataError
from models_lib.features.measures import Measures
from models_lib.signals.signal import Direction

MARKET_BARS: Final = 512
"""Bars that `market_of` looks at; its longest window is 240, and exponential means forget before 320."""
_MEAN_BARS: Final = 60


@dataclass(frozen=True)
class Market:
    """Where a market stands at the close of a bar. All finite."""

    close: float
    volatility: float
    """Root mean square of the one-minute log returns: the forecast of the next minutes' moves."""
    rsi: float
    """Wilder's relative strength index of 14 bars, 0 to 100, of log returns."""
    ema_gap: float
    """Log close minus its exponential mean of span 20."""
    mean_gap: float
    """Log close minus the mean of the last 60 log closes."""
    volume_ratio: float | None
    """Mean volume of 15 bars over that of 240; None without any volume."""


def market_of(last_minute: int, bars: Sequence[NDArray[np.float64]], *, volatility_minutes: int) -> Market:
    """Where the market stands at the close of the last bar; known then, nothing later is looked at.

    Args:
        last_minute: epoch minute at which the last bar opened.
        bars: open, high, low, close and volume, contiguous float64, shape [n], without a hole.
        volatility_minutes: window of the volatility.

    Raises:
        DataError: fewer bars than the windows need, or values that give no finite figures.
    """
    open_, high, low, close, volume = (column[-MARKET_BARS:] for column in bars)
    num_bars = len(close)
    if num_bars <= max(240, volatility_minutes):
        raise DataError(
            f"{num_bars} bars are too few for a signal's levels (more than 240 needed). Wait for more bars."
        )
    measures = Measures(last_minute - num_bars + 1, open_=open_, high=high, low=low, close=close, volume=volume)
    usual = measures.newest(measures.mean_volume(240))
    market = Market(
        close=float(close[-1]),
        volatility=measures.newest(measures.volatility(volatility_minutes)),
        rsi=50.0 * (1.0 + measures.newest(measures.relative_strength(14))),
        ema_gap=measures.newest(measures.ema_gap(20)),
        mean_gap=measures.newest(measures.gap(_MEAN_BARS)),
        volume_ratio=measures.newest(measures.mean_volume(15)) / usual if usual > 0.0 else None,
    )
    _check_finite(market)
    return market


def reasons_of(market: Market, direction: Direction, label: LabelSection) -> tuple[str, ...]:
    """One sentence a fact: `for:` it, `against:` it, or `besides:` where it says nothing about direction."""
    sign = 1.0 if direction == "LONG" else -1.0
    contained = ", which the claim already contains" if label.kind == "trend" else ""
    reasons = [
        _sided(round(market.rsi, 1) - 50.0, f"momentum (RSI {market.rsi:.1f})", sign=sign),
        _sided(*_beside(market.ema_gap, "EMA20"), sign=sign),
        _sided(*_beside(market.mean_gap, f"the mean of the last {_MEAN_BARS} minutes", contained), sign=sign),
    ]
    if market.volume_ratio is not None:
        reasons.append(f"besides: volume of the last 15 minutes {market.volume_ratio:.1f} times its mean of 240")
    return tuple(reasons)


def claim_of(label: LabelSection, direction: Direction) -> str:
    """What UP (LONG) or DOWN (SHORT) means, and no more."""
    side, first, second = ("above", "upper", "lower") if direction == "LONG" else ("below", "lower", "upper")
    match label.kind:
        case "trend":
            return f"the mean of the next {label.horizon_minutes} minutes {side} the mean of the last {label.lookback_minutes}"
        case "forward_return":
            return f"the close {label.horizon_minutes} minutes ahead {side} the current close"
        case "triple_barrier":
            return f"within {label.horizon_minutes} minutes the {first} barrier is touched before the {second} one"


def _beside(gap: float, what: str, remark: str = "") -> tuple[float, str]:
    """A gap in logs as a percentage of two decimals, and its words."""
    percent = round(100.0 * math.expm1(gap), 2)
    where = f"{abs(percent):.2f} % {'above' if percent > 0.0 else 'below'}" if percent else "at"
    return percent, f"price {where} {what}{remark}"


def _sided(value: float, words: str, *, sign: float) -> str:
    side = "besides" if value == 0.0 else "for" if value * sign > 0.0 else "against"
    return f"{side}: {words}"


def _check_finite(market: Market) -> None:
    for field in fields(market):
        value = getattr(market, field.name)
        if value is not None and not math.isfinite(value):
            raise DataError(f"{field.name} of the newest bars is {value}, so no level can be set. Check the candles.")
