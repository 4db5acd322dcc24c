"""Markets, settings and signals for the tests of the room: the reference signal, and whatever an operator might set."""

import math
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from models_lib.config import ExchangeRules, LabelSection, SignalsSection
from models_lib.signals import Market, Signal, Unsized, build_signal

BUNDLE = "0123456789abcdef" * 4

REFERENCE_MARKET = Market(close=79_568.14, volatility=5e-4, rsi=64.2, ema_gap=0.0012, mean_gap=0.0021, volume_ratio=1.8)
REFERENCE_SETTINGS = SignalsSection(
    levels="fixed", entry_range_percent=0.741353, stop_percent=1.500254, target_percent=2.702257
)
"""Percentages that lead from the reference price to the entry, the stop and the target that were published."""
REFERENCE: dict[str, Any] = {
    "number": 1234,
    "symbol": "BTC-USD",
    "direction": "LONG",
    "probabilities": (0.092, 0.225, 0.683),
    "bar_at": datetime(2025, 11, 16, 20, 4, tzinfo=UTC),
    "market": REFERENCE_MARKET,
    "label": LabelSection(),
    "bundle": BUNDLE,
    "simulated": False,
    "words": ("no edge after costs measured",),
    "moved_by": (("g_60_over_vol_60", 0.2134), ("log_vol_15", -0.031)),
    "settings": REFERENCE_SETTINGS,
}


def signal(**other: Any) -> Signal:
    """The reference signal, with what is given instead."""
    built = build_signal(**REFERENCE | other)
    assert isinstance(built, Signal), built
    return built


def refusal(**other: Any) -> str:
    """Why the reference signal is refused, with what is given."""
    built = build_signal(**REFERENCE | other)
    assert isinstance(built, Unsized), built
    return built.reason


def power_of_ten(low: int, high: int) -> st.SearchStrategy[float]:
    """Ten to a whole power, as it is written."""
    return st.integers(low, high).map(lambda exponent: float(f"1e{exponent}"))


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of `build_signal`: any market, any account, any exchange; prices of up to 12 digits."""
    exponent, balance = draw(st.integers(-5, 6)), draw(power_of_ten(1, 8))
    close = float(f"{draw(st.floats(1.0, 10.0)):.11f}e{exponent}")
    digits = draw(st.integers(1, 7))
    size_step = float(f"{draw(st.sampled_from((1, 2, 5)))}e{round(math.log10(balance)) - exponent - digits}")
    rules = ExchangeRules(
        price_step=float(f"{draw(st.sampled_from((1, 5)))}e{exponent - draw(st.integers(1, 7))}"),
        size_step=size_step,
        min_size=size_step,
        min_notional=draw(st.sampled_from((0.0, 5.0, 100.0))),
    )
    entry, stop, beyond = draw(st.floats(0.001, 1.0)), draw(st.floats(0.1, 40.0)), draw(st.floats(0.1, 40.0))
    levels = {"entry_range": entry, "stop": stop, "target": entry + beyond}
    settings = SignalsSection(
        levels=draw(st.sampled_from(("volatility", "fixed"))),
        expiry_minutes=draw(st.integers(1, 240)),
        min_risk_reward=draw(st.sampled_from((0.0, 0.1, 1.0))),
        account_balance=balance * draw(st.sampled_from((1.0, 1.5, 9.99))),
        risk_per_trade=draw(st.sampled_from((0.0003, 0.01, 0.2))),
        max_leverage=draw(st.integers(1, 125)),
        exchange={"BTC-USD": rules},
        **{f"{name}_multiple": multiple for name, multiple in levels.items()},
        **{f"{name}_percent": percent for name, percent in levels.items()},
    )
    direction = draw(st.sampled_from(("LONG", "SHORT")))
    rsi, gap, ratio = draw(
        st.sampled_from(((0.0, -0.1, None), (50.0, 0.0, 0.0), (64.2, 3e-4, 1.8), (100.0, 0.1, 50.0)))
    )
    return {
        **REFERENCE,
        "direction": direction,
        "probabilities": (0.1, 0.2, 0.7) if direction == "LONG" else (0.7, 0.2, 0.1),
        "market": Market(
            close=close,
            volatility=draw(st.sampled_from((2e-5, 1.234e-4, 5e-4, 0.003, 0.05))),
            rsi=rsi,
            ema_gap=gap,
            mean_gap=gap,
            volume_ratio=ratio,
        ),
        "settings": settings,
    }


@st.composite
def signals(draw: st.DrawFn) -> tuple[Signal, dict[str, Any]]:
    """Signals, each with the arguments that gave it; what is refused is drawn again."""
    built = {}

    def is_sized(case: dict[str, Any]) -> bool:
        built["signal"] = build_signal(**case)
        return isinstance(built["signal"], Signal)

    case = draw(cases().filter(is_sized))
    return built["signal"], case
