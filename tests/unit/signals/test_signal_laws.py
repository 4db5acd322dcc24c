"""What holds of every signal, whatever the market, the account and the exchange; and of every refusal."""

import re
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models_lib.config import ExchangeRules, SignalsSection
from models_lib.signals import Signal, Unsized, build_signal, signal_text
from models_lib.signals.text import money_text
from tests.unit.signals.signal_cases import REFERENCE, cases, signals

LAW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)
Drawn = tuple[Signal, dict[str, Any]]


def rules_and_settings(case: dict[str, Any]) -> tuple[ExchangeRules, SignalsSection]:
    return case["settings"].exchange["BTC-USD"], case["settings"]


def exact(number: float | Decimal) -> Fraction:
    """What the number is written as."""
    return Fraction(str(number))


@LAW
@given(drawn=signals(), place=st.fractions(0, 1))
def test_no_fill_of_the_range_risks_more_than_configured(drawn: Drawn, place: Fraction) -> None:
    signal, case = drawn
    section = case["settings"]
    fill = exact(signal.entry_low) + place * (exact(signal.entry_high) - exact(signal.entry_low))
    loss = exact(signal.size) * abs(fill - exact(signal.stop))
    assert loss <= exact(section.account_balance) * exact(section.risk_per_trade)
    assert loss <= exact(signal.risk_at_worst) <= exact(signal.risk_amount)


@LAW
@given(drawn=signals())
def test_size_is_the_largest_that_risk_and_leverage_allow(drawn: Drawn) -> None:
    signal, case = drawn
    rules, section = rules_and_settings(case)
    larger = exact(signal.size) + exact(rules.size_step)
    fills = (exact(signal.entry_low), exact(signal.entry_high))
    most = exact(section.account_balance) * signal.leverage
    too_risky = any(larger * abs(fill - exact(signal.stop)) > exact(signal.risk_amount) for fill in fills)
    assert all(exact(signal.size) * fill <= most for fill in fills)
    assert most <= exact(section.account_balance) * section.max_leverage
    assert too_risky or any(larger * fill > most for fill in fills)
    assert any("the size is cut" in caveat for caveat in signal.caveats) or too_risky


@LAW
@given(drawn=signals())
def test_stop_and_target_lie_on_the_right_sides_of_every_fill(drawn: Drawn) -> None:
    signal, _ = drawn
    rising = [signal.stop, signal.entry_low, signal.entry_high, signal.target]
    if signal.direction == "SHORT":
        rising = [signal.target, signal.entry_low, signal.entry_high, signal.stop]
        assert signal.entry == signal.entry_high
        assert signal.entry_low >= signal.price
    else:
        assert signal.entry == signal.entry_low
        assert signal.entry_high <= signal.price
    assert 0 < rising[0] < rising[1] <= rising[2] < rising[3]


@LAW
@given(drawn=signals())
def test_expiry_is_a_whole_life_after_the_close_of_the_bar(drawn: Drawn) -> None:
    signal, case = drawn
    life = (signal.expires_at - signal.issued_at).total_seconds() / 60
    assert life == case["settings"].expiry_minutes > 0
    assert (signal.issued_at - signal.bar_at).total_seconds() == 60


@LAW
@given(drawn=signals())
def test_order_keeps_the_exchanges_steps_and_minimums_at_every_fill(drawn: Drawn) -> None:
    signal, case = drawn
    rules, _ = rules_and_settings(case)
    for price in (signal.entry_low, signal.entry_high, signal.stop, signal.target):
        assert (exact(price) / exact(rules.price_step)).denominator == 1
    assert (exact(signal.size) / exact(rules.size_step)).denominator == 1
    assert exact(signal.size) >= exact(rules.min_size)
    assert exact(signal.size) * exact(signal.entry_low) >= exact(rules.min_notional)


@LAW
@given(drawn=signals())
def test_ratios_and_percentages_follow_from_the_levels(drawn: Drawn) -> None:
    signal, case = drawn
    _, section = rules_and_settings(case)
    stop, target = exact(signal.stop), exact(signal.target)
    for fill, told in ((signal.worst_entry, signal.risk_reward), (signal.entry, signal.risk_reward_best)):
        ratio = abs(target - exact(fill)) / abs(exact(fill) - stop)
        assert 0 <= ratio - exact(told) < Fraction(1, 100)
        assert ratio >= exact(section.min_risk_reward)
    entry = exact(signal.entry)
    for level, percent in ((stop, signal.stop_percent), (target, signal.target_percent)):
        assert abs(100 * abs(level - entry) / entry - exact(percent)) <= Fraction(1, 200)
    assert exact(signal.notional) == exact(signal.size) * exact(signal.worst_entry)
    assert exact(signal.risk_at_worst) == exact(signal.size) * abs(exact(signal.worst_entry) - stop)


@LAW
@given(drawn=signals())
def test_stop_is_reached_before_half_of_the_margin_is_lost(drawn: Drawn) -> None:
    signal, _ = drawn
    lost = abs(exact(signal.worst_entry) - exact(signal.stop)) / exact(signal.worst_entry)
    assert signal.leverage == 1 or lost * signal.leverage <= Fraction(1, 2)


@LAW
@given(drawn=signals(), power=st.integers(-3, 3))
def test_prices_times_a_power_of_ten_move_levels_and_sizes_alike(drawn: Drawn, power: int) -> None:
    """Exactly: what is the same market in other units gets the same signal in other units."""
    signal, case = drawn
    rules, section = rules_and_settings(case)
    scale = Decimal(10) ** power
    scaled_rules = ExchangeRules(
        price_step=float(Decimal(str(rules.price_step)) * scale),
        size_step=float(Decimal(str(rules.size_step)) / scale),
        min_size=float(Decimal(str(rules.min_size)) / scale),
        min_notional=rules.min_notional,
    )
    other = {
        "market": replace(case["market"], close=float(Decimal(str(case["market"].close)) * scale)),
        "settings": section.model_copy(update={"exchange": {"BTC-USD": scaled_rules}}),
    }
    scaled = build_signal(**case | other)
    assert isinstance(scaled, Signal), scaled
    for name in ("price", "entry_low", "entry_high", "entry", "stop", "target"):
        assert exact(getattr(scaled, name)) == exact(getattr(signal, name)) * exact(scale), name
    for name in ("size", "size_best"):
        assert exact(getattr(scaled, name)) == exact(getattr(signal, name)) / exact(scale), name
    same = ("stop_percent", "target_percent", "risk_reward", "risk_reward_best", "risk_amount", "notional", "leverage")
    assert {name: getattr(scaled, name) for name in same} == {name: getattr(signal, name) for name in same}


@LAW
@given(drawn=signals(), zone=st.sampled_from(("UTC", "America/New_York", "Asia/Tokyo")))
def test_text_states_every_figure_of_the_json(drawn: Drawn, zone: str) -> None:
    signal, _ = drawn
    text = signal_text(signal, time_zone=zone)
    assert f"Price: {signal.price.quantize(signal.entry):,f} " in text
    for name in ("entry", "entry_low", "entry_high", "stop", "target"):
        assert re.search(rf"(?<![\d.,]){re.escape(f'{getattr(signal, name):,f}')}(?![\d])", text), name
    for name in (
        "size",
        "size_best",
        "stop_percent",
        "target_percent",
        "risk_reward",
        "risk_reward_best",
        "risk_percent",
    ):
        assert re.search(rf"(?<![\d.]){re.escape(f'{getattr(signal, name):f}')}(?![\d.])", text), name
    for name in ("account_balance", "risk_amount", "risk_at_worst", "notional"):
        assert f" {money_text(getattr(signal, name))} {signal.currency}" in text, name
    told = [
        signal.symbol,
        signal.direction,
        signal.claim,
        signal.bundle,
        signal.order_type,
        f"{signal.leverage}x",
        *signal.reasons,
    ]
    told += [*signal.caveats, *(name for name, _ in signal.moved_by), f"Signal {signal.number}:"]
    told += [f"{100 * value:.1f} %" for value in (signal.confidence, *signal.probabilities)]
    assert [fact for fact in told if fact not in text] == []


@LAW
@given(drawn=signals())
def test_signal_comes_back_from_its_json_unchanged(drawn: Drawn) -> None:
    signal, _ = drawn
    assert "\n" not in signal.to_json()
    again = Signal.model_validate_json(signal.to_json())
    assert again == signal
    assert again.to_json() == signal.to_json()


@LAW
@given(case=cases())
def test_what_is_refused_has_a_reason_with_a_figure(case: dict[str, Any]) -> None:
    """A signal, or a sentence; never an error, whatever an operator set."""
    built = build_signal(**case)
    if isinstance(built, Unsized):
        assert re.search(r"\d", built.reason)
        assert len(built.reason) > 30


def test_signals_and_refusals_are_both_drawn() -> None:
    """Or the laws would say nothing."""
    seen: set[type] = set()

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(case=cases())
    def look(case: dict[str, Any]) -> None:
        seen.add(type(build_signal(**case)))

    look()
    assert seen == {Signal, Unsized}


def test_mirrored_signals_have_mirrored_levels() -> None:
    long = build_signal(**REFERENCE | {"settings": SignalsSection()})
    short = build_signal(**REFERENCE | {"settings": SignalsSection(), "direction": "SHORT"})
    assert isinstance(long, Signal)
    assert isinstance(short, Signal)
    for name in ("entry", "stop", "target"):
        assert getattr(long, name) - long.price == short.price - getattr(short, name), name
    assert long.risk_reward == short.risk_reward
