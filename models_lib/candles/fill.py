"""Filling of minutes in which nobody traded.

Exchanges leave such minutes out. A short run of them is filled with what is known: the last close as every price, and a
volume of zero. A longer run stays a hole and starts a new segment.

What does not belong here: the decision how long a run may be (configuration) and any other repair of data.
"""

from typing import Any

import numpy as np
import pandas as pd

from models_lib.candles.schema import BAR_MS, CANDLE_COLUMNS, PRICE_COLUMNS, TIMESTAMP_DTYPE, epoch_ms


def fill_no_trade_minutes(frame: pd.DataFrame, *, longest_run_minutes: int) -> tuple[pd.DataFrame, int]:
    """The candles with short runs of missing minutes filled, and the number of minutes filled.

    A filled minute uses the close before it only, so nothing later than that minute is known to it. Doing it twice is
    doing it once.

    Args:
        frame: candles, sorted, unique, on whole minutes.
        longest_run_minutes: longest run of missing minutes that is filled; 0 fills nothing.

    Returns:
        A frame with the columns of CANDLE_COLUMNS (the same object when there is nothing to fill), and the count.
    """
    stamps = epoch_ms(frame)
    missing = np.diff(stamps) // BAR_MS - 1
    runs = np.where(missing <= longest_run_minutes, missing, 0)
    filled_minutes = int(runs.sum())
    if filled_minutes == 0:
        return frame, 0
    bars_from_row = np.append(runs + 1, 1)
    source_row = np.repeat(np.arange(len(frame)), bars_from_row)
    first_bar = np.cumsum(bars_from_row) - bars_from_row
    minutes_after = np.arange(len(source_row)) - first_bar[source_row]
    is_filled = minutes_after > 0
    close = frame["close"].to_numpy()[source_row]
    columns: dict[str, Any] = {
        "timestamp": pd.Series(stamps[source_row] + minutes_after * BAR_MS).astype(TIMESTAMP_DTYPE)
    }
    for name in PRICE_COLUMNS:
        columns[name] = np.where(is_filled, close, frame[name].to_numpy()[source_row])
    columns["volume"] = np.where(is_filled, 0.0, frame["volume"].to_numpy()[source_row])
    return pd.DataFrame(columns, columns=list(CANDLE_COLUMNS)), filled_minutes
