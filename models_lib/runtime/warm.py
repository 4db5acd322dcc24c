"""Compiles what serving needs before it is needed: `python -m models_lib.runtime.warm`, once after an installation.

The kernels of features and labels (which score what was said) are compiled by numba at their first call and kept beside
their source (`__pycache__`). Without this the first start of a new version would spend its time on them, and the deployment that restarted it would take it for ill.

What does not belong here: candles of a market; these are a plain random walk, and their features mean nothing.
"""

import sys
import time
from typing import get_args

import numpy as np
import pandas as pd

from models_lib.bundle.predictor import onnx_runtime
from models_lib.candles.schema import TIMESTAMP_DTYPE
from models_lib.config import LabelSection
from models_lib.features import SERVING_BARS, compute_features
from models_lib.labels import label_values

SEED = 7


def warm_up() -> float:
    """Computes the features and labels of one serving window; returns the seconds that it took."""
    begun = time.perf_counter()
    candles = _random_walk(SERVING_BARS)
    features = compute_features(candles)
    for kind in get_args(LabelSection.model_fields["kind"].annotation):
        label_values(candles, LabelSection(kind=kind))
    if not np.isfinite(features[-1]).all():
        raise RuntimeError("the features of the last bar are not finite: numpy or numba does not work on this machine")
    return time.perf_counter() - begun


def main() -> None:
    """Warms up and says how long it took."""
    engine = onnx_runtime()
    sys.stdout.write(f"kernels compiled in {warm_up():.1f} s; ONNX Runtime {engine.__version__} loads\n")


def _random_walk(rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(SEED)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 5e-4, rows)))
    stamps = pd.date_range("2026-01-01", periods=rows, freq="min", tz="UTC").astype(TIMESTAMP_DTYPE)
    return pd.DataFrame(
        {
            "timestamp": stamps,
            "open": np.concatenate(([close[0]], close[:-1])),
            "high": close * 1.001,
            "low": close * 0.998,
            "close": close,
            "volume": rng.lognormal(1.0, 1.0, rows),
        }
    )


if __name__ == "__main__":
    main()
