"""The 72 features: an ordered, named, versioned list with one line of arithmetic on measures for each.

The order is the order of the model's inputs. A change of a name, of the order or of a value needs a new
FEATURE_SET_VERSION, because bundles name what they were trained on. All features are dimensionless: prices times k or
volumes times k change nothing. `vol(n)` in a formula is the root of the mean of the last n squared one-minute log
returns, at least 2e-5.

Why these: the label's known part g and its ratios to volatility say what a one-line rule knows; volatilities on many time
scales, volume and the clock say how large the next minutes' moves will be, which is most of what can be known; the
classical oscillators carry the rest.

What does not belong here: how a measure is computed (measures.py), segments and chunks (compute.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_lib.features.kernels import Column
from models_lib.features.measures import (
    DAY_MINUTES,
    VARIANCE_FLOOR,
    VOLATILITY_FLOOR,
    WEEK_MINUTES,
    Measures,
    floored,
    log,
    root,
)

FEATURE_SET: Final = "current"
"""Name of this list."""
FEATURE_SET_VERSION: Final = 1
"""Raised when a name, the order or a value changes."""


@dataclass(frozen=True)
class Feature:
    """One input of the model."""

    name: str
    """Unique; lower case."""
    family: str
    """What it belongs to: trend, volatility, return, oscillator, shape, volume, candle or clock."""
    warm_up_bars: int
    """Rows at the start of a segment that have no value."""
    formula: str
    """What a reader needs to compute it by hand."""
    compute: Callable[[Measures], Column]
    """The column of a slice, float64 [n], NaN in the warm-up."""


# fmt: off
FEATURES: Final[tuple[Feature, ...]] = (
    # The label's known part, in the units in which the future moves
    Feature("g_60", "trend", 59, "log close - mean of the last 60 log closes", lambda m: m.gap(60)),
    Feature("g_60_over_vol_15", "trend", 59, "g_60 / vol(15)", lambda m: m.gap(60) / m.volatility(15)),
    Feature("g_60_over_vol_30", "trend", 59, "g_60 / vol(30)", lambda m: m.gap(60) / m.volatility(30)),
    Feature("g_60_over_vol_60", "trend", 60, "g_60 / vol(60)", lambda m: m.gap(60) / m.volatility(60)),
    Feature("g_60_over_vol_240", "trend", 240, "g_60 / vol(240)", lambda m: m.gap(60) / m.volatility(240)),
    Feature("g_60_over_vol_1440", "trend", 1440, "g_60 / vol(1440)", lambda m: m.gap(60) / m.volatility(1440)),
    Feature("g_60_over_parkinson_60", "trend", 59, "g_60 / Parkinson volatility of 60 bars", lambda m: m.gap(60) / root(m.parkinson_variance(60))),
    Feature("abs_g_60_over_vol_60", "trend", 60, "|g_60| / vol(60)", lambda m: np.abs(m.gap(60)) / m.volatility(60)),
    Feature("g_15_over_vol_60", "trend", 60, "(log close - mean of 15 log closes) / vol(60)", lambda m: m.gap(15) / m.volatility(60)),
    Feature("g_30_over_vol_60", "trend", 60, "(log close - mean of 30 log closes) / vol(60)", lambda m: m.gap(30) / m.volatility(60)),
    Feature("g_120_over_vol_240", "trend", 240, "(log close - mean of 120 log closes) / vol(240)", lambda m: m.gap(120) / m.volatility(240)),
    Feature("g_240_over_vol_240", "trend", 240, "(log close - mean of 240 log closes) / vol(240)", lambda m: m.gap(240) / m.volatility(240)),
    Feature("mean_15_less_60_over_vol_60", "trend", 60, "(mean of 15 - mean of 60 log closes) / vol(60)", lambda m: m.mean_gap(15, 60) / m.volatility(60)),
    Feature("weighted_g_60_over_vol_60", "trend", 1439, "(log close - mean of 60 log closes weighted by volume + 1 % of the day's mean) / vol(60)", lambda m: m.weighted_gap(60) / m.volatility(60)),
    # Volatility on many time scales
    Feature("log_vol_5", "volatility", 5, "log vol(5)", lambda m: m.log_volatility(5)),
    Feature("log_vol_15", "volatility", 15, "log vol(15)", lambda m: m.log_volatility(15)),
    Feature("log_vol_30", "volatility", 30, "log vol(30)", lambda m: m.log_volatility(30)),
    Feature("log_vol_60", "volatility", 60, "log vol(60)", lambda m: m.log_volatility(60)),
    Feature("log_vol_240", "volatility", 240, "log vol(240)", lambda m: m.log_volatility(240)),
    Feature("log_vol_1440", "volatility", 1440, "log vol(1440)", lambda m: m.log_volatility(1440)),
    Feature("log_ewm_vol_30", "volatility", 240, "half the log of the exponential mean (span 30) of squared log returns, floored", lambda m: 0.5 * log(floored(m.ema(m.square(), 30), VARIANCE_FLOOR))),
    Feature("log_parkinson_15", "volatility", 14, "log of the Parkinson volatility of 15 bars", lambda m: 0.5 * log(m.parkinson_variance(15))),
    Feature("log_parkinson_60", "volatility", 59, "log of the Parkinson volatility of 60 bars", lambda m: 0.5 * log(m.parkinson_variance(60))),
    Feature("log_garman_klass_60", "volatility", 59, "log of the Garman-Klass volatility of 60 bars", lambda m: 0.5 * log(m.garman_klass_variance(60))),
    Feature("inverse_vol_15", "volatility", 15, "0.0001 / (0.0001 + vol(15))", lambda m: 1e-4 / (1e-4 + m.volatility(15))),
    Feature("inverse_vol_60", "volatility", 60, "0.0001 / (0.0001 + vol(60))", lambda m: 1e-4 / (1e-4 + m.volatility(60))),
    Feature("inverse_vol_240", "volatility", 240, "0.0001 / (0.0001 + vol(240))", lambda m: 1e-4 / (1e-4 + m.volatility(240))),
    Feature("log_vol_5_over_60", "volatility", 60, "log vol(5) - log vol(60)", lambda m: m.log_volatility(5) - m.log_volatility(60)),
    Feature("log_vol_15_over_240", "volatility", 240, "log vol(15) - log vol(240)", lambda m: m.log_volatility(15) - m.log_volatility(240)),
    Feature("log_vol_60_over_1440", "volatility", 1440, "log vol(60) - log vol(1440)", lambda m: m.log_volatility(60) - m.log_volatility(1440)),
    Feature("log_range_60", "volatility", 59, "log of log(highest high / lowest low of 60 bars), floored", lambda m: log(floored(log(m.highest(60) / m.lowest(60)), VOLATILITY_FLOOR))),
    Feature("log_atr_14", "volatility", 216, "log of (Wilder's average true range of 14 bars / close)", lambda m: log(m.average_true_range(14))),
    Feature("log_atr_14_over_60", "volatility", 952, "log of the average true range of 14 bars over that of 60", lambda m: log(m.average_true_range(14) / m.average_true_range(60))),
    Feature("log_jump_ratio_60", "volatility", 61, "log of the mean squared return over the bipower variation of 60 bars", lambda m: log(m.variance(60) / m.bipower_variance(60))),
    # Returns in units of volatility
    Feature("return_1_over_vol_60", "return", 60, "log return of 1 bar / vol(60)", lambda m: m.change(1) / m.volatility(60)),
    Feature("return_5_over_vol_60", "return", 60, "log return of 5 bars / vol(60)", lambda m: m.change(5) / m.volatility(60)),
    Feature("return_15_over_vol_60", "return", 60, "log return of 15 bars / vol(60)", lambda m: m.change(15) / m.volatility(60)),
    Feature("return_60_over_vol_240", "return", 240, "log return of 60 bars / vol(240)", lambda m: m.change(60) / m.volatility(240)),
    Feature("return_240_over_vol_1440", "return", 1440, "log return of 240 bars / vol(1440)", lambda m: m.change(240) / m.volatility(1440)),
    # Exponential means and oscillators
    Feature("ema_gap_15", "oscillator", 119, "log close - exponential mean (span 15) of log close", lambda m: m.ema_gap(15)),
    Feature("ema_gap_60_over_vol_60", "oscillator", 479, "(log close - exponential mean (span 60) of log close) / vol(60)", lambda m: m.ema_gap(60) / m.volatility(60)),
    Feature("ema_gap_240_over_vol_240", "oscillator", 1439, "(log close - exponential mean (span 240) of log close) / vol(240)", lambda m: m.ema_gap(240) / m.volatility(240)),
    Feature("macd_over_vol_60", "oscillator", 207, "(exponential mean of log close, span 12 - span 26) / vol(60)", lambda m: m.ema_difference(12, 26) / m.volatility(60)),
    Feature("macd_less_signal_over_vol_60", "oscillator", 278, "(that difference - its own exponential mean, span 9) / vol(60)", lambda m: (m.ema_difference(12, 26) - m.ema(m.ema_difference(12, 26), 9)) / m.volatility(60)),
    Feature("rsi_14", "oscillator", 216, "Wilder's mean (14) of log returns / of |log returns|", lambda m: m.relative_strength(14)),
    Feature("bollinger_20", "oscillator", 19, "(log close - mean of 20) / standard deviation of the 20 log closes", lambda m: m.score(20)),
    Feature("bollinger_60", "oscillator", 59, "(log close - mean of 60) / standard deviation of the 60 log closes", lambda m: m.score(60)),
    Feature("stochastic_14", "oscillator", 13, "place of the close in the range of 14 bars, -1 to 1", lambda m: m.range_position(14)),
    Feature("range_position_60", "oscillator", 59, "place of the close in the range of 60 bars, -1 to 1", lambda m: m.range_position(60)),
    Feature("range_position_240", "oscillator", 239, "place of the close in the range of 240 bars, -1 to 1", lambda m: m.range_position(240)),
    Feature("cci_20", "oscillator", 19, "(typical price - mean of 20) / mean absolute deviation of the 20", lambda m: m.commodity_channel(20)),
    Feature("mfi_14", "oscillator", 1439, "(rising - falling money flow) / money flow of 14 bars", lambda m: m.money_flow(14)),
    Feature("directional_index_14", "oscillator", 216, "Wilder's (+DI - -DI) / (+DI + -DI) of 14 bars", lambda m: m.directional_index(14)),
    Feature("adx_14", "oscillator", 431, "Wilder's mean (14) of |directional index|", lambda m: m.wilder(np.abs(m.directional_index(14)), 14)),
    Feature("efficiency_60", "oscillator", 60, "log return of 60 bars / sum of the 60 |log returns|", lambda m: m.efficiency(60)),
    # Shape of the distribution of returns
    Feature("autocorrelation_60", "shape", 61, "mean product of neighbouring log returns / mean squared return, 60 bars", lambda m: m.autocorrelation(60)),
    Feature("skewness_240", "shape", 240, "skewness of the last 240 log returns", lambda m: m.skewness(240)),
    Feature("log_kurtosis_240", "shape", 240, "log kurtosis of the last 240 log returns", lambda m: m.log_kurtosis(240)),
    Feature("falling_share_60", "shape", 60, "share of falling bars in the sum of 60 squared log returns", lambda m: m.falling_share(60)),
    # Volume
    Feature("log_volume_1_over_60", "volume", 1439, "log of volume / mean volume of 60 bars, both + 1 % of the day's mean", lambda m: m.log_volume_ratio(1, 60)),
    Feature("log_volume_15_over_240", "volume", 1439, "log of mean volume of 15 bars / of 240 bars, both + 1 % of the day's mean", lambda m: m.log_volume_ratio(15, 240)),
    Feature("log_volume_60_over_1440", "volume", 1439, "log of mean volume of 60 bars / of 1440 bars, both + 1 % of the day's mean", lambda m: m.log_volume_ratio(60, DAY_MINUTES)),
    Feature("volume_score_60", "volume", 1439, "(volume - mean of 60 bars) / standard deviation of the 60 volumes", lambda m: m.volume_score(60)),
    Feature("signed_volume_60", "volume", 1439, "sum of sign(log return) x volume / sum of volume, 60 bars", lambda m: m.signed_volume(60)),
    # The newest candle
    Feature("body", "candle", 0, "(close - open) / (high - low)", lambda m: (m.close - m.open) / m.bar_range()),
    Feature("wick_balance", "candle", 0, "(lower - upper wick) / (high - low)", lambda m: ((np.minimum(m.open, m.close) - m.low) - (m.high - np.maximum(m.open, m.close))) / m.bar_range()),
    # Clock, of the bar's open time in UTC
    Feature("sin_day", "clock", 0, "sin(2 pi minute of day / 1440)", lambda m: m.clock("sin", DAY_MINUTES, 1)),
    Feature("cos_day", "clock", 0, "cos(2 pi minute of day / 1440)", lambda m: m.clock("cos", DAY_MINUTES, 1)),
    Feature("sin_half_day", "clock", 0, "sin(4 pi minute of day / 1440)", lambda m: m.clock("sin", DAY_MINUTES, 2)),
    Feature("cos_half_day", "clock", 0, "cos(4 pi minute of day / 1440)", lambda m: m.clock("cos", DAY_MINUTES, 2)),
    Feature("sin_week", "clock", 0, "sin(2 pi minute of week / 10080), weeks from Thursday 00:00", lambda m: m.clock("sin", WEEK_MINUTES, 1)),
    Feature("cos_week", "clock", 0, "cos(2 pi minute of week / 10080), weeks from Thursday 00:00", lambda m: m.clock("cos", WEEK_MINUTES, 1)),
)
# fmt: on

FEATURE_NAMES: Final[tuple[str, ...]] = tuple(feature.name for feature in FEATURES)
"""Names in the order of the model's inputs."""
WARM_UP_BARS: Final = max(feature.warm_up_bars for feature in FEATURES)
"""Rows at the start of each segment that have no values: all 72 appear together in the next row."""
DEPENDENCY_BARS: Final = 2048
"""No value depends on more than this many earlier bars (longest chain: a return, 1440 bars and a block)."""
SERVING_BARS: Final = 4096
"""Bars to fetch for the newest row; more than any value depends on, so it equals the full history's bit for bit."""
