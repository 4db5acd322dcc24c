"""raw72: 72 unscaled features of the kind that the bots of 2025 fed to their networks, for models that were trained on such.

V6 and V7 files name no features. This list and its order are therefore ours, by decision: the five columns of a candle
first (feature 4, counted from 1, is the close), then the usual indicators with their usual windows. A file whose network
was trained on another list answers nonsense here; name its own list with `--features FILE`, one name a line.

Prices and differences of prices are in the quote currency, volumes in the base coin, oscillators on their usual scale (RSI
0 .. 100, Williams %R -100 .. 0), so the numbers of one symbol mean nothing for another: a network on these features needs
a scaler. Smoothing follows the house's kernels: exponential means look back eight spans and at most a day, which moves
no value by more than 1e-6 of the input's range. Every divisor has a floor, so all values are finite on constant prices and
without volume; an oscillator without any movement stands in its middle.

    1-5    open, high, low, close, volume
    6-12   simple means of the close: 7, 14, 21, 30, 50, 100, 200
    13-19  exponential means of the close: 9, 12, 21, 26, 50, 100, 200
    20-22  MACD (12, 26, 9): line, signal, histogram
    23-27  Bollinger (20, 2): upper, middle, lower, width, place of the close
    28-30  true range, Wilder's average true range of 14 and 21
    31-33  RSI of 7, 14, 21
    34-42  stochastic %K and %D, Williams %R, CCI of 14 and 30, MFI, ADX, +DI, -DI
    43-52  momentum, rate of change and returns over several windows
    53-55  standard deviation of the returns: 10, 30, 60
    56-59  highest high and lowest low: 20, 60
    60-64  mean volume of 10 and 30, volume over the latter, volume-weighted mean price of 30 and 60
    65-69  typical price, body, range, upper and lower shadow of the candle
    70-72  hour, minute, day of the week (UTC)

A change of a name, of the order or of a value needs a new RAW72_VERSION. No name occurs in the current list too.

What does not belong here: what both lists share (measures.py), the choice between lists (sets.py).
"""

from typing import Final

import numpy as np

from models_lib.features.definitions import Feature
from models_lib.features.kernels import Column
from models_lib.features.measures import DAY_MINUTES, NOTHING, TIE, Measures, floored, remembered, root

RAW72_VERSION: Final = 1
"""Raised when a name, the order or a value changes."""
CCI_FACTOR: Final = 0.015
"""Lambert 1980: makes most values of the commodity channel index lie within 100."""
EPOCH_WEEKDAY: Final = 3
"""1970-01-01 was a Thursday; Monday is 0."""


@remembered
def price_level(m: Measures, window: int) -> tuple[Column, Column]:
    """Mean and population standard deviation of the last `window` closes."""
    mean, variance = m.mean_and_variance(m.close, window)
    return mean, root(variance)


@remembered
def price_ema(m: Measures, span: int) -> Column:
    """Exponential mean of the close."""
    return m.ema(m.close, span)


@remembered
def macd(m: Measures) -> Column:
    """Appel 1979: exponential mean of the close of span 12 minus that of span 26."""
    return price_ema(m, 12) - price_ema(m, 26)


@remembered
def macd_signal(m: Measures) -> Column:
    """Exponential mean of the MACD, span 9."""
    return m.ema(macd(m), 9)


def bollinger_position(m: Measures) -> Column:
    """Bollinger's %B: 0 at the lower band, 1 at the upper one, 0.5 where the closes are all the same."""
    mean, deviation = price_level(m, 20)
    return 0.5 + (m.close - mean) / (4.0 * floored(deviation, TIE * m.close))


@remembered
def price_true_range(m: Measures, window: int) -> Column:
    """Wilder's mean of the true range, in the quote currency."""
    return m.wilder(m.true_range(), window)


def rsi(m: Measures, window: int) -> Column:
    """Wilder 1978: smoothed rises over smoothed moves of the close, 0 .. 100; 50 without any move."""
    change = momentum(m, 1)
    return 50.0 + 50.0 * m.wilder(change, window) / floored(m.wilder(np.abs(change), window), TIE * m.close)


@remembered
def stochastic(m: Measures) -> Column:
    """Lane's %K: place of the close in the range of 14 bars, 0 .. 100; 50 where there is no range."""
    return 50.0 + 50.0 * m.range_position(14)


def directional(m: Measures, which: int) -> Column:
    """Wilder's +DI (0) or -DI (1) of 14 bars, 0 .. 100."""
    return 100.0 * m.directional_moves(14)[which] / floored(price_true_range(m, 14), TIE * m.close)


def momentum(m: Measures, bars: int) -> Column:
    """Close minus the close `bars` earlier."""
    return m.close - m.earlier(m.close, bars)


@remembered
def simple_return(m: Measures, bars: int) -> Column:
    """Close over the close `bars` earlier, less 1."""
    return m.close / m.earlier(m.close, bars) - 1.0


def return_deviation(m: Measures, window: int) -> Column:
    """Population standard deviation of the last `window` one-minute returns."""
    return root(m.mean_and_variance(simple_return(m, 1), window)[1])


def volume_ratio(m: Measures, window: int) -> Column:
    """Volume over the mean of the last `window`; 0 where that is 0. The mean holds the newest bar: at most `window`."""
    return m.volume / floored(m.mean_volume(window), floored(m.volume / window, NOTHING))


def volume_weighted_price(m: Measures, window: int) -> Column:
    """Mean of the typical price weighted by volume, within the window's range; without volume the plain mean."""
    typical, volume = m.typical_price(), m.mean_volume(window)
    plain, _ = m.mean_and_variance(typical, window)
    weighted = m.mean(typical * m.volume, window) / floored(volume, NOTHING)
    inside = np.minimum(floored(weighted, m.lowest(window)), m.highest(window))
    return np.where(volume > 0.0, inside, plain)


# fmt: off
RAW72_FEATURES: Final[tuple[Feature, ...]] = (
    # The candle as it is
    Feature("open", "candle", 0, "open", lambda m: m.open),
    Feature("high", "candle", 0, "high", lambda m: m.high),
    Feature("low", "candle", 0, "low", lambda m: m.low),
    Feature("close", "candle", 0, "close", lambda m: m.close),
    Feature("volume", "volume", 0, "volume", lambda m: m.volume),
    # Means of the close
    Feature("sma_7", "trend", 6, "mean of the last 7 closes", lambda m: price_level(m, 7)[0]),
    Feature("sma_14", "trend", 13, "mean of the last 14 closes", lambda m: price_level(m, 14)[0]),
    Feature("sma_21", "trend", 20, "mean of the last 21 closes", lambda m: price_level(m, 21)[0]),
    Feature("sma_30", "trend", 29, "mean of the last 30 closes", lambda m: price_level(m, 30)[0]),
    Feature("sma_50", "trend", 49, "mean of the last 50 closes", lambda m: price_level(m, 50)[0]),
    Feature("sma_100", "trend", 99, "mean of the last 100 closes", lambda m: price_level(m, 100)[0]),
    Feature("sma_200", "trend", 199, "mean of the last 200 closes", lambda m: price_level(m, 200)[0]),
    Feature("ema_9", "trend", 71, "exponential mean (span 9) of the close", lambda m: price_ema(m, 9)),
    Feature("ema_12", "trend", 95, "exponential mean (span 12) of the close", lambda m: price_ema(m, 12)),
    Feature("ema_21", "trend", 167, "exponential mean (span 21) of the close", lambda m: price_ema(m, 21)),
    Feature("ema_26", "trend", 207, "exponential mean (span 26) of the close", lambda m: price_ema(m, 26)),
    Feature("ema_50", "trend", 399, "exponential mean (span 50) of the close", lambda m: price_ema(m, 50)),
    Feature("ema_100", "trend", 799, "exponential mean (span 100) of the close", lambda m: price_ema(m, 100)),
    Feature("ema_200", "trend", 1439, "exponential mean (span 200) of the close", lambda m: price_ema(m, 200)),
    Feature("macd", "trend", 207, "ema_12 - ema_26", macd),
    Feature("macd_signal", "trend", 278, "exponential mean (span 9) of macd", macd_signal),
    Feature("macd_histogram", "trend", 278, "macd - macd_signal", lambda m: macd(m) - macd_signal(m)),
    # Bands and ranges
    Feature("bollinger_upper", "volatility", 19, "mean of the last 20 closes + 2 standard deviations", lambda m: price_level(m, 20)[0] + 2.0 * price_level(m, 20)[1]),
    Feature("bollinger_middle", "volatility", 19, "mean of the last 20 closes", lambda m: price_level(m, 20)[0]),
    Feature("bollinger_lower", "volatility", 19, "mean of the last 20 closes - 2 standard deviations", lambda m: price_level(m, 20)[0] - 2.0 * price_level(m, 20)[1]),
    Feature("bollinger_width", "volatility", 19, "(bollinger_upper - bollinger_lower) / bollinger_middle", lambda m: 4.0 * price_level(m, 20)[1] / price_level(m, 20)[0]),
    Feature("bollinger_position", "oscillator", 19, "(close - bollinger_lower) / (bollinger_upper - bollinger_lower)", bollinger_position),
    Feature("true_range", "volatility", 1, "largest of high - low, |high - last close|, |low - last close|", lambda m: m.true_range()),
    Feature("atr_14", "volatility", 216, "Wilder's mean (14) of the true range", lambda m: price_true_range(m, 14)),
    Feature("atr_21", "volatility", 328, "Wilder's mean (21) of the true range", lambda m: price_true_range(m, 21)),
    # Oscillators
    Feature("rsi_7_percent", "oscillator", 104, "50 + 50 Wilder's mean (7) of the close's moves / of their sizes", lambda m: rsi(m, 7)),
    Feature("rsi_14_percent", "oscillator", 216, "50 + 50 Wilder's mean (14) of the close's moves / of their sizes", lambda m: rsi(m, 14)),
    Feature("rsi_21_percent", "oscillator", 328, "50 + 50 Wilder's mean (21) of the close's moves / of their sizes", lambda m: rsi(m, 21)),
    Feature("stochastic_k", "oscillator", 13, "100 (close - lowest low) / (highest high - lowest low) of 14 bars", stochastic),
    Feature("stochastic_d", "oscillator", 15, "mean of the last 3 stochastic_k", lambda m: m.mean(stochastic(m), 3)),
    Feature("williams_r_14", "oscillator", 13, "stochastic_k - 100", lambda m: stochastic(m) - 100.0),
    Feature("cci_14", "oscillator", 13, "(typical price - mean of 14) / (0.015 mean absolute deviation of the 14)", lambda m: m.commodity_channel(14) / CCI_FACTOR),
    Feature("cci_30", "oscillator", 29, "(typical price - mean of 30) / (0.015 mean absolute deviation of the 30)", lambda m: m.commodity_channel(30) / CCI_FACTOR),
    Feature("mfi_14_percent", "oscillator", 1439, "100 rising money flow / money flow of 14 bars", lambda m: 50.0 + 50.0 * m.money_flow(14)),
    Feature("adx_14_percent", "oscillator", 431, "100 Wilder's mean (14) of |+DI - -DI| / (+DI + -DI)", lambda m: 100.0 * m.wilder(np.abs(m.directional_index(14)), 14)),
    Feature("plus_di_14", "oscillator", 216, "100 Wilder's mean (14) of rises of the high / atr_14", lambda m: directional(m, 0)),
    Feature("minus_di_14", "oscillator", 216, "100 Wilder's mean (14) of falls of the low / atr_14", lambda m: directional(m, 1)),
    # Moves
    Feature("momentum_4", "return", 4, "close - close 4 bars ago", lambda m: momentum(m, 4)),
    Feature("momentum_10", "return", 10, "close - close 10 bars ago", lambda m: momentum(m, 10)),
    Feature("momentum_20", "return", 20, "close - close 20 bars ago", lambda m: momentum(m, 20)),
    Feature("roc_10", "return", 10, "100 (close / close 10 bars ago - 1)", lambda m: 100.0 * simple_return(m, 10)),
    Feature("roc_20", "return", 20, "100 (close / close 20 bars ago - 1)", lambda m: 100.0 * simple_return(m, 20)),
    Feature("roc_30", "return", 30, "100 (close / close 30 bars ago - 1)", lambda m: 100.0 * simple_return(m, 30)),
    Feature("return_1", "return", 1, "close / last close - 1", lambda m: simple_return(m, 1)),
    Feature("return_5", "return", 5, "close / close 5 bars ago - 1", lambda m: simple_return(m, 5)),
    Feature("return_15", "return", 15, "close / close 15 bars ago - 1", lambda m: simple_return(m, 15)),
    Feature("return_60", "return", 60, "close / close 60 bars ago - 1", lambda m: simple_return(m, 60)),
    Feature("volatility_10", "volatility", 10, "standard deviation of the last 10 return_1", lambda m: return_deviation(m, 10)),
    Feature("volatility_30", "volatility", 30, "standard deviation of the last 30 return_1", lambda m: return_deviation(m, 30)),
    Feature("volatility_60", "volatility", 60, "standard deviation of the last 60 return_1", lambda m: return_deviation(m, 60)),
    Feature("highest_20", "trend", 19, "highest high of 20 bars", lambda m: m.highest(20)),
    Feature("lowest_20", "trend", 19, "lowest low of 20 bars", lambda m: m.lowest(20)),
    Feature("highest_60", "trend", 59, "highest high of 60 bars", lambda m: m.highest(60)),
    Feature("lowest_60", "trend", 59, "lowest low of 60 bars", lambda m: m.lowest(60)),
    # Volume
    Feature("volume_mean_10", "volume", 9, "mean of the last 10 volumes", lambda m: m.mean_volume(10)),
    Feature("volume_mean_30", "volume", 29, "mean of the last 30 volumes", lambda m: m.mean_volume(30)),
    Feature("volume_ratio_30", "volume", 29, "volume / volume_mean_30", lambda m: volume_ratio(m, 30)),
    Feature("vwap_30", "volume", 29, "mean of the last 30 typical prices weighted by volume", lambda m: volume_weighted_price(m, 30)),
    Feature("vwap_60", "volume", 59, "mean of the last 60 typical prices weighted by volume", lambda m: volume_weighted_price(m, 60)),
    # The candle's shape
    Feature("typical_price", "candle", 0, "(high + low + close) / 3", lambda m: m.typical_price()),
    Feature("body", "candle", 0, "close - open", lambda m: m.close - m.open),
    Feature("candle_range", "candle", 0, "high - low", lambda m: m.high - m.low),
    Feature("upper_shadow", "candle", 0, "high - the higher of open and close", lambda m: m.high - np.maximum(m.open, m.close)),
    Feature("lower_shadow", "candle", 0, "the lower of open and close - low", lambda m: np.minimum(m.open, m.close) - m.low),
    # Clock, of the bar's open time in UTC
    Feature("hour", "clock", 0, "hour of the day, 0 .. 23", lambda m: m.minutes() % DAY_MINUTES // 60.0),
    Feature("minute", "clock", 0, "minute of the hour, 0 .. 59", lambda m: m.minutes() % 60.0),
    Feature("day_of_week", "clock", 0, "0 for Monday .. 6 for Sunday", lambda m: (m.minutes() // DAY_MINUTES + EPOCH_WEEKDAY) % 7.0),
)
# fmt: on
