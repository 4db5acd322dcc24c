"""The newest day answered by a bundle that is not current yet, on the host that shall run it.

What does not belong here: where the candles come from (the entry point) and what the answers may be (watch.py).
"""

import statistics
import time
from pathlib import Path

import numpy as np
import pandas as pd

from models_lib.bundle import Bundle, load_bundle
from models_lib.errors import DataError
from models_lib.features import SERVING_BARS
from models_lib.host.watch import Answers

_CLASSES = ("DOWN", "NEUTRAL", "UP")
_TIMED_BARS = 20
"""Bars whose answer is timed one by one, as the runtime gives it."""


def load_release(release: Path, symbol: str, bundle_hash: str) -> Bundle:
    """The bundle with this host's own Python: every check, golden vectors included.

    Raises:
        ConfigError, BundleError: it must not be used.
    """
    return load_bundle(release, symbol=symbol, expected_hash=bundle_hash, only_as_served=True)


def rehearse(bundle: Bundle, candles: pd.DataFrame, *, minutes: int) -> Answers:
    """What the bundle answers to the newest `minutes` of the candles.

    Args:
        bundle: loaded.
        candles: of its symbol, checked and filled; those before the newest minutes are the first rows' windows.
        minutes: how many of the newest rows.

    Raises:
        DataError: no row of them has features.
    """
    features = bundle.features(candles)[-minutes:]
    known = features[~np.isnan(features).any(axis=1)]
    if not len(known):
        raise DataError(
            f"{bundle.manifest.symbol}: none of the newest {minutes} candles has features; {len(candles)} candles are too "
            f"few or too broken up. Give the host more of them."
        )
    probabilities = bundle.predictor.probabilities(known)
    finite = np.isfinite(probabilities).all(axis=1)
    called = np.bincount(probabilities[finite].argmax(axis=1), minlength=len(_CLASSES))
    return Answers(
        predictions=int(finite.sum()),
        over_99=int((probabilities[finite].max(axis=1) > 0.99).sum()),
        classes=dict(zip(_CLASSES, map(int, called), strict=True)),
        non_finite=int((~finite).sum()),
        errors=0,
        latency_ms=_median_ms(bundle, candles),
        bar_age_seconds=None,
    )


def _median_ms(bundle: Bundle, candles: pd.DataFrame) -> float:
    took = []
    for last in range(len(candles) - _TIMED_BARS + 1, len(candles) + 1):
        began = time.perf_counter()
        newest = bundle.features(candles.iloc[max(0, last - SERVING_BARS) : last])[-1:]
        bundle.predictor.probabilities(np.nan_to_num(newest))
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)
