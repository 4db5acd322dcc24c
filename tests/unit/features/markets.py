"""Small markets for the tests of the features: some that a person can work out, one that is as nasty as data get."""

import numpy as np
import pandas as pd

START = pd.Timestamp("2026-01-01 00:00", tz="UTC")  # a Thursday


def candles_from(
    close: np.ndarray, *, volume: np.ndarray, wick: float | np.ndarray = 0.0, start: pd.Timestamp = START
) -> pd.DataFrame:
    """Bars that open at the close before; high and low are the ends of the body, stretched by `wick` (a share)."""
    open_ = np.concatenate(([close[0]], close[:-1]))
    stamps = pd.date_range(start, periods=len(close), freq="min").as_unit("ms")
    return pd.DataFrame(
        {
            "timestamp": stamps,
            "open": open_,
            "high": np.maximum(open_, close) * (1.0 + wick),
            "low": np.minimum(open_, close) * (1.0 - wick),
            "close": close,
            "volume": volume,
        }
    )


def from_returns(returns: np.ndarray, **kwargs: object) -> pd.DataFrame:
    """Candles with these log returns between closes, from a close of 100."""
    return candles_from(100.0 * np.exp(np.cumsum(returns)), **kwargs)


def nasty_candles(
    seed: int, *, rows: int, tick: float, flat: tuple[int, int], silent: tuple[int, int], spike: float = 1.0
) -> pd.DataFrame:
    """A random walk on ticks with a stretch of constant prices, one without volume, and one absurd print of volume.

    Args:
        seed: of the random numbers.
        rows: bars.
        tick: price step; with a large one most neighbouring closes tie.
        flat: first and last row of the stretch in which nothing moves.
        silent: first and last row of the stretch without volume.
        spike: factor on the volume of the bar after the silence.
    """
    rng = np.random.default_rng(seed)
    steps = rng.standard_t(3, rows) * 5e-4
    steps[flat[0] : flat[1]] = 0.0
    close = 137.0 * np.exp(np.cumsum(steps))
    close = np.maximum(np.round(close / tick), 1.0) * tick
    volume = rng.lognormal(1.0, 1.0, rows)
    volume[silent[0] : silent[1]] = 0.0
    volume[min(silent[1], rows - 1)] *= spike
    wick = rng.exponential(2e-4, rows)
    wick[flat[0] : flat[1]] = 0.0
    return candles_from(close, volume=volume, wick=wick)


def with_hole(candles: pd.DataFrame, first: int, minutes: int) -> pd.DataFrame:
    """The candles without the rows first .. first + minutes - 1."""
    return candles.drop(index=range(first, first + minutes)).reset_index(drop=True)
