"""Stylised facts of candles: the figures by which a simulated market is held against a real one (Cont 2001).

Everything is measured on log returns from close to close of adjacent minutes; nothing reaches across a hole.

What does not belong here: drawing (studies/stylised_facts.py).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models_lib.candles.schema import BAR_MS, epoch_ms

LAGS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 720, 1_440, 2_880)
"""Lags of the autocorrelations, in minutes."""
TAIL_PROBABILITIES: Final = (0.5, 0.9, 0.99, 0.999, 0.9999)
"""Probabilities of the quantiles of |return|."""
DAY_MINUTES: Final = 1_440

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StylisedFacts:
    """How the returns and the volume of one market behave."""

    volatility: float
    """Standard deviation of a minute's log return."""
    kurtosis: float
    """Excess kurtosis of the log returns; 0 is Gaussian."""
    tail_quantiles: Floats
    """Quantiles of |return| in standard deviations at TAIL_PROBABILITIES."""
    return_correlation: Floats
    """Autocorrelation of the returns at LAGS; NaN where the lag is longer than the data."""
    size_correlation: Floats
    """Autocorrelation of |return| at LAGS: the clustering of volatility."""
    log_volume_correlation: Floats
    """Autocorrelation of the log of volume (bars with trades) at LAGS."""
    volume_and_size: float
    """Correlation of log volume and |return| of the same minute."""
    range_to_body: float
    """Mean of log(high / low) over the mean of |log(close / open)|; 2 for a continuous path, 1 for a straight line."""
    volume_by_minute: Floats
    """Mean volume by minute of the UTC day, relative to the mean of all, [1440]."""
    size_by_minute: Floats
    """Mean |return| by minute of the UTC day, relative to the mean of all, [1440]."""


def stylised_facts(frame: pd.DataFrame) -> StylisedFacts:
    """The facts of checked candles of at least one day."""
    returns = minute_returns(frame)
    size = np.abs(returns)
    volume = _on_the_clock(frame, "volume")
    log_volume = np.log(np.where(volume > 0, volume, np.nan))
    known = returns[np.isfinite(returns)]
    centred = known - known.mean()
    minute = (int(epoch_ms(frame)[0]) // BAR_MS + np.arange(len(returns))) % DAY_MINUTES
    both = np.isfinite(log_volume) & np.isfinite(size)
    body = np.abs(np.log(frame["close"] / frame["open"])).mean()
    return StylisedFacts(
        volatility=float(known.std()),
        kurtosis=float((centred**4).mean() / (centred**2).mean() ** 2 - 3.0),
        tail_quantiles=np.quantile(np.abs(known), TAIL_PROBABILITIES) / known.std(),
        return_correlation=_autocorrelation(returns),
        size_correlation=_autocorrelation(size),
        log_volume_correlation=_autocorrelation(log_volume),
        volume_and_size=float(np.corrcoef(log_volume[both], size[both])[0, 1]),
        range_to_body=float(np.log(frame["high"] / frame["low"]).mean() / body),
        volume_by_minute=_by_minute(volume, minute),
        size_by_minute=_by_minute(size, minute),
    )


def minute_returns(frame: pd.DataFrame) -> Floats:
    """Log returns on the full clock from the first to the last minute; NaN where either minute is missing."""
    return np.diff(np.log(_on_the_clock(frame, "close")), prepend=np.nan)


def _on_the_clock(frame: pd.DataFrame, column: str) -> Floats:
    """A column with one entry for each minute from the first to the last bar; NaN where there is no bar."""
    position = (epoch_ms(frame) - epoch_ms(frame)[0]) // BAR_MS
    values = np.full(int(position[-1]) + 1, np.nan)
    values[position] = frame[column].to_numpy()
    return values


def _autocorrelation(values: Floats) -> Floats:
    """Autocorrelation at LAGS over the pairs of which both are known."""
    centred = values - np.nanmean(values)
    variance = np.nanmean(centred**2)
    correlation = np.full(len(LAGS), np.nan)
    for index, lag in enumerate(LAGS):
        if len(values) > lag + DAY_MINUTES // 2:
            correlation[index] = np.nanmean(centred[:-lag] * centred[lag:]) / variance
    return correlation


def _by_minute(values: Floats, minute: NDArray[np.int64]) -> Floats:
    """Mean of the known values by minute of the day, relative to the mean of these means."""
    known = np.isfinite(values)
    sums = np.bincount(minute[known], weights=values[known], minlength=DAY_MINUTES)
    counts = np.bincount(minute[known], minlength=DAY_MINUTES)
    means = np.divide(sums, counts, out=np.full(DAY_MINUTES, np.nan), where=counts > 0)
    relative: Floats = means / np.nanmean(means)
    return relative
