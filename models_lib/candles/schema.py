"""What a frame of candles is: its columns, its clock, its segments and its hash.

A candle is one minute: `timestamp` is the bar's **open** time (UTC, ms), so its close is known one minute later. A frame
holds one symbol, sorted by time, without duplicates. A missing minute ends a segment; nothing (no feature window, no
label) may reach from one segment into the next.

What does not belong here: whether a frame may be used (checks.py), and the filling of minutes without trades (fill.py).
"""

import hashlib
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

PRICE_COLUMNS: Final = ("open", "high", "low", "close")
"""Prices, float64, in the quote currency."""
VALUE_COLUMNS: Final = (*PRICE_COLUMNS, "volume")
"""Every float64 column; volume is in the base coin."""
CANDLE_COLUMNS: Final = ("timestamp", *VALUE_COLUMNS)
"""All columns of a frame of candles, in order."""
TIMESTAMP_DTYPE: Final = pd.DatetimeTZDtype("ms", "UTC")
"""Type of the timestamp column."""
BAR_MINUTES: Final = 1
"""Length of a bar."""
BAR_MS: Final = BAR_MINUTES * 60_000
"""Length of a bar in milliseconds."""
DAY_MS: Final = 86_400_000
"""Length of a day in milliseconds."""


def epoch_ms(frame: pd.DataFrame) -> NDArray[np.int64]:
    """The open times as int64 milliseconds since 1970-01-01T00:00Z, shape [N]."""
    stamps = frame["timestamp"].dt.tz_convert("UTC").dt.tz_localize(None)
    return np.ascontiguousarray(stamps.to_numpy(dtype="datetime64[ms]").astype(np.int64))


def segment_starts(timestamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row numbers at which a segment starts, shape [S]; the first is 0, and S is 0 for no rows at all.

    Args:
        timestamps: open times in ms, sorted and unique, shape [N].
    """
    if len(timestamps) == 0:
        return np.empty(0, dtype=np.int64)
    breaks = np.flatnonzero(np.diff(timestamps) != BAR_MS) + 1
    return np.concatenate(([0], breaks)).astype(np.int64)


def data_hash(frame: pd.DataFrame) -> str:
    """The SHA-256 over the columns' raw little-endian bytes in the order of CANDLE_COLUMNS, in lower-case hex.

    Timestamps count as int64 milliseconds. Filled minutes are rows like any other, so what was filled is in the hash.
    """
    digest = hashlib.sha256(f"candles/1 {len(frame)}\n".encode())
    digest.update(epoch_ms(frame).astype("<i8").tobytes())
    for column in VALUE_COLUMNS:
        digest.update(np.ascontiguousarray(frame[column].to_numpy(dtype="<f8")).tobytes())
    return digest.hexdigest()
