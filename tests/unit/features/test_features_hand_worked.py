"""Numbers worked out by hand for every feature, on three markets that repeat for ever.

* see-saw: the log close goes up and down by A; each bar opens at the last close and has no wicks; volume is 3 on rising
  bars and 1 on falling ones. Judged at a rising bar.
* ramp: the log close rises by B a bar, volume is constant.
* limp: log returns 3B, -B, -B, -B, again and again. Judged at a bar that closes a round.
"""

from math import cos, exp, log, pi, sin, sqrt

import numpy as np
import pandas as pd
import pytest

from models_lib.features import FEATURE_NAMES, FEATURES, compute_features
from tests.unit.features.markets import from_returns

A, B = 0.01, 1e-3
ROWS = 3_000
QUIET = 0.01 * 2.0  # a hundredth of the see-saw's mean volume
UP, DOWN = 100.0 * exp(A), 100.0

SEE_SAW = {
    # half of the last 60 closes are up, half down: their mean is A / 2 below an up close
    "g_60": A / 2,
    "g_60_over_vol_5": 0.5,
    "g_60_over_vol_15": 0.5,
    "g_60_over_vol_30": 0.5,
    "g_60_over_vol_60": 0.5,
    "g_60_over_vol_120": 0.5,
    "g_60_over_vol_240": 0.5,
    "g_60_over_vol_480": 0.5,
    "g_60_over_vol_1440": 0.5,
    # every bar's log range is A, so the Parkinson volatility is A / (2 sqrt(ln 2))
    "g_60_over_parkinson_60": sqrt(log(2)),
    "g_60_over_parkinson_15": sqrt(log(2)),
    "g_60_over_parkinson_240": sqrt(log(2)),
    # Garman-Klass: A^2 (0.5 - (2 ln 2 - 1)); the true range is UP - DOWN at every bar
    "g_60_over_garman_klass_60": 0.5 / sqrt(1.5 - 2 * log(2)),
    "g_60_over_atr_14": A / 2 * UP / (UP - DOWN),
    "g_60_over_atr_60": A / 2 * UP / (UP - DOWN),
    "abs_g_60": A / 2,
    "abs_g_60_over_vol_15": 0.5,
    "abs_g_60_over_vol_240": 0.5,
    "abs_g_60_over_vol_60": 0.5,
    # 8 of the last 15 closes are up
    "g_15_over_vol_60": 7 / 15,
    "g_30_over_vol_60": 0.5,
    "g_120_over_vol_240": 0.5,
    "g_240_over_vol_240": 0.5,
    "mean_15_less_60_over_vol_60": 8 / 15 - 1 / 2,
    "mean_30_less_60_over_vol_60": 0.0,
    # up closes weigh 3 + quiet, down closes 1 + quiet
    "weighted_g_60_over_vol_60": (1 + QUIET) / (4 + 2 * QUIET),
    "log_vol_5": log(A),
    "log_vol_15": log(A),
    "log_vol_30": log(A),
    "log_vol_60": log(A),
    "log_vol_120": log(A),
    "log_vol_240": log(A),
    "log_vol_1440": log(A),
    "log_ewm_vol_30": log(A),
    "log_ewm_vol_10": log(A),
    "log_ewm_vol_120": log(A),
    "log_parkinson_15": log(A / (2 * sqrt(log(2)))),
    "log_parkinson_60": log(A / (2 * sqrt(log(2)))),
    "log_parkinson_5": log(A / (2 * sqrt(log(2)))),
    "log_parkinson_30": log(A / (2 * sqrt(log(2)))),
    "log_parkinson_240": log(A / (2 * sqrt(log(2)))),
    # 0.5 A^2 - (2 ln 2 - 1) A^2
    "log_garman_klass_60": log(A * sqrt(1.5 - 2 * log(2))),
    "log_garman_klass_15": log(A * sqrt(1.5 - 2 * log(2))),
    "log_garman_klass_240": log(A * sqrt(1.5 - 2 * log(2))),
    "inverse_vol_15": 1 / 101,
    "inverse_vol_60": 1 / 101,
    "inverse_vol_30": 1 / 101,
    "inverse_vol_120": 1 / 101,
    "inverse_vol_240": 1 / 101,
    "inverse_parkinson_15": 1 / (1 + 100 / (2 * sqrt(log(2)))),
    "inverse_parkinson_60": 1 / (1 + 100 / (2 * sqrt(log(2)))),
    "inverse_parkinson_240": 1 / (1 + 100 / (2 * sqrt(log(2)))),
    "log_vol_5_over_60": 0.0,
    "log_vol_15_over_240": 0.0,
    "log_range_60": log(A),
    "log_atr_14": log((UP - DOWN) / UP),
    "log_atr_60": log((UP - DOWN) / UP),
    "return_1_over_vol_60": 1.0,
    "return_15_over_vol_60": 1.0,
    # an exponential mean of span n keeps 1 / n of what alternates
    "ema_gap_15": A / 2 * (1 - 1 / 15),
    "ema_gap_240_over_vol_240": (1 - 1 / 240) / 2,
    "macd_over_vol_60": (1 / 12 - 1 / 26) / 2,
    # Wilder's 14 is span 27
    "rsi_14": 1 / 27,
    "bollinger_60": 1.0,
    "stochastic_14": 1.0,
    "cci_20": 1.0,
    # typical prices (2 UP + DOWN) / 3 with volume 3 and (UP + 2 DOWN) / 3 with volume 1
    "mfi_14": (3 * (2 * UP + DOWN) - (UP + 2 * DOWN)) / (3 * (2 * UP + DOWN) + (UP + 2 * DOWN)),
    "adx_14": 0.0,
    "log_volume_1_over_60": log((3 + QUIET) / (2 + QUIET)),
    "log_volume_15_over_240": log((31 / 15 + QUIET) / (2 + QUIET)),
    # row 2,999 is 01:59 on the third day (2 x 1,440 + 119), a Saturday: two days and 119 minutes after Thursday 00:00
    "sin_day": sin(2 * pi * 119 / 1440),
    "cos_day": cos(2 * pi * 119 / 1440),
}

RAMP = {
    # the mean of n closes lies (n - 1) / 2 steps back, and so does an exponential mean of span n
    "g_60": 29.5 * B,
    "g_15_over_vol_60": 7.0,
    "g_30_over_vol_60": 14.5,
    "g_120_over_vol_240": 59.5,
    "g_240_over_vol_240": 119.5,
    "mean_15_less_60_over_vol_60": 22.5,
    "weighted_g_60_over_vol_60": 29.5,
    "ema_gap_15": 7.0 * B,
    "macd_over_vol_60": 7.0,
    "log_range_60": log(60 * B),
    "rsi_14": 1.0,
    # the variance of 0 .. n - 1 is (n^2 - 1) / 12
    "bollinger_60": 29.5 / sqrt(3599 / 12),
    "stochastic_14": 1.0,
    "mfi_14": 1.0,
    "adx_14": 1.0,
}

LIMP = {
    # squares 9, 1, 1, 1: mean 3
    "log_vol_60": log(sqrt(3) * B),
    "return_1_over_vol_60": -1 / sqrt(3),
    # closes of a round lie 3, 2, 1, 0 steps up: highs reach 3, lows 0, and the newest close is the lowest
    "log_range_60": log(3 * B),
    "stochastic_14": -1.0,
    # 1.5 steps below the mean, standard deviation sqrt(1.25)
    "bollinger_60": -1.5 / sqrt(1.25),
    "g_60_over_vol_60": -1.5 / sqrt(3),
}


def newest_row(candles: pd.DataFrame) -> dict[str, float]:
    return dict(zip(FEATURE_NAMES, compute_features(candles)[-1].tolist(), strict=True))


@pytest.fixture(scope="module")
def see_saw() -> dict[str, float]:
    signs = np.where(np.arange(ROWS) % 2 == 1, 1.0, -1.0)
    returns = A * signs
    returns[0] = 0.0
    return newest_row(from_returns(returns, volume=2.0 + signs))


@pytest.fixture(scope="module")
def ramp() -> dict[str, float]:
    return newest_row(from_returns(np.full(ROWS, B), volume=np.ones(ROWS)))


@pytest.fixture(scope="module")
def limp() -> dict[str, float]:
    return newest_row(from_returns(np.tile([3 * B, -B, -B, -B], ROWS // 4), volume=np.ones(ROWS)))


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_see_saw_gives_the_hand_worked_number(see_saw: dict[str, float], name: str) -> None:
    assert see_saw[name] == pytest.approx(SEE_SAW[name], rel=2e-5, abs=2e-7)


@pytest.mark.parametrize("name", RAMP)
def test_ramp_gives_the_hand_worked_number(ramp: dict[str, float], name: str) -> None:
    assert ramp[name] == pytest.approx(RAMP[name], rel=2e-5, abs=2e-6)


@pytest.mark.parametrize("name", LIMP)
def test_limp_gives_the_hand_worked_number(limp: dict[str, float], name: str) -> None:
    assert limp[name] == pytest.approx(LIMP[name], rel=2e-5, abs=2e-6)


def test_every_feature_says_its_family_and_formula() -> None:
    families = {"trend", "volatility", "return", "oscillator", "volume", "clock"}
    assert {feature.family for feature in FEATURES} == families
    assert all(feature.formula for feature in FEATURES)
