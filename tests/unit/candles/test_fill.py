"""Minutes without trades: short runs are filled, long ones stay holes."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from models_lib.candles.fill import fill_no_trade_minutes
from models_lib.candles.schema import TIMESTAMP_DTYPE, epoch_ms, segment_starts


def frame_at(minutes: list[int]) -> pd.DataFrame:
    """Candles at the given minutes whose close is 10 more than their minute."""
    close = np.array(minutes, dtype=np.float64) + 10.0
    stamps = pd.Series(np.array(minutes, dtype=np.int64) * 60_000).astype(TIMESTAMP_DTYPE)
    return pd.DataFrame(
        {
            "timestamp": stamps,
            "open": close - 1,
            "high": close + 2,
            "low": close - 2,
            "close": close,
            "volume": close * 3,
        }
    )


def test_a_short_run_gets_the_last_close_and_zero_volume() -> None:
    filled, count = fill_no_trade_minutes(frame_at([0, 1, 4, 5]), longest_run_minutes=2)
    assert count == 2
    assert (epoch_ms(filled) // 60_000).tolist() == [0, 1, 2, 3, 4, 5]
    assert filled["timestamp"].dtype == TIMESTAMP_DTYPE
    for column in ("open", "high", "low", "close"):
        assert filled[column].iloc[2:4].tolist() == [11.0, 11.0]
    assert filled["volume"].tolist() == [30.0, 33.0, 0.0, 0.0, 42.0, 45.0]
    assert filled["high"].tolist() == [12.0, 13.0, 11.0, 11.0, 16.0, 17.0]


def test_a_longer_run_stays_a_hole_beside_a_filled_one() -> None:
    filled, count = fill_no_trade_minutes(frame_at([0, 2, 6, 7]), longest_run_minutes=2)
    assert count == 1
    assert (epoch_ms(filled) // 60_000).tolist() == [0, 1, 2, 6, 7]
    assert segment_starts(epoch_ms(filled)).tolist() == [0, 3]


def test_zero_fills_nothing_and_hands_the_same_frame_back() -> None:
    frame = frame_at([0, 2, 3])
    filled, count = fill_no_trade_minutes(frame, longest_run_minutes=0)
    assert filled is frame
    assert count == 0


@settings(max_examples=60, deadline=None)
@given(
    minutes=st.lists(st.integers(0, 120), min_size=2, max_size=40, unique=True).map(sorted),
    longest=st.integers(0, 10),
    later=st.floats(0.5, 2.0),
)
def test_filling_is_idempotent_keeps_real_bars_and_knows_nothing_later(
    minutes: list[int], longest: int, later: float
) -> None:
    frame = frame_at(minutes)
    filled, count = fill_no_trade_minutes(frame, longest_run_minutes=longest)
    assert len(filled) == len(frame) + count
    again, more = fill_no_trade_minutes(filled, longest_run_minutes=longest)
    assert more == 0
    assert again.equals(filled)
    kept = filled[filled["timestamp"].isin(frame["timestamp"])].reset_index(drop=True)
    assert kept.equals(frame)
    changed = frame.copy()
    changed.loc[len(frame) - 1, ["open", "high", "low", "close"]] *= later
    refilled, _ = fill_no_trade_minutes(changed, longest_run_minutes=longest)
    assert refilled.iloc[:-1].equals(filled.iloc[:-1])
