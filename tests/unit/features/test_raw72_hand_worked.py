"""Numbers worked out by hand for every feature of raw72, on three markets that repeat for ever.

* see-saw: the close goes from 100 to 110 and back; each bar opens at the last close, and its wicks reach a tenth beyond:
  every high is 121, every low 90. Volume is 3 on rising bars and 1 on falling ones. Judged at a rising bar.
* ramp: the close rises by 1 a bar from 1,000, without wicks; volume is constant.
* slide: the same downwards from 5,000.
"""

from math import sqrt

import numpy as np
import pytest

from models_lib.features import RAW72, compute_features
from tests.unit.features.markets import candles_from

ROWS = 3_000
UP_TYPICAL, DOWN_TYPICAL = (121 + 90 + 110) / 3, (121 + 90 + 100) / 3

SEE_SAW = {
    "open": 100,
    "high": 121,
    "low": 90,
    "close": 110,
    "volume": 3,
    # of an odd number of closes one more is up than down
    "sma_7": 100 + 10 * 4 / 7,
    "sma_14": 105,
    "sma_21": 100 + 10 * 11 / 21,
    "sma_30": 105,
    "sma_50": 105,
    "sma_100": 105,
    "sma_200": 105,
    # an exponential mean of span n keeps 1 / n of what alternates
    "ema_9": 105 + 5 / 9,
    "ema_12": 105 + 5 / 12,
    "ema_21": 105 + 5 / 21,
    "ema_26": 105 + 5 / 26,
    "ema_50": 105 + 5 / 50,
    "ema_100": 105 + 5 / 100,
    "ema_200": 105 + 5 / 200,
    "macd": 5 / 12 - 5 / 26,
    "macd_signal": (5 / 12 - 5 / 26) / 9,
    "macd_histogram": (5 / 12 - 5 / 26) * 8 / 9,
    # mean 105, standard deviation 5
    "bollinger_upper": 115,
    "bollinger_middle": 105,
    "bollinger_lower": 95,
    "bollinger_width": 20 / 105,
    "bollinger_position": 15 / 20,
    "true_range": 31,
    "atr_14": 31,
    "atr_21": 31,
    # Wilder's n is span 2 n - 1
    "rsi_7_percent": 50 + 50 / 13,
    "rsi_14_percent": 50 + 50 / 27,
    "rsi_21_percent": 50 + 50 / 41,
    "stochastic_k": 100 * 20 / 31,
    "stochastic_d": 100 * (20 + 10 + 20) / 3 / 31,
    "williams_r_14": 100 * 20 / 31 - 100,
    # every typical price lies one mean deviation from the mean
    "cci_14": 1 / 0.015,
    "cci_30": 1 / 0.015,
    "mfi_14_percent": 100 * 3 * UP_TYPICAL / (3 * UP_TYPICAL + DOWN_TYPICAL),
    "adx_14_percent": 0,
    "plus_di_14": 0,
    "minus_di_14": 0,
    "momentum_4": 0,
    "momentum_10": 0,
    "momentum_20": 0,
    "roc_10": 0,
    "roc_20": 0,
    "roc_30": 0,
    "return_1": 0.1,
    "return_5": 0.1,
    "return_15": 0.1,
    "return_60": 0,
    # half of the returns are 1 / 10, half -1 / 11
    "volatility_10": (1 / 10 + 1 / 11) / 2,
    "volatility_30": (1 / 10 + 1 / 11) / 2,
    "volatility_60": (1 / 10 + 1 / 11) / 2,
    "highest_20": 121,
    "lowest_20": 90,
    "highest_60": 121,
    "lowest_60": 90,
    "volume_mean_10": 2,
    "volume_mean_30": 2,
    "volume_ratio_30": 1.5,
    "vwap_30": (3 * UP_TYPICAL + DOWN_TYPICAL) / 4,
    "vwap_60": (3 * UP_TYPICAL + DOWN_TYPICAL) / 4,
    "typical_price": UP_TYPICAL,
    "body": 10,
    "candle_range": 31,
    "upper_shadow": 11,
    "lower_shadow": 10,
    # row 2,999 is 01:59 on the third day after a Thursday 00:00, a Saturday
    "hour": 1,
    "minute": 59,
    "day_of_week": 5,
}

RAMP = {
    # the newest close is 3,999; the mean of n closes lies (n - 1) / 2 below it, and so does an exponential mean of span n
    "sma_7": 3_996,
    "sma_200": 3_899.5,
    "ema_9": 3_995,
    "ema_200": 3_899.5,
    "macd": 7,
    "macd_signal": 7,
    "macd_histogram": 0,
    # the variance of 0 .. n - 1 is (n^2 - 1) / 12
    "bollinger_upper": 3_989.5 + 2 * sqrt(399 / 12),
    "bollinger_lower": 3_989.5 - 2 * sqrt(399 / 12),
    "bollinger_position": 0.5 + 9.5 / (4 * sqrt(399 / 12)),
    "true_range": 1,
    "atr_14": 1,
    "rsi_14_percent": 100,
    "stochastic_k": 100,
    "stochastic_d": 100,
    "williams_r_14": 0,
    # 6.5 above the mean of 14, which lie 3.5 from it on average
    "cci_14": 6.5 / 3.5 / 0.015,
    "cci_30": 14.5 / 7.5 / 0.015,
    "mfi_14_percent": 100,
    "adx_14_percent": 100,
    "plus_di_14": 100,
    "minus_di_14": 0,
    "momentum_4": 4,
    "momentum_10": 10,
    "momentum_20": 20,
    "roc_10": 100 * 10 / 3_989,
    "roc_20": 100 * 20 / 3_979,
    "roc_30": 100 * 30 / 3_969,
    "return_1": 1 / 3_998,
    "return_5": 5 / 3_994,
    "return_15": 15 / 3_984,
    "return_60": 60 / 3_939,
    # a bar reaches from the last close to its own
    "highest_20": 3_999,
    "lowest_20": 3_979,
    "highest_60": 3_999,
    "lowest_60": 3_939,
    "volume_ratio_30": 1,
    "vwap_30": 3_999 - 1 / 3 - 14.5,
    "body": 1,
    "upper_shadow": 0,
    "lower_shadow": 0,
}

SLIDE = {
    "rsi_7_percent": 0,
    "stochastic_k": 0,
    "williams_r_14": -100,
    "cci_14": -6.5 / 3.5 / 0.015,
    "mfi_14_percent": 0,
    "adx_14_percent": 100,
    "plus_di_14": 0,
    "minus_di_14": 100,
    "macd": -7,
    "momentum_4": -4,
    "body": -1,
    "highest_20": 2_021,
    "lowest_20": 2_001,
}


def newest_row(close: np.ndarray, *, volume: np.ndarray, wick: float = 0.0) -> dict[str, float]:
    candles = candles_from(close, volume=volume, wick=wick)
    return dict(zip(RAW72.names, compute_features(candles, features=RAW72)[-1].tolist(), strict=True))


@pytest.fixture(scope="module")
def see_saw() -> dict[str, float]:
    rising = np.arange(ROWS) % 2 == 1
    return newest_row(np.where(rising, 110.0, 100.0), volume=np.where(rising, 3.0, 1.0), wick=0.1)


@pytest.fixture(scope="module")
def ramp() -> dict[str, float]:
    return newest_row(1_000.0 + np.arange(ROWS), volume=np.ones(ROWS))


@pytest.fixture(scope="module")
def slide() -> dict[str, float]:
    return newest_row(5_000.0 - np.arange(ROWS), volume=np.ones(ROWS))


@pytest.mark.parametrize("name", RAW72.names)
def test_see_saw_gives_the_hand_worked_number(see_saw: dict[str, float], name: str) -> None:
    assert see_saw[name] == pytest.approx(SEE_SAW[name], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", RAMP)
def test_ramp_gives_the_hand_worked_number(ramp: dict[str, float], name: str) -> None:
    assert ramp[name] == pytest.approx(RAMP[name], rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("name", SLIDE)
def test_slide_gives_the_hand_worked_number(slide: dict[str, float], name: str) -> None:
    assert slide[name] == pytest.approx(SLIDE[name], rel=1e-6, abs=1e-5)


def test_every_feature_says_its_family_and_formula() -> None:
    families = {"trend", "volatility", "return", "oscillator", "volume", "clock", "candle"}
    assert {feature.family for feature in RAW72.features} == families
    assert all(feature.formula for feature in RAW72.features)
