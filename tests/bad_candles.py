"""Files of candles with one fault each, for the tests of the front door; the rules themselves are tested in unit/candles."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from models_lib.candles.schema import TIMESTAMP_DTYPE

ROWS = 2_000
START_MS = 1_767_312_000_000  # 2026-01-02T00:00Z
Spoil = Callable[[pd.DataFrame], pd.DataFrame]


def good_candles(rows: int = ROWS) -> pd.DataFrame:
    """Minutes from 2026-01-02T00:00Z without a fault: closes 100.0, 100.1, ... 100.9 in turn, volume 1 to 7."""
    row = np.arange(rows)
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


def _at(row: int, column: str, value: float) -> Spoil:
    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[row, column] = value
        return frame

    return spoil


SPOILT: dict[str, tuple[Spoil, str]] = {
    "columns": (lambda f: f.rename(columns={"close": "price"}), "column close is missing; the columns are timestamp,"),
    "dtype": (lambda f: f.astype({"open": np.float32}), "column open must be float64, was float32"),
    "naive": (lambda f: f.assign(timestamp=f["timestamp"].dt.tz_localize(None)), "timestamps are naive (no time zone)"),
    "zone": (
        lambda f: f.assign(timestamp=f["timestamp"].dt.tz_convert("America/New_York")),
        "timestamps must be in UTC, were in America/New_York",
    ),
    "unsorted": (lambda f: f.iloc[::-1], "rows are not sorted by time: 2026-01-03T09:18Z (row 1) comes after"),
    "duplicate": (
        lambda f: pd.concat([f.iloc[:11], f.iloc[10:]]),
        "1 of 2,001 rows repeat the minute before them, the first at 2026-01-02T00:10Z (row 11)",
    ),
    "negative": (
        _at(60, "open", -1.5),
        "open must be above zero and at most 1e+12, was -1.5 at 2026-01-02T01:00Z (row 60); so in 1 of 2,000 rows (0 allowed)",
    ),
    "nan": (
        _at(60, "close", np.nan),
        "close must be above zero and at most 1e+12, was nan at 2026-01-02T01:00Z (row 60)",
    ),
    "highlow": (_at(9, "high", 50.0), "high 50 is below low 100.75 at 2026-01-02T00:09Z (row 9)"),
    "onerow": (lambda f: f.iloc[:1], "1 rows are too few (at least 1,440 needed, one day of minutes)"),
    "constant": (
        lambda f: f.assign(open=100.0, high=101.0, low=99.0, close=100.0),
        "the price never changes: all 2,000 closes are 100",
    ),
    "novolume": (lambda f: f.assign(volume=0.0), "volume is zero in all 2,000 rows"),
}
"""Fault -> how to make it, and what the message says."""

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty (0 bytes)"),
    "garbage": (b"timestamp,open,high,low,close,volume\n", "cannot be read as parquet"),
}
"""Fault -> content of the file, and what the message says."""

MESSAGES = {name: message for name, (_, message) in (*SPOILT.items(), *UNREADABLE.items())}


def write_spoilt(path: Path, fault: str) -> None:
    """A file of candles with that fault."""
    if fault in UNREADABLE:
        path.write_bytes(UNREADABLE[fault][0])
    else:
        SPOILT[fault][0](good_candles()).to_parquet(path, index=False)
