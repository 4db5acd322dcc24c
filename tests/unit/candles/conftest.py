"""A day and a half of good candles, made by hand, to be spoiled one fault at a time."""

import numpy as np
import pandas as pd
import pytest

from models_lib.candles.schema import TIMESTAMP_DTYPE

ROWS = 2_000
START_MS = 1_767_312_000_000  # 2026-01-02T00:00Z


@pytest.fixture
def candles() -> pd.DataFrame:
    """2,000 minutes from 2026-01-02T00:00Z without a fault: closes 100.0, 100.1, ... 100.9 in turn, volume 1 to 7."""
    row = np.arange(ROWS)
    close = 100.0 + (row % 10) / 10.0
    opened = np.concatenate(([100.0], close[:-1]))
    return pd.DataFrame(
        {
            "timestamp": pd.Series(START_MS + row * 60_000).astype(TIMESTAMP_DTYPE),
            "open": opened,
            "high": np.maximum(opened, close) + 0.05,
            "low": np.minimum(opened, close) - 0.05,
            "close": close,
            "volume": 1.0 + row % 7,
        }
    )
