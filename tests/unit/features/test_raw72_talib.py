"""The features of raw72 that TA-Lib has with the same definition, against TA-Lib.

It starts its exponential means at the first bar of the file, so they are compared well after it. Where two prices tie, the
definitions differ: raw72 looks at ties in ticks and counts them as no move; TA-Lib leaves them out of the money flow index
altogether, and of two equal directional moves it counts the one that rounding made larger.
"""

import numpy as np
import pandas as pd
import talib

from models_lib.features import RAW72, SERVING_BARS, compute_features
from tests.unit.features.markets import nasty_candles

TOLERANCE_STD = 1e-5
"""Largest difference, in standard deviations of the column: float32 at the price's level, and what an exponential mean of
eight spans leaves out."""
DIFFER_AT_TIES = {"mfi_14_percent", "adx_14_percent", "plus_di_14", "minus_di_14"}


def talib_columns(candles: pd.DataFrame) -> dict[str, np.ndarray]:
    """What TA-Lib gives, by the name in raw72."""
    high, low, close, volume = (candles[name].to_numpy(np.float64) for name in ("high", "low", "close", "volume"))
    macd, signal, histogram = talib.MACD(close, 12, 26, 9)
    upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    k, d = talib.STOCHF(high, low, close, 14, 3)
    by_window = {
        "sma_{}": (lambda n: talib.SMA(close, n), (7, 14, 21, 30, 50, 100, 200)),
        "ema_{}": (lambda n: talib.EMA(close, n), (9, 12, 21, 26, 50, 100, 200)),
        "atr_{}": (lambda n: talib.ATR(high, low, close, n), (14, 21)),
        "rsi_{}_percent": (lambda n: talib.RSI(close, n), (7, 14, 21)),
        "cci_{}": (lambda n: talib.CCI(high, low, close, n), (14, 30)),
        "momentum_{}": (lambda n: talib.MOM(close, n), (4, 10, 20)),
        "roc_{}": (lambda n: talib.ROC(close, n), (10, 20, 30)),
        "return_{}": (lambda n: talib.ROCP(close, n), (1, 5, 15, 60)),
        "highest_{}": (lambda n: talib.MAX(high, n), (20, 60)),
        "lowest_{}": (lambda n: talib.MIN(low, n), (20, 60)),
        "volume_mean_{}": (lambda n: talib.SMA(volume, n), (10, 30)),
    }
    columns = {name.format(n): column(n) for name, (column, windows) in by_window.items() for n in windows}
    return columns | {
        "macd": macd,
        "macd_signal": signal,
        "macd_histogram": histogram,
        "bollinger_upper": upper,
        "bollinger_middle": middle,
        "bollinger_lower": lower,
        "true_range": talib.TRANGE(high, low, close),
        "stochastic_k": k,
        "stochastic_d": d,
        "williams_r_14": talib.WILLR(high, low, close, 14),
        "mfi_14_percent": talib.MFI(high, low, close, volume, 14),
        "adx_14_percent": talib.ADX(high, low, close, 14),
        "plus_di_14": talib.PLUS_DI(high, low, close, 14),
        "minus_di_14": talib.MINUS_DI(high, low, close, 14),
        "typical_price": talib.TYPPRICE(high, low, close),
    }


def stds_apart(candles: pd.DataFrame) -> dict[str, float]:
    """By feature, the largest difference between the two after the first rows, in standard deviations of the feature."""
    features = compute_features(candles, features=RAW72)[SERVING_BARS:].astype(np.float64)
    apart = {}
    for name, expected in talib_columns(candles).items():
        found = features[:, RAW72.names.index(name)]
        apart[name] = float(np.abs(found - expected[SERVING_BARS:]).max() / found.std())
    return apart


def test_raw72_agrees_with_talib_where_no_prices_tie() -> None:
    apart = stds_apart(nasty_candles(11, rows=11_000, tick=1e-6, flat=(0, 0), silent=(0, 0)))
    assert len(apart) == 52
    assert {name: far for name, far in apart.items() if not far <= TOLERANCE_STD} == {}


def test_raw72_agrees_with_talib_on_the_simulated_market(simulated: pd.DataFrame) -> None:
    """Its prices lie on ticks."""
    apart = stds_apart(simulated)
    assert {name for name, far in apart.items() if not far <= TOLERANCE_STD} <= DIFFER_AT_TIES
