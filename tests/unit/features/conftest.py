"""One simulated market for all tests of the features."""

import pandas as pd
import pytest

from models_lib.candles.simulated import simulate_candles


@pytest.fixture(scope="session")
def simulated() -> pd.DataFrame:
    """Eight days of the default market: 11,520 bars without a hole."""
    return simulate_candles("BTC-USD", market="default", seed=3, days=8)
