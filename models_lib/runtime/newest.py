"""The newest candles of a runtime's own source as a frame, for the rehearsal of a release that is not current yet.

What does not belong here: the rehearsal (models_lib.host).
"""

from typing import Protocol

import pandas as pd

from models_lib.candles.fill import fill_no_trade_minutes
from models_lib.candles.schema import CANDLE_COLUMNS, TIMESTAMP_DTYPE
from models_lib.errors import DataError
from models_lib.features import SERVING_BARS
from models_lib.runtime.bars import BarWindow


class NewestBars(Protocol):
    """A source that can be asked for what is there now."""

    def newest(self, symbol: str, bars: int) -> list[object]:
        """At most so many of the newest closed bars, oldest first, unchecked.

        Raises:
            DataError: there are none to be had.
            TransientError: it does not answer now.
        """


def newest_candles(source: NewestBars, symbol: str, minutes: int, *, fill_no_trade_minutes_up_to: int) -> pd.DataFrame:
    """The newest `minutes` of candles, and the SERVING_BARS before them that their features are made of.

    Raises:
        DataError: one of them is no bar, or does not follow; a rehearsal on damaged candles proves nothing.
        TransientError: the source does not answer now.
    """
    raws = source.newest(symbol, minutes + SERVING_BARS)
    window = BarWindow(fill_no_trade_minutes=fill_no_trade_minutes_up_to)
    rows = [bar for raw in raws if (bar := window.take(raw)) is not None]
    if not rows:
        raise DataError(f"{symbol}: the source has no candles. Give the host some before a release is deployed.")
    frame = pd.DataFrame(rows, columns=list(CANDLE_COLUMNS))
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="ms", utc=True).astype(TIMESTAMP_DTYPE)
    return fill_no_trade_minutes(frame, longest_run_minutes=fill_no_trade_minutes_up_to)[0]
