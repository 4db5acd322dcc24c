"""A day and a half of good candles, made by hand, to be spoiled one fault at a time."""

import pandas as pd
import pytest

from tests.bad_candles import good_candles


@pytest.fixture
def candles() -> pd.DataFrame:
    """2,000 minutes from 2026-01-02T00:00Z without a fault: closes 100.0, 100.1, ... 100.9 in turn, volume 1 to 7."""
    return good_candles()
