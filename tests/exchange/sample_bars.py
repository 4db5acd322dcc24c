"""Bars for the local exchange: made up, or read from a file.

What does not belong here: what is done to them before they are served (listed.py).
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.exchange.listed import MINUTE_MS

Arrays = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Open times in ms [N]; open, high, low, close, volume [N, 5]."""
FIRST_MS = 1_767_225_600_000
"""2026-01-01T00:00Z."""


def made_up_bars(num_bars: int, *, seed: int = 1, first_ms: int = FIRST_MS, price: float = 60_000.0) -> Arrays:
    """A walk in cents without a gap; volumes down to 0.00000001, as exchanges have them."""
    rng = np.random.default_rng(seed)
    ends = price * np.exp(np.cumsum(rng.normal(0, 5e-4, num_bars + 1)))
    opened, closed = ends[:-1], ends[1:]
    high = np.maximum(opened, closed) * np.exp(rng.exponential(2e-4, num_bars))
    low = np.minimum(opened, closed) * np.exp(-rng.exponential(2e-4, num_bars))
    prices = np.round(np.column_stack([opened, high, low, closed]), 2)
    volume = np.maximum(np.round(10.0 ** rng.uniform(-9, 3, num_bars), 8), 1e-8)
    return first_ms + MINUTE_MS * np.arange(num_bars, dtype=np.int64), np.column_stack([prices, volume])


def bars_of(file: Path) -> Arrays:
    """The bars of a parquet file of candles."""
    import pyarrow as pa  # noqa: PLC0415 - every test's fixtures import this module
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    table = pq.read_table(file)
    stamps = table["timestamp"].cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).to_numpy()
    columns = [table[name].to_numpy() for name in ("open", "high", "low", "close", "volume")]
    return stamps, np.column_stack(columns)
