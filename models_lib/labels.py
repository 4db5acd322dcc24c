"""What the model is asked: the label of each row, and the part of it that is already known at that row.

Everything is computed per segment: no mean, return, range or barrier reaches across a hole in the candles. Knowable
when: `value` and `forward_return` of row t need bars up to t + span and are therefore targets, never inputs;
`known_part` and `volatility` of row t use bars closed at or before t.

`trend` is the smoothed label of Zhang, Zohren, Roberts 2019 (DeepLOB): mean log close of the next `horizon` bars minus
the mean log close of the last `lookback` bars. It contains the known past: value(t) = g(t) + (mean of the next closes
minus close(t), in logs), with g(t) = log close(t) minus the mean of the last `lookback` log closes.

What does not belong here: which rows are for training (splits.py) and what rules make of g (evaluation.baselines).
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from models_lib.candles.schema import PRICE_COLUMNS, epoch_ms, segment_starts
from models_lib.config import LabelSection
from models_lib.errors import DataError

DOWN, NEUTRAL, UP, UNKNOWN = 0, 1, 2, -1
CLASS_NAMES = ("DOWN", "NEUTRAL", "UP")
VOLATILITY_BARS = 240
"""Window of the realised volatility that scales a `volatility_scaled` threshold."""
ATR_BARS = 60
"""Window of the average true range that sets the barriers of `triple_barrier`."""
VOLATILITY_FLOOR = 1e-6
"""Smallest volatility that a label value is divided by, a hundredth of a basis point a minute."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelValues:
    """The label before its threshold, one entry a candle row.

    Attributes:
        value: float64 [N], in log price (`triple_barrier`: -1, 0, 1); NaN where unknown.
        known_part: float64 [N], g: what is known at t and says something about `value`; NaN before its window is full.
        forward_return: float64 [N], log close(t + horizon) - log close(t); NaN where unknown. Its sign, never that of
            `value`, tells direction.
        volatility: float64 [N], root mean square of the last 240 one-minute log returns; NaN before.
        known_part_inside: whether `value` contains g as a summand (`trend`), so that g is its expectation without drift.
        span_minutes: how far `value` looks ahead; splits purge by it.
        lookback_minutes: how far `value` looks back; splits embargo by it.
    """

    value: Floats
    known_part: Floats
    forward_return: Floats
    volatility: Floats
    known_part_inside: bool
    span_minutes: int
    lookback_minutes: int


def is_known_part_inside(label: LabelSection) -> bool:
    """Whether the label's value contains its known part as a summand."""
    return label.kind == "trend"


def label_values(candles: pd.DataFrame, label: LabelSection) -> LabelValues:
    """The label values of every candle row, with their known part.

    Args:
        candles: the columns of the candle schema, sorted; holes start new segments.
        label: kind, look-back and horizon in minutes.
    """
    prices = (candles[name].to_numpy(np.float64) for name in PRICE_COLUMNS)
    return label_values_of(epoch_ms(candles), *prices, label=label)


def label_values_of(
    times_ms: NDArray[np.int64], opens: Floats, high: Floats, low: Floats, close: Floats, *, label: LabelSection
) -> LabelValues:
    """`label_values` of a symbol that is held as columns; the runtime's window is.

    Args:
        times_ms: int64 [N], open times, sorted.
        opens: float64 [N].
        high: float64 [N].
        low: float64 [N].
        close: float64 [N].
        label: as above.
    """
    first, last = _segment_bounds(times_ms)
    log_close = np.log(close)
    horizon = label.horizon_minutes
    forward_return = _log_return(log_close, first, last, ahead=horizon)
    known_part = _log_return(log_close, first, last, ahead=-horizon)
    if label.kind == "trend":
        known_part = -_mean_beside(log_close, first, last, 1 - label.lookback_minutes, 0)
        value = _mean_beside(log_close, first, last, 1, horizon) + known_part
    elif label.kind == "forward_return":
        value = forward_return
    else:
        width = label.barrier_atr_multiple * _average_true_range(high, low, close, first)
        value = _first_barrier(opens, high, low, close, width, last, horizon)
    return LabelValues(
        value=value,
        known_part=known_part,
        forward_return=forward_return,
        volatility=_realised_volatility(log_close, first),
        known_part_inside=is_known_part_inside(label),
        span_minutes=horizon,
        lookback_minutes=label.lookback_minutes,
    )


def fit_threshold(values: LabelValues, label: LabelSection, train_rows: NDArray[np.int64]) -> float:
    """The size of the label value below which a row is NEUTRAL: a quantile of the training rows.

    Args:
        values: of the whole symbol; only `train_rows` are looked at.
        label: quantile, and whether the threshold is in units of `values.volatility`.
        train_rows: int64, rows with a known value.

    Returns:
        The threshold in log price, or in multiples of volatility (`volatility_scaled`); 0 for `triple_barrier`, whose
        widths follow volatility by themselves.

    Raises:
        DataError: the threshold is 0 or not a number, so that NEUTRAL means nothing.
    """
    if label.kind == "triple_barrier":
        return 0.0
    size = np.abs(in_label_units(values.value, values, label)[train_rows])
    threshold = float(np.quantile(size, label.quantile)) if size.size else math.nan
    if not threshold > 0.0:
        raise DataError(
            f"the NEUTRAL threshold at quantile {label.quantile:.3f} of {size.size:,} training rows is {threshold} "
            f"(must be above 0). Check the candles for long stretches of constant price, or raise label.quantile."
        )
    return threshold


def label_classes(values: LabelValues, label: LabelSection, threshold: float) -> NDArray[np.int8]:
    """The class of each row, int8 [N]: 2 UP above the threshold, 0 DOWN below its negative, 1 NEUTRAL, -1 unknown."""
    scaled = in_label_units(values.value, values, label)
    classes = np.full(scaled.shape, NEUTRAL, dtype=np.int8)
    classes[scaled > threshold] = UP
    classes[scaled < -threshold] = DOWN
    classes[~np.isfinite(scaled)] = UNKNOWN
    return classes


def thresholds_of_rows(values: LabelValues, label: LabelSection, threshold: float) -> Floats:
    """The NEUTRAL threshold of each row in log price, float64 [N]: constant, or a multiple of its volatility."""
    if label.threshold == "volatility_scaled" and label.kind != "triple_barrier":
        scaled: Floats = threshold * np.maximum(values.volatility, VOLATILITY_FLOOR)
        return scaled
    return np.full(values.value.shape, threshold)


def in_label_units(log_prices: Floats, values: LabelValues, label: LabelSection) -> Floats:
    """Differences of log price [N] in the unit of the threshold: divided by volatility where that scales it."""
    if label.threshold == "volatility_scaled" and label.kind != "triple_barrier":
        scaled: Floats = log_prices / np.maximum(values.volatility, VOLATILITY_FLOOR)
        return scaled
    return log_prices


def _segment_bounds(timestamps: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each row the first and the last row of its segment."""
    starts = segment_starts(timestamps)
    ends = np.append(starts[1:], timestamps.size)
    lengths = ends - starts
    return np.repeat(starts, lengths), np.repeat(ends - 1, lengths)


@njit(cache=True, nogil=True)
def _mean_beside(log_close: Floats, first: NDArray[np.int64], last: NDArray[np.int64], begin: int, end: int) -> Floats:
    """Mean of log close(t + begin .. t + end) minus log close(t); NaN where the window leaves the segment.

    Differences from log close(t) are summed directly, window by window: no drift, and exactly 0 at constant price.
    """
    out = np.full(log_close.size, np.nan)
    for t in range(log_close.size):
        if t + begin < first[t] or t + end > last[t]:
            continue
        total = 0.0
        for s in range(t + begin, t + end + 1):
            total += log_close[s] - log_close[t]
        out[t] = total / (end - begin + 1)
    return out


def _log_return(log_close: Floats, first: NDArray[np.int64], last: NDArray[np.int64], *, ahead: int) -> Floats:
    """Log return between t and t + ahead, in the direction of time; NaN where that leaves the segment."""
    other = np.arange(log_close.size) + ahead
    inside = (other >= first) & (other <= last)
    out = np.full(log_close.size, np.nan)
    out[inside] = (log_close[other[inside]] - log_close[inside]) * (1.0 if ahead > 0 else -1.0)
    return out


@njit(cache=True, nogil=True)
def _realised_volatility(log_close: Floats, first: NDArray[np.int64]) -> Floats:
    """Root mean square of the last 240 one-minute log returns; NaN before 240 of them exist in the segment."""
    out = np.full(log_close.size, np.nan)
    for t in range(log_close.size):
        if t - VOLATILITY_BARS < first[t]:
            continue
        squares = 0.0
        for s in range(t - VOLATILITY_BARS + 1, t + 1):
            squares += (log_close[s] - log_close[s - 1]) ** 2
        out[t] = math.sqrt(squares / VOLATILITY_BARS)
    return out


@njit(cache=True, nogil=True)
def _average_true_range(high: Floats, low: Floats, close: Floats, first: NDArray[np.int64]) -> Floats:
    """Mean true range of the last 60 bars, in price; NaN before 60 bars with a previous close exist."""
    out = np.full(close.size, np.nan)
    for t in range(close.size):
        if t - ATR_BARS < first[t]:
            continue
        total = 0.0
        for s in range(t - ATR_BARS + 1, t + 1):
            total += max(high[s], close[s - 1]) - min(low[s], close[s - 1])
        out[t] = total / ATR_BARS
    return out


@njit(cache=True, nogil=True)
def _first_barrier(  # noqa: PLR0917  numba compiles positional arguments only
    open_: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    width: Floats,
    last: NDArray[np.int64],
    horizon: int,
) -> Floats:
    """1 where close + width is touched first, -1 where close - width is, 0 when neither within the horizon.

    A bar that touches both does not say which came first: the barrier nearer to its open counts, and the stop (-1)
    when both are equally near. NaN where the horizon leaves the segment or the range is unknown.
    """
    out = np.full(close.size, np.nan)
    for t in range(close.size):
        if t + horizon > last[t] or not width[t] > 0.0:
            continue
        out[t] = 0.0
        target, stop = close[t] + width[t], close[t] - width[t]
        for s in range(t + 1, t + horizon + 1):
            touches_target, touches_stop = high[s] >= target, low[s] <= stop
            if touches_target or touches_stop:
                nearer_target = target - open_[s] < open_[s] - stop
                out[t] = 1.0 if touches_target and (nearer_target or not touches_stop) else -1.0
                break
    return out
