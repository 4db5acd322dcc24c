"""The best accuracy that anyone can reach on the `planted` market, computed and not guessed.

The market is linear and Gaussian. With a = 2 / (span + 1) for each planted span, weights w, and e(t) standard normal,

    r(t+1) = w . m(t) + sigma e(t+1),         m(t+1) = (1 - a) m(t) + a r(t+1) = T m(t) + a sigma e(t+1),

where T = diag(1 - a) + a w'. For the log price p, with B(0) = 0 and B(k) = sum over j < k of w' T^j,

    E[p(t+k) - p(t) | past] = B(k) . m(t),    and e(t+i) moves p(t+k) by sigma A(k-i), A(j) = 1 + B(j) . a.

So given everything known at t, the value of a label is Gaussian with known mean and standard deviation:

    forward_return:  mean B(h) . m(t),                        variance sigma^2 sum over j < h of A(j)^2
    trend:           mean g(t) + 1/h sum over k <= h of B(k) . m(t),
                     variance (sigma/h)^2 sum over j < h of (A(0) + ... + A(j))^2

(h the horizon, g the label's known part). The best call is the likeliest class, and no model, whatever it reads, can be
expected to do better than the mean probability of the likeliest class. The state m(t) is rebuilt from the closes; they
are rounded to ticks of at most 1e-6 of the price, which moves the figure by less than 1e-3 (a test measures it).

What does not belong here: the market itself (simulated.py) and any model.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from models_lib.candles.schema import epoch_ms, segment_starts
from models_lib.candles.simulated import CONSTANT_VOLATILITY, PLANTED_SPANS, PLANTED_WEIGHTS
from models_lib.config import LabelSection

_A: Final = np.array([2.0 / (span + 1.0) for span in PLANTED_SPANS])
_W: Final = np.array(PLANTED_WEIGHTS)


def best_possible_accuracy(
    frame: pd.DataFrame, *, label: LabelSection, threshold: float, rows: NDArray[np.int64]
) -> float | None:
    """The expected accuracy of the best possible classifier on these rows, which knows the market's law and its past.

    The measured accuracy of that classifier scatters about this figure with the standard error of a mean.

    Args:
        frame: candles of the `planted` market from its first bar on.
        label: the question. With `triple_barrier`, or a threshold scaled by volatility, the distribution of the answer
            has no closed form.
        threshold: size of the label's value (log price) below which the class is NEUTRAL.
        rows: row numbers to average over; each must have its full lookback behind it.

    Returns:
        The accuracy in [0, 1], or None where it has no closed form.

    Raises:
        ValueError: the frame has holes, or a row lacks its lookback.
    """
    if label.kind == "triple_barrier" or label.threshold == "volatility_scaled":
        return None
    return float(class_probabilities(frame, label=label, threshold=threshold, rows=rows).max(axis=1).mean())


def class_probabilities(
    frame: pd.DataFrame, *, label: LabelSection, threshold: float, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The true probabilities of DOWN, NEUTRAL and UP given the past of each row, [len(rows), 3]; see the module."""
    mean, std = _label_distribution(frame, label)
    if np.isnan(mean[rows]).any():
        raise ValueError(f"each row must have {label.lookback_minutes} bars behind it, the first row was {rows.min()}")
    up = ndtr((mean[rows] - threshold) / std)
    down = ndtr((-threshold - mean[rows]) / std)
    return np.stack((down, 1.0 - down - up, up), axis=1)


def planted_state(frame: pd.DataFrame) -> NDArray[np.float64]:
    """The moving averages m(t) of the past log returns that drive the next one, one column a planted span, [N, 2]."""
    from scipy.signal import lfilter  # noqa: PLC0415 - it takes most of a second to load, and other markets need none

    if len(segment_starts(epoch_ms(frame))) != 1:
        raise ValueError("the planted market has no holes, but these candles have")
    steps = np.diff(np.log(frame["close"].to_numpy()), prepend=np.log(frame["open"].to_numpy()[0]))
    return np.stack([lfilter([a], [1.0, a - 1.0], steps) for a in _A], axis=1)


def _label_distribution(frame: pd.DataFrame, label: LabelSection) -> tuple[NDArray[np.float64], float]:
    """Mean [N] (NaN without full lookback) and standard deviation of the label's value given the past."""
    horizon = label.horizon_minutes
    response, impulse = _responses(horizon)
    state = planted_state(frame)
    if label.kind == "forward_return":
        return state @ response[horizon], CONSTANT_VOLATILITY * float(np.sqrt((impulse**2).sum()))
    mean = _known_part(np.log(frame["close"].to_numpy()), label.lookback_minutes) + state @ response[1:].mean(axis=0)
    return mean, CONSTANT_VOLATILITY / horizon * float(np.sqrt((impulse.cumsum() ** 2).sum()))


def _responses(horizon: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """B(0) ... B(h), [h + 1, 2], and A(0) ... A(h - 1), [h]."""
    transition = np.diag(1.0 - _A) + np.outer(_A, _W)
    response = np.zeros((horizon + 1, len(_A)))
    power = np.eye(len(_A))
    for k in range(horizon):
        response[k + 1] = response[k] + _W @ power
        power = transition @ power
    return response, 1.0 + response[:horizon] @ _A


def _known_part(log_close: NDArray[np.float64], lookback: int) -> NDArray[np.float64]:
    """Log close minus the mean of the last `lookback` log closes, [N]; NaN in the first lookback - 1 rows."""
    windows = np.lib.stride_tricks.sliding_window_view(log_close, lookback)
    means = np.concatenate((np.full(lookback - 1, np.nan), windows.mean(axis=1)))
    known_part: NDArray[np.float64] = log_close - means
    return known_part
