"""The 72 features in plain pandas, written from their formulas without the product's kernels: slow and independent.

Every window is pandas' own rolling or ewm over the whole column. It is the second opinion in the tests and the slow side
of the benchmark (intermediate columns are shared, as a careful user of pandas would).
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

FLOOR = 2e-5


class _ByWindow(dict[int, pd.Series]):
    """Columns by window, each computed when first asked for."""

    def __init__(self, column: Callable[[int], pd.Series]) -> None:
        super().__init__()
        self._column = column

    def __missing__(self, window: int) -> pd.Series:
        self[window] = self._column(window)
        return self[window]


def pandas_features(candles: pd.DataFrame) -> pd.DataFrame:
    """All features of one segment without a hole, float64 [N, 72], each NaN until its own window is full."""
    o, h, low, c, v = (candles[name] for name in ("open", "high", "low", "close", "volume"))
    lc = np.log(c)
    r = lc.diff()
    r2 = r**2
    vol = _ByWindow(lambda w: np.sqrt(r2.rolling(w).mean().clip(lower=FLOOR**2)))
    mean = _ByWindow(lambda w: lc.rolling(w).mean())
    std = _ByWindow(lambda w: lc.rolling(w).std(ddof=0).clip(lower=FLOOR))
    g = _ByWindow(lambda w: lc - mean[w])
    hl2 = np.log(h / low) ** 2
    park = _ByWindow(lambda w: np.sqrt((hl2.rolling(w).mean() / (4 * np.log(2))).clip(lower=FLOOR**2)))
    gk_bar = 0.5 * hl2 - (2 * np.log(2) - 1) * np.log(c / o) ** 2
    gk = _ByWindow(lambda w: np.sqrt(gk_bar.rolling(w).mean().clip(lower=FLOOR**2)))
    true_range = pd.concat([h - low, (h - c.shift()).abs(), (low - c.shift()).abs()], axis=1).max(axis=1, skipna=False)
    atr = _ByWindow(lambda w: (_wilder(true_range, w) / c).clip(lower=FLOOR))
    top = _ByWindow(lambda w: h.rolling(w).max())
    bottom = _ByWindow(lambda w: low.rolling(w).min())
    ema = _ByWindow(lambda w: _ema(lc, w))
    macd = ema[12] - ema[26]
    quiet = 0.01 * v.rolling(1440).mean() + 1e-300
    volume = _ByWindow(lambda w: v.rolling(w).mean() + quiet)
    weighted = ((v * lc).rolling(60).mean() + quiet * mean[60]) / (v.rolling(60).mean() + quiet)
    typical = (h + low + c) / 3
    step = typical.diff()
    direction = np.sign(step).where(step.isna() | (step.abs() > 1e-10 * typical), 0.0)
    flow = typical * v
    di = _directional_index(h, low, c)
    windows = np.lib.stride_tricks.sliding_window_view(typical.to_numpy(), 20)
    cci_deviation = pd.Series(np.nan, index=c.index)
    cci_deviation.iloc[19:] = np.abs(windows - windows.mean(axis=1, keepdims=True)).mean(axis=1)
    day = 2 * np.pi * (candles["timestamp"].dt.hour * 60 + candles["timestamp"].dt.minute) / 1440
    features = {
        "g_60": g[60],
        "g_60_over_vol_5": g[60] / vol[5],
        "g_60_over_vol_15": g[60] / vol[15],
        "g_60_over_vol_30": g[60] / vol[30],
        "g_60_over_vol_60": g[60] / vol[60],
        "g_60_over_vol_120": g[60] / vol[120],
        "g_60_over_vol_240": g[60] / vol[240],
        "g_60_over_vol_480": g[60] / vol[480],
        "g_60_over_vol_1440": g[60] / vol[1440],
        "g_60_over_parkinson_15": g[60] / park[15],
        "g_60_over_parkinson_60": g[60] / park[60],
        "g_60_over_parkinson_240": g[60] / park[240],
        "g_60_over_garman_klass_60": g[60] / gk[60],
        "g_60_over_atr_14": g[60] / atr[14],
        "g_60_over_atr_60": g[60] / atr[60],
        "abs_g_60": g[60].abs(),
        "abs_g_60_over_vol_15": g[60].abs() / vol[15],
        "abs_g_60_over_vol_60": g[60].abs() / vol[60],
        "abs_g_60_over_vol_240": g[60].abs() / vol[240],
        "g_15_over_vol_60": g[15] / vol[60],
        "g_30_over_vol_60": g[30] / vol[60],
        "g_120_over_vol_240": g[120] / vol[240],
        "g_240_over_vol_240": g[240] / vol[240],
        "mean_15_less_60_over_vol_60": (mean[15] - mean[60]) / vol[60],
        "mean_30_less_60_over_vol_60": (mean[30] - mean[60]) / vol[60],
        "weighted_g_60_over_vol_60": (lc - weighted) / vol[60],
        "log_vol_5": np.log(vol[5]),
        "log_vol_15": np.log(vol[15]),
        "log_vol_30": np.log(vol[30]),
        "log_vol_60": np.log(vol[60]),
        "log_vol_120": np.log(vol[120]),
        "log_vol_240": np.log(vol[240]),
        "log_vol_1440": np.log(vol[1440]),
        "log_ewm_vol_10": 0.5 * np.log(_ema(r2, 10).clip(lower=FLOOR**2)),
        "log_ewm_vol_30": 0.5 * np.log(_ema(r2, 30).clip(lower=FLOOR**2)),
        "log_ewm_vol_120": 0.5 * np.log(_ema(r2, 120).clip(lower=FLOOR**2)),
        "log_parkinson_5": np.log(park[5]),
        "log_parkinson_15": np.log(park[15]),
        "log_parkinson_30": np.log(park[30]),
        "log_parkinson_60": np.log(park[60]),
        "log_parkinson_240": np.log(park[240]),
        "log_garman_klass_15": np.log(gk[15]),
        "log_garman_klass_60": np.log(gk[60]),
        "log_garman_klass_240": np.log(gk[240]),
        "inverse_vol_15": 1 / (1 + vol[15] / 1e-4),
        "inverse_vol_30": 1 / (1 + vol[30] / 1e-4),
        "inverse_vol_60": 1 / (1 + vol[60] / 1e-4),
        "inverse_vol_120": 1 / (1 + vol[120] / 1e-4),
        "inverse_vol_240": 1 / (1 + vol[240] / 1e-4),
        "inverse_parkinson_15": 1 / (1 + park[15] / 1e-4),
        "inverse_parkinson_60": 1 / (1 + park[60] / 1e-4),
        "inverse_parkinson_240": 1 / (1 + park[240] / 1e-4),
        "log_vol_5_over_60": np.log(vol[5] / vol[60]),
        "log_vol_15_over_240": np.log(vol[15] / vol[240]),
        "log_range_60": np.log(np.log(top[60] / bottom[60]).clip(lower=FLOOR)),
        "log_atr_14": np.log(atr[14]),
        "log_atr_60": np.log(atr[60]),
        "return_1_over_vol_60": r / vol[60],
        "return_15_over_vol_60": lc.diff(15) / vol[60],
        "ema_gap_15": lc - ema[15],
        "ema_gap_240_over_vol_240": (lc - ema[240]) / vol[240],
        "macd_over_vol_60": macd / vol[60],
        "rsi_14": _wilder(r, 14) / _wilder(r.abs(), 14).clip(lower=FLOOR),
        "bollinger_60": g[60] / std[60],
        "stochastic_14": _place(c, top[14], bottom[14]),
        "cci_20": (typical - typical.rolling(20).mean()) / np.maximum(cci_deviation, FLOOR * c),
        "mfi_14": (direction * flow).rolling(14).mean() / np.maximum(flow.rolling(14).mean(), quiet * c),
        "adx_14": _wilder(di.abs(), 14),
        "log_volume_1_over_60": np.log(volume[1] / volume[60]),
        "log_volume_15_over_240": np.log(volume[15] / volume[240]),
        "sin_day": np.sin(day),
        "cos_day": np.cos(day),
    }
    return pd.DataFrame(features)


def _ema(values: pd.Series, span: int) -> pd.Series:
    return values.ewm(span=span, adjust=False).mean()


def _wilder(values: pd.Series, window: int) -> pd.Series:
    return values.ewm(alpha=1 / window, adjust=False).mean()


def _place(close: pd.Series, top: pd.Series, bottom: pd.Series) -> pd.Series:
    return (2 * close - top - bottom) / np.maximum(top - bottom, 1e-10 * close)


def _directional_index(high: pd.Series, low: pd.Series, close: pd.Series) -> pd.Series:
    up, down = high.diff(), -low.diff()
    plus = up.where(up.isna() | ((up > down + 1e-10 * close) & (up > 0)), 0.0)
    minus = down.where(down.isna() | ((down > up + 1e-10 * close) & (down > 0)), 0.0)
    plus, minus = _wilder(plus, 14), _wilder(minus, 14)
    return (plus - minus) / np.maximum(plus + minus, 2e-6 * close)
