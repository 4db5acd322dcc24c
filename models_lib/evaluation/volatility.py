"""What volatility and the clock say about the next minutes: the inputs of the driftless rule.

Causal: row t uses bars closed at or before t, and its own open time. Windows never cross a hole; at the start of a
segment they are shorter, so that every row has values.

What does not belong here: the features of the network (features/), which the baselines must not depend on.
"""

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from models_lib.candles.schema import epoch_ms, segment_starts

Floats = NDArray[np.float64]

REALISED_BARS = (5, 15, 30, 60, 240, 1440)
"""Windows of the realised volatilities, in bars."""
PARKINSON_BARS = (5, 15, 60, 240)
"""Windows of the range volatilities (Parkinson 1980), in bars."""
_FLOOR = 1e-6
"""Smallest volatility, a hundredth of a basis point a minute: log stays finite at constant price."""
_RESTART = 512
"""A sliding sum is formed anew after this many rows, so that rounding errors do not pile up."""


def volatility_inputs(candles: pd.DataFrame) -> Floats:
    """Log volatilities and clock of each row, float64 [N, 14], all finite.

    Columns: log realised volatility of 5, 15, 30, 60, 240, 1440 bars; log Parkinson volatility of 5, 15, 60, 240 bars;
    sine and cosine of the minute of the day, 1st and 2nd harmonic. (A weekly harmonic, or other choices of windows,
    change the NLL on the validation rows of real candles by less than .0004.)
    """
    times = epoch_ms(candles)
    squares, first = _squared_returns(candles, times)
    log_range = np.log(candles["high"].to_numpy(np.float64) / candles["low"].to_numpy(np.float64))
    parkinson = log_range**2 / (4.0 * np.log(2.0))
    columns = [_log_volatility(squares, first, bars) for bars in REALISED_BARS]
    columns += [_log_volatility(parkinson, first, bars) for bars in PARKINSON_BARS]
    minutes = times // 60_000
    for period in (1440, 720):
        angle = 2.0 * np.pi * (minutes % period) / period
        columns += [np.sin(angle), np.cos(angle)]
    return np.stack(columns, axis=1)


def log_realised_volatility(candles: pd.DataFrame, bars: int) -> Floats:
    """Log realised volatility of the last `bars` bars, float64 [N]; each row is known at its close."""
    return _log_volatility(*_squared_returns(candles, epoch_ms(candles)), bars)


def _squared_returns(candles: pd.DataFrame, times: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """Squares of the one-minute log returns, 0 at the start of a segment; and where each row's segment starts."""
    starts = segment_starts(times)
    first = np.repeat(starts, np.diff(np.append(starts, times.size)))
    log_close = np.log(candles["close"].to_numpy(np.float64))
    squares = np.zeros_like(log_close)
    squares[1:] = np.diff(log_close) ** 2
    squares[starts] = 0.0
    return squares, first


def _log_volatility(squares: Floats, first: NDArray[np.int64], bars: int) -> Floats:
    """Log of the root of the mean of the last `bars` squares within the segment, floored."""
    log_volatility: Floats = np.log(np.maximum(np.sqrt(_sliding_mean(squares, first, bars)), _FLOOR))
    return log_volatility


@njit(cache=True, nogil=True)
def _sliding_mean(x: Floats, first: NDArray[np.int64], bars: int) -> Floats:
    """Mean of x over the last `bars` rows of the segment, or over all of them where there are fewer."""
    out = np.empty(x.size)
    total = 0.0
    for t in range(x.size):
        begin = max(t - bars + 1, first[t])
        if t == first[t] or t % _RESTART == 0:
            total = 0.0
            for s in range(begin, t + 1):
                total += x[s]
        else:
            total += x[t]
            if t - bars >= first[t]:
                total -= x[t - bars]
        out[t] = max(total, 0.0) / (t - begin + 1)
    return out
