"""The 72 features of the current set: an ordered, named, versioned list with one line of arithmetic on measures for each.

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
    VARIANCE_FLOOR,
    VOLATILITY_FLOOR,
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
    """What it belongs to: trend, volatility, return, oscillator, volume, clock or candle."""
    warm_up_bars: int
    """Rows at the start of a segment that have no value."""
    formula: str
    """What a reader needs to compute it by hand."""
    compute: Callable[[Measures], Column]
    """The column of a slice, float64 [n], NaN in the warm-up."""


# fmt: off
FEATURES: Final[tuple[Feature, ...]] = (
    # The label's known part g, in the units in which the future moves
    Feature("g_60", "trend", 59, "log close - mean of the last 60 log closes", lambda m: m.gap(60)),
    Feature("g_60_over_vol_5", "trend", 59, "g_60 / vol(5)", lambda m: m.gap(60) / m.volatility(5)),
    Feature("g_60_over_vol_15", "trend", 59, "g_60 / vol(15)", lambda m: m.gap(60) / m.volatility(15)),
    Feature("g_60_over_vol_30", "trend", 59, "g_60 / vol(30)", lambda m: m.gap(60) / m.volatility(30)),
    Feature("g_60_over_vol_60", "trend", 60, "g_60 / vol(60)", lambda m: m.gap(60) / m.volatility(60)),
    Feature("g_60_over_vol_120", "trend", 120, "g_60 / vol(120)", lambda m: m.gap(60) / m.volatility(120)),
    Feature("g_60_over_vol_240", "trend", 240, "g_60 / vol(240)", lambda m: m.gap(60) / m.volatility(240)),
    Feature("g_60_over_vol_480", "trend", 480, "g_60 / vol(480)", lambda m: m.gap(60) / m.volatility(480)),
    Feature("g_60_over_vol_1440", "trend", 1440, "g_60 / vol(1440)", lambda m: m.gap(60) / m.volatility(1440)),
    Feature("g_60_over_parkinson_15", "trend", 59, "g_60 / Parkinson volatility of 15 bars", lambda m: m.gap(60) / m.parkinson(15)),
    Feature("g_60_over_parkinson_60", "trend", 59, "g_60 / Parkinson volatility of 60 bars", lambda m: m.gap(60) / m.parkinson(60)),
    Feature("g_60_over_parkinson_240", "trend", 239, "g_60 / Parkinson volatility of 240 bars", lambda m: m.gap(60) / m.parkinson(240)),
    Feature("g_60_over_garman_klass_60", "trend", 59, "g_60 / Garman-Klass volatility of 60 bars", lambda m: m.gap(60) / root(m.garman_klass_variance(60))),
    Feature("g_60_over_atr_14", "trend", 216, "g_60 / (Wilder's average true range of 14 bars / close)", lambda m: m.gap(60) / m.average_true_range(14)),
    Feature("g_60_over_atr_60", "trend", 952, "g_60 / (Wilder's average true range of 60 bars / close)", lambda m: m.gap(60) / m.average_true_range(60)),
    Feature("abs_g_60", "trend", 59, "|g_60|", lambda m: m.gap_size(60)),
    Feature("abs_g_60_over_vol_15", "trend", 59, "|g_60| / vol(15)", lambda m: m.gap_size(60) / m.volatility(15)),
    Feature("abs_g_60_over_vol_60", "trend", 60, "|g_60| / vol(60)", lambda m: m.gap_size(60) / m.volatility(60)),
    Feature("abs_g_60_over_vol_240", "trend", 240, "|g_60| / vol(240)", lambda m: m.gap_size(60) / m.volatility(240)),
    Feature("g_15_over_vol_60", "trend", 60, "(log close - mean of 15 log closes) / vol(60)", lambda m: m.gap(15) / m.volatility(60)),
    Feature("g_30_over_vol_60", "trend", 60, "(log close - mean of 30 log closes) / vol(60)", lambda m: m.gap(30) / m.volatility(60)),
    Feature("g_120_over_vol_240", "trend", 240, "(log close - mean of 120 log closes) / vol(240)", lambda m: m.gap(120) / m.volatility(240)),
    Feature("g_240_over_vol_240", "trend", 240, "(log close - mean of 240 log closes) / vol(240)", lambda m: m.gap(240) / m.volatility(240)),
    Feature("mean_15_less_60_over_vol_60", "trend", 60, "(mean of 15 - mean of 60 log closes) / vol(60)", lambda m: m.mean_gap(15, 60) / m.volatility(60)),
    Feature("mean_30_less_60_over_vol_60", "trend", 60, "(mean of 30 - mean of 60 log closes) / vol(60)", lambda m: m.mean_gap(30, 60) / m.volatility(60)),
    Feature("weighted_g_60_over_vol_60", "trend", 1439, "(log close - mean of 60 log closes weighted by volume + 1 % of the day's mean) / vol(60)", lambda m: m.weighted_gap(60) / m.volatility(60)),
    # Volatility on many time scales, by several estimators
    Feature("log_vol_5", "volatility", 5, "log vol(5)", lambda m: m.log_volatility(5)),
    Feature("log_vol_15", "volatility", 15, "log vol(15)", lambda m: m.log_volatility(15)),
    Feature("log_vol_30", "volatility", 30, "log vol(30)", lambda m: m.log_volatility(30)),
    Feature("log_vol_60", "volatility", 60, "log vol(60)", lambda m: m.log_volatility(60)),
    Feature("log_vol_120", "volatility", 120, "log vol(120)", lambda m: m.log_volatility(120)),
    Feature("log_vol_240", "volatility", 240, "log vol(240)", lambda m: m.log_volatility(240)),
    Feature("log_vol_1440", "volatility", 1440, "log vol(1440)", lambda m: m.log_volatility(1440)),
    Feature("log_ewm_vol_10", "volatility", 80, "half the log of the exponential mean (span 10) of squared log returns, floored", lambda m: 0.5 * log(floored(m.ema(m.square(), 10), VARIANCE_FLOOR))),
    Feature("log_ewm_vol_30", "volatility", 240, "half the log of the exponential mean (span 30) of squared log returns, floored", lambda m: 0.5 * log(floored(m.ema(m.square(), 30), VARIANCE_FLOOR))),
    Feature("log_ewm_vol_120", "volatility", 960, "half the log of the exponential mean (span 120) of squared log returns, floored", lambda m: 0.5 * log(floored(m.ema(m.square(), 120), VARIANCE_FLOOR))),
    Feature("log_parkinson_5", "volatility", 4, "log of the Parkinson volatility of 5 bars", lambda m: 0.5 * log(m.parkinson_variance(5))),
    Feature("log_parkinson_15", "volatility", 14, "log of the Parkinson volatility of 15 bars", lambda m: 0.5 * log(m.parkinson_variance(15))),
    Feature("log_parkinson_30", "volatility", 29, "log of the Parkinson volatility of 30 bars", lambda m: 0.5 * log(m.parkinson_variance(30))),
    Feature("log_parkinson_60", "volatility", 59, "log of the Parkinson volatility of 60 bars", lambda m: 0.5 * log(m.parkinson_variance(60))),
    Feature("log_parkinson_240", "volatility", 239, "log of the Parkinson volatility of 240 bars", lambda m: 0.5 * log(m.parkinson_variance(240))),
    Feature("log_garman_klass_15", "volatility", 14, "log of the Garman-Klass volatility of 15 bars", lambda m: 0.5 * log(m.garman_klass_variance(15))),
    Feature("log_garman_klass_60", "volatility", 59, "log of the Garman-Klass volatility of 60 bars", lambda m: 0.5 * log(m.garman_klass_variance(60))),
    Feature("log_garman_klass_240", "volatility", 239, "log of the Garman-Klass volatility of 240 bars", lambda m: 0.5 * log(m.garman_klass_variance(240))),
    Feature("inverse_vol_15", "volatility", 15, "0.0001 / (0.0001 + vol(15))", lambda m: 1e-4 / (1e-4 + m.volatility(15))),
    Feature("inverse_vol_30", "volatility", 30, "0.0001 / (0.0001 + vol(30))", lambda m: 1e-4 / (1e-4 + m.volatility(30))),
    Feature("inverse_vol_60", "volatility", 60, "0.0001 / (0.0001 + vol(60))", lambda m: 1e-4 / (1e-4 + m.volatility(60))),
    Feature("inverse_vol_120", "volatility", 120, "0.0001 / (0.0001 + vol(120))", lambda m: 1e-4 / (1e-4 + m.volatility(120))),
    Feature("inverse_vol_240", "volatility", 240, "0.0001 / (0.0001 + vol(240))", lambda m: 1e-4 / (1e-4 + m.volatility(240))),
    Feature("inverse_parkinson_15", "volatility", 14, "0.0001 / (0.0001 + Parkinson volatility of 15 bars)", lambda m: 1e-4 / (1e-4 + m.parkinson(15))),
    Feature("inverse_parkinson_60", "volatility", 59, "0.0001 / (0.0001 + Parkinson volatility of 60 bars)", lambda m: 1e-4 / (1e-4 + m.parkinson(60))),
    Feature("inverse_parkinson_240", "volatility", 239, "0.0001 / (0.0001 + Parkinson volatility of 240 bars)", lambda m: 1e-4 / (1e-4 + m.parkinson(240))),
    Feature("log_vol_5_over_60", "volatility", 60, "log vol(5) - log vol(60)", lambda m: m.log_volatility(5) - m.log_volatility(60)),
    Feature("log_vol_15_over_240", "volatility", 240, "log vol(15) - log vol(240)", lambda m: m.log_volatility(15) - m.log_volatility(240)),
    Feature("log_range_60", "volatility", 59, "log of log(highest high / lowest low of 60 bars), floored", lambda m: log(floored(log(m.highest(60) / m.lowest(60)), VOLATILITY_FLOOR))),
    Feature("log_atr_14", "volatility", 216, "log of (Wilder's average true range of 14 bars / close)", lambda m: log(m.average_true_range(14))),
    Feature("log_atr_60", "volatility", 952, "log of (Wilder's average true range of 60 bars / close)", lambda m: log(m.average_true_range(60))),
    # Returns in units of volatility
    Feature("return_1_over_vol_60", "return", 60, "log return of 1 bar / vol(60)", lambda m: m.change(1) / m.volatility(60)),
    Feature("return_15_over_vol_60", "return", 60, "log return of 15 bars / vol(60)", lambda m: m.change(15) / m.volatility(60)),
    # Exponential means and oscillators
    Feature("ema_gap_15", "oscillator", 119, "log close - exponential mean (span 15) of log close", lambda m: m.ema_gap(15)),
    Feature("ema_gap_240_over_vol_240", "oscillator", 1439, "(log close - exponential mean (span 240) of log close) / vol(240)", lambda m: m.ema_gap(240) / m.volatility(240)),
    Feature("macd_over_vol_60", "oscillator", 207, "(exponential mean of log close, span 12 - span 26) / vol(60)", lambda m: m.ema_difference(12, 26) / m.volatility(60)),
    Feature("rsi_14", "oscillator", 216, "Wilder's mean (14) of log returns / of |log returns|", lambda m: m.relative_strength(14)),
    Feature("bollinger_60", "oscillator", 59, "(log close - mean of 60) / standard deviation of the 60 log closes", lambda m: m.score(60)),
    Feature("stochastic_14", "oscillator", 13, "place of the close in the range of 14 bars, -1 to 1", lambda m: m.range_position(14)),
    Feature("cci_20", "oscillator", 19, "(typical price - mean of 20) / mean absolute deviation of the 20", lambda m: m.commodity_channel(20)),
    Feature("mfi_14", "oscillator", 1439, "(rising - falling money flow) / money flow of 14 bars", lambda m: m.money_flow(14)),
    Feature("adx_14", "oscillator", 431, "Wilder's mean (14) of |directional index|", lambda m: m.wilder(np.abs(m.directional_index(14)), 14)),
    # Volume
    Feature("log_volume_1_over_60", "volume", 1439, "log of volume / mean volume of 60 bars, both + 1 % of the day's mean", lambda m: m.log_volume_ratio(1, 60)),
    Feature("log_volume_15_over_240", "volume", 1439, "log of mean volume of 15 bars / of 240 bars, both + 1 % of the day's mean", lambda m: m.log_volume_ratio(15, 240)),
    # Clock, of the bar's open time in UTC
    Feature("sin_day", "clock", 0, "sin(2 pi minute of day / 1440)", lambda m: m.clock("sin")),
    Feature("cos_day", "clock", 0, "cos(2 pi minute of day / 1440)", lambda m: m.clock("cos")),
)
# fmt: on

FEATURE_NAMES: Final[tuple[str, ...]] = tuple(feature.name for feature in FEATURES)
"""Names in the order of the model's inputs."""
WARM_UP_BARS: Final = max(feature.warm_up_bars for feature in FEATURES)
"""Rows at the start of each segment that have no values: all 72 appear together in the next row."""
DEPENDENCY_BARS: Final = 1792
"""No value depends on more than this many earlier bars (longest chain: a return, 1440 bars and a block)."""
SERVING_BARS: Final = 4096
"""Bars to fetch for the newest row; more than any value depends on, so it equals the full history's bit for bit."""
