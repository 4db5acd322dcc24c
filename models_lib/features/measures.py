"""What the features are made of: returns, volatilities, ranges, volumes and the clock of one slice of one segment.

Each measure is computed once for a slice and remembered, so a feature is one line of arithmetic on measures. All are
causal: bar t uses bars that were closed at or before t. All columns are laid out in blocks (kernels.py), NaN at the front
until their window is full; arithmetic on them does not see the layout. Windows are in bars of one minute.

Every divisor has a floor, so constant prices and stretches without volume give finite values.

What does not belong here: which combinations are features (definitions.py), measures of raw72 alone (raw72.py), loops over
rows (kernels.py).
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, Final, Literal, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from models_lib.features.kernels import (
    BLOCK,
    Column,
    exponential_mean,
    lay_out,
    rolling_max,
    rolling_mean,
    rolling_mean_and_variance,
    rolling_mean_deviation,
)

VOLATILITY_FLOOR: Final = 2e-5
"""Smallest volatility per minute that anything is divided by: 0.2 basis points."""
VARIANCE_FLOOR: Final = VOLATILITY_FLOOR**2
"""The same as a variance per minute."""
QUIET_SHARE: Final = 0.01
"""Volumes are compared after adding this share of the last day's mean volume."""
TIE: Final = 1e-10
"""Two prices nearer than this share of the price are equal: ticks are at least 1e-8, rounding errors 1e-16."""
LOG_2: Final = math.log(2.0)
DAY_MINUTES: Final = 1440
MEMORY_SPANS: Final = 8
"""An exponential mean looks back this many spans, at most a day: what is older has a weight of exp(-16), 1e-7."""
NOTHING: Final = 1e-300
"""Makes 0 / 0 a 0 where all volumes of the last day are zero."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


_DAY_ANGLE: Final = np.arange(DAY_MINUTES, dtype=np.float64) * (2.0 * np.pi / DAY_MINUTES)
_CLOCK: Final = {"sin": np.sin(_DAY_ANGLE), "cos": np.cos(_DAY_ANGLE)}


def remembered(measure: "Callable[Concatenate[Measures, _P], _R]") -> "Callable[Concatenate[Measures, _P], _R]":
    """The measure, computed at the first call with its windows and looked up afterwards."""

    @wraps(measure)
    def lookup(self: "Measures", /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        key = (measure, args)
        if key not in self._known:
            self._known[key] = measure(self, *args, **kwargs)
        known: _R = self._known[key]
        return known

    return lookup


def log(values: Column) -> Column:
    """Natural logarithm."""
    out: Column = np.log(values)
    return out


def root(values: Column) -> Column:
    """Square root."""
    out: Column = np.sqrt(values)
    return out


def floored(values: Column, floor: Column | float) -> Column:
    """The values, nowhere below the floor."""
    out: Column = np.maximum(values, floor)
    return out


class Measures:
    """The measures of consecutive bars without a hole, each computed when first asked for.

    Args:
        minute: epoch minute of the first bar; the rest follow without a hole.
        open_, high, low, close: prices, float64, shape [n].
        volume: shape [n].
        cut: the slice is not the beginning of its segment. What would depend on where it was cut is NaN then.
    """

    def __init__(
        self,
        minute: int,
        *,
        open_: NDArray[np.float64],
        high: NDArray[np.float64],
        low: NDArray[np.float64],
        close: NDArray[np.float64],
        volume: NDArray[np.float64],
        cut: bool = False,
    ) -> None:
        self.minute, self.num_bars, self.cut = minute, len(close), cut
        self.open, self.high, self.low, self.close, self.volume = map(self.laid_out, (open_, high, low, close, volume))
        lane, row = divmod(minute % BLOCK + self.num_bars - 1, BLOCK)
        self._newest = row, lane
        self._known: dict[tuple[object, tuple[object, ...]], Any] = {}

    # The layout, and windows over any column

    def laid_out(self, values: NDArray[np.float64]) -> Column:
        """The values of the bars, shape [n], as a column."""
        given = values.view()
        given.flags.writeable = False  # columns of a frame are, others not: the kernel is compiled once for both
        return lay_out(given, self.minute % BLOCK)

    def newest(self, values: Column) -> float:
        """The value of the last bar."""
        return values.item(self._newest)

    def minutes(self) -> Column:
        """Epoch minute of each bar's open."""
        return self.laid_out(np.arange(self.minute, self.minute + self.num_bars, dtype=np.float64))

    def earlier(self, values: Column, bars: int) -> Column:
        """The value `bars` bars earlier."""
        lanes, rows = divmod(bars, BLOCK)
        out = np.full_like(values, np.nan)
        stop = values.shape[1] - lanes
        if stop > 0:
            out[rows:, lanes:] = values[: BLOCK - rows, :stop]
            out[:rows, lanes + 1 :] = values[BLOCK - rows :, : stop - 1]
        return out

    def mean(self, values: Column, window: int) -> Column:
        """Rolling mean of a column that lies around 0 or is never negative."""
        return rolling_mean(values, window, self.cut)

    def mean_and_variance(self, values: Column, window: int) -> tuple[Column, Column]:
        """Rolling mean and population variance of a level far from 0."""
        return rolling_mean_and_variance(values, window, self.cut)

    def mean_deviation(self, values: Column, means: Column, window: int) -> Column:
        """Mean of |value - mean of the window|; `means` are the column's own, of the same window."""
        return rolling_mean_deviation(values, means, window, self.cut)

    def largest(self, values: Column, window: int) -> Column:
        """Rolling maximum."""
        return rolling_max(values, window)

    def ema(self, values: Column, span: int) -> Column:
        """Exponential mean with weight 2 / (span + 1)."""
        return exponential_mean(values, 2.0 / (span + 1.0), min(MEMORY_SPANS * span, DAY_MINUTES), self.cut)

    def wilder(self, values: Column, window: int) -> Column:
        """Wilder's smoothing: the exponential mean with weight 1 / window, which is that of span 2 window - 1."""
        return self.ema(values, 2 * window - 1)

    # Returns and trend

    @remembered
    def log_close(self) -> Column:
        """Natural logarithm of the close."""
        return log(self.close)

    @remembered
    def change(self, bars: int) -> Column:
        """Log return over the last `bars` bars; equal closes give exactly 0."""
        return self.log_close() - self.earlier(self.log_close(), bars)

    @remembered
    def level(self, window: int) -> tuple[Column, Column]:
        """Mean and population variance of the last `window` log closes."""
        return self.mean_and_variance(self.log_close(), window)

    @remembered
    def mean_gap(self, short: int, long: int) -> Column:
        """Mean of the last `short` log closes minus the mean of the last `long`."""
        return self.level(short)[0] - self.level(long)[0]

    @remembered
    def gap(self, window: int) -> Column:
        """Log close minus the mean of the last `window` log closes; with 60 it is the known part of the trend label."""
        return self.log_close() - self.level(window)[0]

    @remembered
    def gap_size(self, window: int) -> Column:
        """The gap without its sign."""
        size: Column = np.abs(self.gap(window))
        return size

    @remembered
    def score(self, window: int) -> Column:
        """The gap over the standard deviation of the same log closes; Bollinger's %B moved and stretched."""
        return self.gap(window) / floored(root(self.level(window)[1]), VOLATILITY_FLOOR)

    @remembered
    def ema_log_close(self, span: int) -> Column:
        """Exponential mean of the log close."""
        return self.ema(self.log_close(), span)

    @remembered
    def ema_difference(self, fast: int, slow: int) -> Column:
        """Exponential mean of the log close of span `fast` minus that of span `slow` (MACD in logarithms)."""
        return self.ema_log_close(fast) - self.ema_log_close(slow)

    @remembered
    def ema_gap(self, span: int) -> Column:
        """Log close minus its exponential mean: (1 - weight) / weight times the exponential mean of the returns."""
        return self.log_close() - self.ema_log_close(span)

    # Volatility, per minute

    @remembered
    def square(self) -> Column:
        """Squared one-minute log return."""
        return self.change(1) * self.change(1)

    @remembered
    def variance(self, window: int) -> Column:
        """Mean of the last `window` squared log returns, floored."""
        return floored(self.mean(self.square(), window), VARIANCE_FLOOR)

    @remembered
    def volatility(self, window: int) -> Column:
        """Realised volatility: root of the mean squared log return, floored."""
        return root(self.variance(window))

    @remembered
    def log_volatility(self, window: int) -> Column:
        """Logarithm of the realised volatility."""
        return log(self.volatility(window))

    @remembered
    def range_square(self) -> Column:
        """Squared log(high / low) of each bar."""
        span = log(self.high / self.low)
        return span * span

    @remembered
    def parkinson_variance(self, window: int) -> Column:
        """Parkinson 1980: mean squared log(high / low) over 4 ln 2, floored."""
        return floored(self.mean(self.range_square(), window) / (4.0 * LOG_2), VARIANCE_FLOOR)

    @remembered
    def parkinson(self, window: int) -> Column:
        """Parkinson's volatility."""
        return root(self.parkinson_variance(window))

    @remembered
    def garman_klass_variance(self, window: int) -> Column:
        """Garman, Klass 1980: mean of 0.5 log(high/low)^2 - (2 ln 2 - 1) log(close/open)^2, floored."""
        body = log(self.close / self.open)
        bar = 0.5 * self.range_square() - (2.0 * LOG_2 - 1.0) * (body * body)
        return floored(self.mean(bar, window), VARIANCE_FLOOR)

    @remembered
    def true_range(self) -> Column:
        """Wilder 1978: the largest of high - low, |high - last close|, |low - last close|, in the quote currency."""
        last = self.earlier(self.close, 1)
        return np.maximum(self.high, last) - np.minimum(self.low, last)

    @remembered
    def average_true_range(self, window: int) -> Column:
        """Wilder's mean of the true range, as a share of the close, floored."""
        return floored(self.wilder(self.true_range(), window) / self.close, VOLATILITY_FLOOR)

    # Ranges

    @remembered
    def highest(self, window: int) -> Column:
        """Highest high of the last `window` bars."""
        return self.largest(self.high, window)

    @remembered
    def lowest(self, window: int) -> Column:
        """Lowest low of the last `window` bars."""
        return -self.largest(-self.low, window)

    @remembered
    def range_position(self, window: int) -> Column:
        """Close within the range of the last `window` bars, -1 at its low, 1 at its high, 0 where there is no range."""
        high, low = self.highest(window), self.lowest(window)
        return ((self.close - low) - (high - self.close)) / floored(high - low, TIE * self.close)

    # Oscillators

    @remembered
    def relative_strength(self, window: int) -> Column:
        """Wilder's RSI of log returns, from -1 to 1: smoothed return over smoothed |return|."""
        change = self.change(1)
        return self.wilder(change, window) / floored(self.wilder(np.abs(change), window), VOLATILITY_FLOOR)

    @remembered
    def commodity_channel(self, window: int) -> Column:
        """Lambert 1980: typical price minus its mean, over its mean deviation (without the factor 1 / 0.015)."""
        typical = self.typical_price()
        mean, _ = self.mean_and_variance(typical, window)
        deviation = self.mean_deviation(typical, mean, window)
        return (typical - mean) / floored(deviation, VOLATILITY_FLOOR * self.close)

    @remembered
    def typical_price(self) -> Column:
        """High + low + close over 3."""
        return (self.high + self.low + self.close) / 3.0

    @remembered
    def money_flow(self, window: int) -> Column:
        """Money flow index from -1 to 1: flow of rising minus falling typical prices over all flow; ties count as none."""
        typical = self.typical_price()
        move = typical - self.earlier(typical, 1)
        flow = typical * self.volume
        signed = np.sign(move) * (np.abs(move) > TIE * typical) * flow
        total = floored(self.mean(flow, window), self.quiet_volume() * self.close)
        return self.mean(signed, window) / total

    @remembered
    def directional_moves(self, window: int) -> tuple[Column, Column]:
        """Wilder's means of the rises of the high and of the falls of the low, in the quote currency.

        Of a bar's two moves the larger counts; a tie counts as none.
        """
        up, down = self.high - self.earlier(self.high, 1), self.earlier(self.low, 1) - self.low
        tie = TIE * self.close
        plus = self.wilder((up > down + tie).astype(np.float64) * np.maximum(up, 0.0), window)
        minus = self.wilder((down > up + tie).astype(np.float64) * np.maximum(down, 0.0), window)
        return plus, minus

    @remembered
    def directional_index(self, window: int) -> Column:
        """Wilder's (+DI - -DI) / (+DI + -DI), from -1 to 1."""
        plus, minus = self.directional_moves(window)
        return (plus - minus) / floored(plus + minus, 0.1 * VOLATILITY_FLOOR * self.close)

    # Volume

    @remembered
    def mean_volume(self, window: int) -> Column:
        """Mean volume of the last `window` bars; never below 0, whatever rounding leaves of a bar that went."""
        return floored(self.mean(self.volume, window), 0.0)

    @remembered
    def quiet_volume(self) -> Column:
        """What counts as no volume: a share of the last day's mean, above 0 even when that is 0."""
        return QUIET_SHARE * self.mean_volume(DAY_MINUTES) + NOTHING

    @remembered
    def log_volume_ratio(self, window: int, base: int) -> Column:
        """Logarithm of mean volume of `window` bars over that of `base` bars, both above the quiet volume."""
        quiet = self.quiet_volume()
        return log((self.mean_volume(window) + quiet) / (self.mean_volume(base) + quiet))

    @remembered
    def weighted_gap(self, window: int) -> Column:
        """Log close minus the volume-weighted mean of the last `window` log closes; without volume the plain mean.

        Every bar weighs the quiet volume of the newest bar more than its own.
        """
        quiet, mean = self.quiet_volume(), self.level(window)[0]
        weighted = self.mean(self.volume * self.log_close(), window) + quiet * mean
        return self.log_close() - weighted / (self.mean_volume(window) + quiet)

    # Clock

    def clock(self, shape: Literal["sin", "cos"]) -> Column:
        """Sine or cosine of the open time's place in the day, by UTC."""
        minute_of_day = np.arange(self.minute, self.minute + self.num_bars, dtype=np.int64) % DAY_MINUTES
        return self.laid_out(_CLOCK[shape][minute_of_day])
