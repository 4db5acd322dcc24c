"""What the newest bars say, in words: hand-worked facts, the features' own numbers, no side taken without a figure."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from models_lib.candles.schema import epoch_ms
from models_lib.config import LabelSection
from models_lib.errors import DataError
from models_lib.features import FEATURE_NAMES, compute_features
from models_lib.signals import MARKET_BARS, Market, market_of, signal_text
from models_lib.signals.reasons import claim_of, reasons_of
from models_lib.signals.text import money_text
from tests.unit.features.markets import from_returns
from tests.unit.signals.signal_cases import REFERENCE_MARKET, signal

TREND = LabelSection()


def columns(candles: pd.DataFrame) -> tuple[NDArray[np.float64], ...]:
    return tuple(candles[name].to_numpy(np.float64) for name in ("open", "high", "low", "close", "volume"))


def market(candles: pd.DataFrame) -> Market:
    return market_of(int(epoch_ms(candles)[-1]) // 60_000, columns(candles), volatility_minutes=240)


def walk(returns: list[float]) -> pd.DataFrame:
    """Candles with these log returns and a steady volume."""
    return from_returns(np.array(returns), volume=2.0)


@pytest.fixture(scope="module")
def candles() -> pd.DataFrame:
    returns = np.random.default_rng(4).normal(0.0, 5e-4, 3_000)
    return from_returns(returns, volume=np.random.default_rng(5).uniform(1.0, 3.0, len(returns)))


def test_figures_are_those_of_the_features(candles: pd.DataFrame) -> None:
    found = market(candles)
    features = dict(zip(FEATURE_NAMES, compute_features(candles)[-1].tolist(), strict=True))
    assert found.rsi == pytest.approx(50.0 * (1.0 + features["rsi_14"]), abs=1e-4)
    assert found.mean_gap == pytest.approx(features["g_60"], rel=1e-5)
    assert np.log(found.volatility) == pytest.approx(features["log_vol_240"], rel=1e-6)
    assert found.close == candles["close"].iloc[-1]


def test_older_bars_than_needed_change_nothing(candles: pd.DataFrame) -> None:
    assert market(candles) == market(candles.iloc[-MARKET_BARS:])


def test_volatility_is_the_root_mean_square_of_the_returns() -> None:
    """By hand: returns of one basis point up and down; and prices that stand still have the floor of the features."""
    assert market(walk([1e-4, -1e-4] * 300)).volatility == pytest.approx(1e-4)
    assert market(walk([0.0] * 600)).volatility == 2e-5


def test_standing_prices_say_nothing_about_direction() -> None:
    reasons = reasons_of(market(walk([0.0] * 600)), "LONG", TREND)
    assert all(reason.startswith("besides:") for reason in reasons)
    assert "besides: momentum (RSI 50.0)" in reasons


def test_rising_prices_speak_for_long_and_against_short() -> None:
    rising = market(walk([1e-4] * 600))
    assert rising.rsi == pytest.approx(100.0)
    long, short = (reasons_of(rising, direction, TREND) for direction in ("LONG", "SHORT"))
    assert [reason.partition(":")[0] for reason in long[:3]] == ["for"] * 3
    assert [reason.partition(":")[0] for reason in short[:3]] == ["against"] * 3


def test_reasons_carry_their_figures() -> None:
    """By hand: a gap of ln 1.01 below is 1 - 1/1.01 = 0.99 %."""
    down = Market(close=1.0, volatility=1e-3, rsi=35.21, ema_gap=-float(np.log(1.01)), mean_gap=0.02, volume_ratio=0.54)
    assert reasons_of(down, "SHORT", TREND) == (
        "for: momentum (RSI 35.2)",
        "for: price 0.99 % below EMA20",
        "against: price 2.02 % above the mean of the last 60 minutes, which the claim already contains",
        "besides: volume of the last 15 minutes 0.5 times its mean of 240",
    )


def test_claim_contains_the_past_only_where_it_does() -> None:
    words = "which the claim already contains"
    assert words in " ".join(reasons_of(REFERENCE_MARKET, "LONG", TREND))
    assert words not in " ".join(reasons_of(REFERENCE_MARKET, "LONG", LabelSection(kind="forward_return")))


def test_market_without_volume_says_nothing_about_volume() -> None:
    silent = walk([1e-4, -1e-4] * 300)
    silent["volume"] = 0.0
    assert market(silent).volume_ratio is None
    assert "volume" not in " ".join(reasons_of(market(silent), "LONG", TREND))


def test_too_few_bars_are_refused_with_the_number_needed(candles: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=r"240 bars are too few .* \(more than 240 needed"):
        market(candles.iloc[-240:])
    assert market(candles.iloc[-241:]).volatility > 0.0


def test_values_that_are_no_numbers_are_refused(candles: pd.DataFrame) -> None:
    broken = candles.copy()
    broken.loc[broken.index[-5], "close"] = np.nan
    with pytest.raises(DataError, match="no level can be set"):
        market(broken)


@pytest.mark.parametrize(
    ("label", "direction", "claim"),
    [
        (TREND, "LONG", "the mean of the next 15 minutes above the mean of the last 60"),
        (TREND, "SHORT", "the mean of the next 15 minutes below the mean of the last 60"),
        (
            LabelSection(kind="forward_return", horizon_minutes=5),
            "SHORT",
            "the close 5 minutes ahead below the current close",
        ),
        (
            LabelSection(kind="triple_barrier"),
            "LONG",
            "within 15 minutes the upper barrier is touched before the lower one",
        ),
    ],
)
def test_claim_says_what_the_class_means(label: LabelSection, direction: str, claim: str) -> None:
    assert claim_of(label, direction) == claim  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amount", "text"),
    [("4482.8690076", "4,482.87"), ("100", "100.00"), ("0.00123456", "0.001235"), ("0.5", "0.5000"), ("0", "0.00")],
)
def test_money_has_cents_or_four_digits(amount: str, text: str) -> None:
    assert money_text(Decimal(amount)) == text


def test_short_signal_sells_to_enter_and_buys_to_leave() -> None:
    text = signal_text(signal(direction="SHORT", probabilities=(0.7, 0.2, 0.1)), time_zone="UTC")
    assert "Entry: LIMIT SELL" in text
    assert "Target: LIMIT BUY" in text
    assert "15:05 EST" not in text
    assert "2025-11-16 20:05 UTC" in text


def test_host_without_the_zone_prints_utc_and_says_so() -> None:
    assert "after 30 minutes, 2025-11-16 20:35 UTC" in signal_text(signal(), time_zone="Nowhere/Known")
