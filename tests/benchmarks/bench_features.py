"""Speed of the 72 features beside plain pandas, polars and TA-Lib on the same rows, in one run: ratios, and seconds here.

    python -m tests.benchmarks.bench_features [--rows N] [--rounds N] [--candles FILE] [--json]

The variants take turns (ours, pandas, TA-Lib, ours, ...) so that a busy machine slows all of them, and the best round of
each counts, by wall clock and by the processor time of this process, which neighbours disturb less. All pandas features
are the ones of the tests' oracle, converted to the same float32 matrix. TA-Lib has no counterpart of many of the 72: it
computes only what it has functions for (its subset), and ours is timed again on the same subset, also on one thread; so
does polars, with its rolling and exponential means, on a subset of that (its own threads are as many as it likes). The floor
is the memory alone: a matrix of this size, made and written once. Three symbols are taken as a retrain has them: all their
matrices kept, ours and the floor in two threads, one symbol in each, pandas one symbol after another.
"""

import argparse
import importlib.util
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models_lib.candles.simulated import simulate_candles
from models_lib.features import FEATURE_NAMES, WARM_UP_BARS, compute_features, selected
from tests.unit.features.pandas_oracle import pandas_features

TALIB_SUBSET = (
    "g_60_over_vol_60",
    "log_vol_1440",
    "ema_gap_15",
    "ema_gap_240_over_vol_240",
    "macd_over_vol_60",
    "rsi_14",
    "bollinger_60",
    "stochastic_14",
    "cci_20",
    "mfi_14",
    "adx_14",
    "log_atr_14",
)
"""What TA-Lib has functions for; some of its own are of prices and not of log prices, the work is the same."""


POLARS_SUBSET = (
    "g_60_over_vol_60",
    "log_vol_1440",
    "ema_gap_15",
    "ema_gap_240_over_vol_240",
    "macd_over_vol_60",
    "rsi_14",
    "bollinger_60",
    "stochastic_14",
)
"""What polars has expressions for without a loop in Python."""


def polars_subset(candles: pd.DataFrame) -> np.ndarray:
    """Polars' counterparts of POLARS_SUBSET in one lazy select, float32 [N, 8]."""
    import polars as pl  # noqa: PLC0415 - only the benchmark needs it, and it may be absent

    frame = pl.DataFrame({name: candles[name].to_numpy() for name in ("high", "low", "close")})
    log_close, change = pl.col("close").log(), pl.col("close").log().diff()
    vol = {window: (change**2).rolling_mean(window).sqrt() for window in (60, 240, 1440)}
    ema = {span: log_close.ewm_mean(span=span, adjust=False) for span in (12, 15, 26, 240)}
    gap = log_close - log_close.rolling_mean(60)
    top, bottom = pl.col("high").rolling_max(14), pl.col("low").rolling_min(14)
    wilder = {"alpha": 1.0 / 14.0, "adjust": False}
    columns = (
        gap / vol[60],
        vol[1440].log(),
        log_close - ema[15],
        (log_close - ema[240]) / vol[240],
        (ema[12] - ema[26]) / vol[60],
        change.ewm_mean(**wilder) / change.abs().ewm_mean(**wilder),
        gap / log_close.rolling_std(60),
        (2.0 * pl.col("close") - top - bottom) / (top - bottom),
    )
    named = [column.cast(pl.Float32).alias(name) for column, name in zip(columns, POLARS_SUBSET, strict=True)]
    return frame.lazy().select(named).collect().to_numpy(order="c")


def first_touch(rows: int) -> np.ndarray:
    """A matrix of this many rows in which every page was written: what no implementation can do without."""
    out = np.empty((rows, len(FEATURE_NAMES)), dtype=np.float32)
    out.fill(1.0)
    return out


def three_symbols(one_symbol: Callable[[], np.ndarray], threads: int) -> list[np.ndarray]:
    """Three matrices, `threads` of them at a time."""
    with ThreadPoolExecutor(threads) as pool:
        return [task.result() for task in [pool.submit(one_symbol) for _ in range(3)]]


def pandas_matrix(candles: pd.DataFrame) -> np.ndarray:
    """The oracle's features as the matrix that ours is."""
    return np.ascontiguousarray(pandas_features(candles)[list(FEATURE_NAMES)].to_numpy(dtype=np.float32))


def talib_subset(candles: pd.DataFrame) -> np.ndarray:
    """TA-Lib's counterparts of TALIB_SUBSET, float32 [N, 12]."""
    import talib  # noqa: PLC0415 - only the benchmark needs it, and it may be absent

    high, low, close, volume = (candles[name].to_numpy() for name in ("high", "low", "close", "volume"))
    log_close = np.log(close)
    square = talib.ROCP(close, 1) ** 2
    square[0] = 0.0
    vol = {window: np.sqrt(talib.SMA(square, window)) for window in (60, 240, 1440)}
    gap = log_close - talib.SMA(log_close, 60)
    top, bottom = talib.MAX(high, 14), talib.MIN(low, 14)
    columns = (
        gap / vol[60],
        np.log(vol[1440]),
        log_close - talib.EMA(log_close, 15),
        (log_close - talib.EMA(log_close, 240)) / vol[240],
        (talib.EMA(log_close, 12) - talib.EMA(log_close, 26)) / vol[60],
        talib.RSI(log_close, 14),
        gap / talib.STDDEV(log_close, 60),
        (2.0 * close - top - bottom) / (top - bottom),
        talib.CCI(high, low, close, 20),
        talib.MFI(high, low, close, volume, 14),
        talib.ADX(high, low, close, 14),
        np.log(talib.ATR(high, low, close, 14) / close),
    )
    out = np.empty((len(candles), len(columns)), dtype=np.float32)
    for number, column in enumerate(columns):
        out[:, number] = column
    return out


@dataclass(frozen=True)
class Seconds:
    """The best round of one variant."""

    wall: float
    cpu: float


def best_seconds(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, Seconds]:
    """The shortest times of each variant over `rounds` rounds in which they take turns."""
    best = dict.fromkeys(variants, Seconds(float("inf"), float("inf")))
    for _ in range(rounds):
        for name, variant in variants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            variant()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            best[name] = Seconds(min(best[name].wall, wall), min(best[name].cpu, cpu))
    return best


def worst_difference_std(candles: pd.DataFrame) -> tuple[str, float]:
    """The feature that differs most from pandas on these rows, and by how many of its standard deviations."""
    ours, theirs = compute_features(candles), pandas_features(candles)[list(FEATURE_NAMES)].to_numpy(dtype=np.float32)
    rows = slice(WARM_UP_BARS, None)
    difference = np.abs(ours[rows] - theirs[rows]).max(axis=0) / ours[rows].std(axis=0)
    return FEATURE_NAMES[int(difference.argmax())], float(difference.max())


def _installed(module: str, name: str) -> bool:
    """Whether the library is there; says so where it is not."""
    found = importlib.util.find_spec(module) is not None
    if not found:
        print(f"{name} is not installed: that comparison is left out (pip install {name})", file=sys.stderr)
    return found


def bench(candles: pd.DataFrame, rounds: int) -> dict[str, Any]:
    """Seconds of each variant and the ratios between them."""
    compute_features(candles.iloc[:5_000])  # loads or compiles the kernels
    variants: dict[str, Callable[[], object]] = {
        "ours_1_thread": lambda: compute_features(candles),
        "ours_2_threads": lambda: compute_features(candles, threads=2),
        "pandas": lambda: pandas_matrix(candles),
        "ours_talib_subset": lambda: compute_features(candles, features=selected(TALIB_SUBSET)),
    }
    variants["first_touch"] = lambda: first_touch(len(candles))
    variants["ours_3_symbols_2_threads"] = lambda: three_symbols(lambda: compute_features(candles), 2)
    variants["pandas_3_symbols"] = lambda: three_symbols(lambda: pandas_matrix(candles), 1)
    variants["first_touch_3_symbols_2_threads"] = lambda: three_symbols(lambda: first_touch(len(candles)), 2)
    if _installed("talib", "TA-Lib"):
        variants["talib_subset"] = lambda: talib_subset(candles)
    if _installed("polars", "polars"):
        variants["ours_polars_subset"] = lambda: compute_features(candles, features=selected(POLARS_SUBSET))
        variants["polars_subset"] = lambda: polars_subset(candles)
    seconds = best_seconds(variants, rounds)
    name, difference = worst_difference_std(candles)
    pairs = [
        ("pandas", "ours_1_thread"),
        ("pandas", "ours_2_threads"),
        ("talib_subset", "ours_talib_subset"),
        ("polars_subset", "ours_polars_subset"),
        ("ours_1_thread", "first_touch"),
        ("ours_2_threads", "first_touch"),
        ("pandas_3_symbols", "ours_3_symbols_2_threads"),
        ("ours_3_symbols_2_threads", "first_touch_3_symbols_2_threads"),
    ]
    ratios = {
        f"{slow} / {fast}": {
            "wall": seconds[slow].wall / seconds[fast].wall,
            "cpu": seconds[slow].cpu / seconds[fast].cpu,
        }
        for slow, fast in pairs
        if slow in seconds
    }
    return {
        "rows": len(candles),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "seconds": {variant: asdict(best) for variant, best in seconds.items()},
        "ratios": ratios,
        "worst_difference_from_pandas": {"feature": name, "std": difference},
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
    }


def tell(result: dict[str, Any], rounds: int) -> None:
    """Prints the table of `bench`."""
    print(f"72 features, {result['rows']:,} rows, {result['cores']} cores, best of {rounds} rounds")
    for group, unit in (("seconds", "s"), ("ratios", "x")):
        for name, value in result[group].items():
            print(f"  {name:58s} wall {value['wall']:6.2f} {unit}   cpu {value['cpu']:6.2f} {unit}")
    worst = result["worst_difference_from_pandas"]
    print(f"  worst difference from pandas: {worst['feature']}, {worst['std']:.1e} of its standard deviation")


def main() -> None:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_051_200, help="rows of one symbol; two years by default")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each variant; the best one counts")
    parser.add_argument("--candles", type=Path, help="a parquet file without holes; the simulated market by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.candles:
        candles = pd.read_parquet(arguments.candles).iloc[: arguments.rows]
    else:
        days = -(-arguments.rows // 1_440)
        candles = simulate_candles("BTC-USD", market="default", seed=7, days=days).iloc[: arguments.rows]
    result = bench(candles, arguments.rounds)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    tell(result, arguments.rounds)


if __name__ == "__main__":
    main()
