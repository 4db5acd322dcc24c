"""All 72 features against plain pandas, a second implementation from the same formulas."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models_lib.features import FEATURE_NAMES, WARM_UP_BARS, compute_features
from tests.unit.features.markets import nasty_candles
from tests.unit.features.pandas_oracle import pandas_features

TOLERANCE_STD = 1e-4
"""pandas starts its exponential means at the first bar of the file and its rolling variances drift."""


def assert_agrees_with_pandas(candles: pd.DataFrame, *, skip: int = 0) -> None:
    features, expected = compute_features(candles), pandas_features(candles)
    assert set(expected.columns) == set(FEATURE_NAMES)
    expected = expected[list(FEATURE_NAMES)]
    rows = slice(WARM_UP_BARS + skip, None)
    difference = np.abs(features - expected.to_numpy())[rows].max(axis=0) / features[rows].std(axis=0)
    worst = int(difference.argmax())
    assert difference[worst] <= TOLERANCE_STD, f"{FEATURE_NAMES[worst]} differs by {difference[worst]:.1e} stds"


def test_features_agree_with_pandas_on_the_simulated_market(simulated: pd.DataFrame) -> None:
    assert_agrees_with_pandas(simulated)


def test_features_agree_with_pandas_on_coarse_ticks_and_silent_minutes() -> None:
    candles = nasty_candles(11, rows=9_000, tick=0.05, flat=(4_000, 4_040), silent=(5_000, 5_090))
    assert_agrees_with_pandas(candles)


@pytest.mark.candles
@pytest.mark.parametrize("symbol", ["BTC-USD", "ETH-USD", "SOL-USD"])
def test_features_agree_with_pandas_on_real_candles(real_candles: Path, symbol: str) -> None:
    assert_agrees_with_pandas(pd.read_parquet(real_candles / "perp-50d" / f"{symbol}.parquet"))
