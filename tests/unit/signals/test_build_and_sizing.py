"""Levels worked by hand, and every way in which a position is refused or cut, in words."""

import re
from dataclasses import replace
from decimal import Decimal

import pytest

from models_lib.config import ExchangeRules, SignalsSection
from models_lib.signals.exact import decimal_of, floor_to, plain
from tests.unit.signals.signal_cases import REFERENCE_MARKET, refusal, signal

COARSE = ExchangeRules(price_step=0.5, size_step=0.01, min_size=0.01, min_notional=5.0)


def with_rules(rules: ExchangeRules, **other: object) -> SignalsSection:
    return SignalsSection.model_validate({"exchange": {"BTC-USD": rules}, **other})


# levels


def test_volatility_levels_are_multiples_of_the_move_of_the_signals_life() -> None:
    """By hand: 0.0005 a minute over 36 minutes is 0.003; of a price of 1,000 that is 3."""
    market = replace(REFERENCE_MARKET, close=1000.0, volatility=0.0005)
    settings = with_rules(
        ExchangeRules(price_step=0.01, size_step=0.01, min_size=0.01, min_notional=5.0),
        expiry_minutes=36,
        entry_range_multiple=0.5,
        stop_multiple=2.0,
        target_multiple=4.0,
    )
    long = signal(market=market, settings=settings)
    assert (long.entry_low, long.entry_high) == (Decimal("998.50"), Decimal("1000.00"))
    assert (long.stop, long.target) == (Decimal("992.50"), Decimal("1010.50"))
    assert long.size == Decimal("13.33"), "100 over 7.5"
    assert "a move of 0.30 % is forecast for 36 minutes" in long.reasons[-1]
    short = signal(market=market, settings=settings, direction="SHORT", probabilities=(0.7, 0.2, 0.1))
    assert (short.entry_low, short.entry_high) == (Decimal("1000.00"), Decimal("1001.50"))
    assert (short.stop, short.target) == (Decimal("1007.50"), Decimal("989.50"))


def test_prices_are_rounded_so_that_the_risk_never_grows() -> None:
    """By hand: of 100.30 with a move of 3.009, entry 99.54775, stop 96.53875, target 104.96395; steps of 0.5."""
    market = replace(REFERENCE_MARKET, close=100.3, volatility=0.03)
    long = signal(market=market, settings=with_rules(COARSE, expiry_minutes=1))
    assert (long.entry_low, long.entry_high) == (Decimal("100.0"), Decimal("100.0"))
    assert (long.stop, long.target) == (Decimal("97.0"), Decimal("104.5"))
    short = signal(
        market=market, settings=with_rules(COARSE, expiry_minutes=1), direction="SHORT", probabilities=(0.7, 0.2, 0.1)
    )
    assert (short.entry_low, short.entry_high) == (Decimal("100.5"), Decimal("101.0"))
    assert (short.stop, short.target) == (Decimal("104.0"), Decimal("96.0"))


def test_quiet_market_gets_the_smallest_move() -> None:
    quiet = signal(market=replace(REFERENCE_MARKET, volatility=2e-5), settings=SignalsSection())
    assert quiet.stop_percent == Decimal("0.10")


def test_entry_range_narrower_than_a_step_is_one_price() -> None:
    """By hand: of 100.30 the range ends at 100.27, and the only step at or below the price is 100.0."""
    narrow = with_rules(COARSE, levels="fixed", entry_range_percent=0.03, stop_percent=3.0, target_percent=6.0)
    long = signal(market=replace(REFERENCE_MARKET, close=100.3), settings=narrow)
    assert long.entry_low == long.entry_high == long.entry == Decimal("100.0")
    assert long.risk_reward == long.risk_reward_best


# refusals


def test_smallest_value_is_asked_of_the_cheapest_fill() -> None:
    """By hand: 100 over 5.5 (entry range 98 to 100, stop 94.08, rounded to 94.5) is 18.18, worth 1,781.64 to 1,818."""

    def settings(min_notional: float) -> SignalsSection:
        rules = COARSE.model_copy(update={"min_notional": min_notional})
        return with_rules(rules, levels="fixed", entry_range_percent=2.0, stop_percent=4.0, target_percent=9.0)

    market = replace(REFERENCE_MARKET, close=100.0)
    assert signal(market=market, settings=settings(1_781.0)).size == Decimal("18.18")
    assert "is worth 1781.64 USD" in refusal(market=market, settings=settings(1_790.0))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            {"settings": SignalsSection(min_risk_reward=1.5)},
            "risk:reward at the worst fill .* is 1:1.240 .at least 1:1.5 needed",
        ),
        (
            {"settings": SignalsSection(account_balance=0.02)},
            "the size 0.00000 is below the exchange's smallest, 0.00001",
        ),
        (
            {"settings": SignalsSection(account_balance=1.0)},
            "the order is worth 2.39 USD .the exchange takes at least 5.",
        ),
        ({"symbol": "DOGE-USD"}, "signals.exchange has no rules for DOGE-USD"),
        ({"symbol": "BTC-EUR"}, "BTC-EUR is quoted in EUR, and signals.currency is USD"),
        (
            {"settings": with_rules(ExchangeRules(price_step=500, size_step=0.1, min_size=0.1, min_notional=0.0))},
            "are not in the order of a LONG signal in steps of 500",
        ),
    ],
)
def test_refusal_names_the_fact_and_its_limit(other: dict[str, object], words: str) -> None:
    found = refusal(**{"settings": SignalsSection(), **other})
    assert re.search(words, found), found


def test_leverage_cuts_the_size_and_says_so() -> None:
    """By hand: an account of 10,000 without leverage buys 0.12567 of 79,568.14."""
    cut = signal(settings=SignalsSection(max_leverage=1))
    assert cut.size == Decimal("0.12567")
    assert cut.notional <= 10_000
    assert cut.caveats[-1].startswith("the size is cut from 0.36")


def test_leverage_carries_a_short_at_the_entry_where_its_order_is_placed() -> None:
    """By hand: 100,000 buys 1.25678 of 79,568.14, and only 1.25647 at the entry 79,588.03."""
    market = replace(REFERENCE_MARKET, volatility=5e-5)
    settings = SignalsSection(risk_per_trade=0.02)
    short = signal(market=market, settings=settings, direction="SHORT", probabilities=(0.7, 0.2, 0.1))
    assert (short.entry, short.leverage) == (Decimal("79588.03"), 10)
    assert short.size == short.size_best == Decimal("1.25647")


def test_far_stop_lowers_the_leverage_below_the_configured_one() -> None:
    """By hand: a stop 10 % away is within half of the margin at leverage 5, of which the range takes a little."""
    far = SignalsSection(levels="fixed", stop_percent=10.0, target_percent=20.0, max_leverage=100)
    assert signal(settings=far).leverage == 4


def test_simulated_bundle_says_so_in_every_signal() -> None:
    assert "the model learned from a simulated market" in signal(simulated=True).caveats


# arithmetic


@pytest.mark.parametrize(
    ("value", "step", "floor"),
    [
        ("1.29", "0.1", "1.2"),
        ("1.3", "0.1", "1.3"),
        ("-1.21", "0.1", "-1.3"),
        ("-1.2", "0.1", "-1.2"),
        ("0.04", "0.1", "0.0"),
    ],
)
def test_floor_is_the_multiple_of_the_step_below(value: str, step: str, floor: str) -> None:
    assert floor_to(Decimal(value), Decimal(step)) == Decimal(floor)


def test_numbers_are_taken_as_they_are_written() -> None:
    assert decimal_of(0.1) == Decimal("0.1")
    assert decimal_of(79_568.14) == Decimal("79568.14")
    assert [str(plain(Decimal(text))) for text in ("100.000", "1E+3", "0.0500")] == ["100", "1000", "0.05"]
