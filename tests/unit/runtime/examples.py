"""Signals, bars and bundles for the tests of the runtime's memory, its scoring and its speaking."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from models_lib.runtime.state import BarRecord
from models_lib.signals.signal import Signal

T0 = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BUNDLE = "a" * 64


def long_signal(bar: int = 0, *, symbol: str = "BTC-USD", bundle: str = BUNDLE, life: int = 30, **other: Any) -> Signal:
    """LONG from the bar at T0 + `bar` minutes: price 100, entry 98 to 99, stop 95, target 105."""
    figures: dict[str, Any] = {
        "number": 1,
        "symbol": symbol,
        "direction": "LONG",
        "confidence": 0.7,
        "probabilities": (0.1, 0.2, 0.7),
        "bar_at": T0 + bar * MINUTE,
        "issued_at": T0 + (bar + 1) * MINUTE,
        "expires_at": T0 + (bar + 1 + life) * MINUTE,
        "price": Decimal(100),
        "entry_low": Decimal(98),
        "entry_high": Decimal(99),
        "entry": Decimal(98),
        "stop": Decimal(95),
        "target": Decimal(105),
        "stop_percent": Decimal("3.06"),
        "target_percent": Decimal("7.14"),
        "risk_reward": Decimal("1.5"),
        "risk_reward_best": Decimal("2.33"),
        "account_balance": Decimal(10_000),
        "risk_percent": Decimal(1),
        "risk_amount": Decimal(100),
        "size": Decimal(25),
        "size_best": Decimal(33),
        "risk_at_worst": Decimal(100),
        "notional": Decimal(2_475),
        "leverage": 1,
        "currency": "USD",
        "claim": "the mean of the next 15 minutes above the mean of the last 60",
        "reasons": ("RSI 64.2",),
        "bundle": bundle,
        "simulated": True,
    }
    return Signal(**figures | other)


def short_signal(bar: int = 0, **other: Any) -> Signal:
    """SHORT, the mirror image about 100: entry 101 to 102, stop 105, target 95."""
    figures: dict[str, Any] = {
        "direction": "SHORT",
        "probabilities": (0.7, 0.2, 0.1),
        "entry_low": Decimal(101),
        "entry_high": Decimal(102),
        "entry": Decimal(102),
        "stop": Decimal(105),
        "target": Decimal(95),
    }
    return long_signal(bar, **figures | other)


def spoken(bar: int = 0, **other: Any) -> BarRecord:
    """A bar that gives a signal."""
    signal = long_signal(bar, **other)
    return BarRecord(signal.symbol, signal.bar_at, signal.bundle, signal.probabilities, None, signal)


def silent(bar: int = 0, *, symbol: str = "BTC-USD", bundle: str = BUNDLE, reason: str = "neutral") -> BarRecord:
    """A bar with probabilities that gives none."""
    return BarRecord(symbol, T0 + bar * MINUTE, bundle, (0.2, 0.6, 0.2), reason)
