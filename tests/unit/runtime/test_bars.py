"""What is no bar is refused and changes nothing; what follows is filled as the training fills it."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_lib.candles.fill import fill_no_trade_minutes
from models_lib.candles.schema import BAR_MS, VALUE_COLUMNS, epoch_ms
from models_lib.errors import DataError
from models_lib.features import SERVING_BARS, WARM_UP_BARS
from models_lib.runtime.bars import BarWindow, checked_bar
from tests.bundles import walk_candles

T0 = 1_767_225_600_000  # 2026-01-01T00:00Z
GOOD = [T0, 100.0, 101.0, 99.0, 100.5, 3.0]


def bar(minute: int, close: float = 100.5) -> list[object]:
    return [T0 + minute * BAR_MS, 100.0, max(101.0, close), 99.0, close, 3.0]


def window_of(*minutes: int, fill: int = 5) -> BarWindow:
    window = BarWindow(fill_no_trade_minutes=fill)
    for minute in minutes:
        window.take(bar(minute))
    return window


def but(place: int, value: object) -> list[object]:
    return [*GOOD[:place], value, *GOOD[place + 1 :]]


@pytest.mark.parametrize(
    ("raw", "fact"),
    [
        (None, "must be a list of 6 values"),
        ("garbage" * 100, "must be a list of 6 values"),
        ({"open_ms": T0}, "must be a list of 6 values .* was an object"),
        ([], "must be a list of 6 values"),
        (GOOD[:5], "must be a list of 6 values"),
        ([*GOOD, 1.0], "must be a list of 6 values"),
        (but(0, float(T0)), "must be whole milliseconds"),
        (but(0, True), "must be whole milliseconds"),
        (but(0, None), "must be whole milliseconds"),
        (but(0, T0 + 1), "no whole minute"),
        (but(0, T0 // 1000), "between 2009 and 2100"),
        (but(0, T0 * 1000), "between 2009 and 2100"),
        (but(0, -(10**30)), "between 2009 and 2100"),
        (but(4, "100.5"), "close must be a number"),
        (but(4, True), "close must be a number"),
        (but(4, [100.5]), "close must be a number"),
        (but(4, math.nan), "close must be above zero"),
        (but(2, math.inf), "high must be above zero and at most"),
        (but(1, 0.0), "open must be above zero"),
        (but(3, -1.0), "low must be above zero"),
        (but(4, 10**400), "close must be above zero and at most"),
        (but(5, -1.0), "volume must be zero or more"),
        (but(5, math.nan), "volume must be zero or more"),
        (but(5, 1e300), "volume must be zero or more and at most"),
        (but(2, 100.2), "contradict open 100 and close 100.5"),
        (but(3, 100.2), "contradict open 100 and close 100.5"),
        (but(2, 98.0), "contradict"),
    ],
)
def test_what_is_no_bar_is_refused_and_changes_nothing(raw: object, fact: str) -> None:
    window = window_of(-1)
    with pytest.raises(DataError, match=fact) as refusal:
        window.take(raw)
    assert len(str(refusal.value)) < 300
    assert (window.last_ms, window.segment_bars) == (T0 - BAR_MS, 1)


def test_whole_numbers_are_prices_too() -> None:
    assert checked_bar([T0, 100, 101, 99, 100, 0]) == (T0, 100.0, 101.0, 99.0, 100.0, 0.0)


def test_bar_of_the_future_is_refused_and_the_clock_named() -> None:
    closes = T0 + BAR_MS
    assert checked_bar(GOOD, now_ms=closes).open_ms == T0
    with pytest.raises(DataError, match=r"closes at 2026-01-01T00:01:00Z, and it is only .*check this host's clock"):
        checked_bar(GOOD, now_ms=closes - 1)


def test_bar_twice_is_ignored_and_with_other_values_refused() -> None:
    window = window_of(0, 1, 2)
    assert window.take(bar(1)) is None
    with pytest.raises(
        DataError, match=r"comes again with other values \(close 100.7, was 100.5\); the first one counts"
    ):
        window.take(bar(1, close=100.7))
    assert window.segment_bars == 3
    assert window.newest(3)[3].tolist() == [100.5] * 3


def test_bar_out_of_order_is_refused() -> None:
    window = window_of(10, 20)
    for minute in (15, 3):
        with pytest.raises(DataError, match="comes out of order, after that of 2026-01-01T00:20Z"):
            window.take(bar(minute))
    assert window.take(bar(21)) is not None


def test_short_run_of_missing_minutes_is_filled_when_the_next_bar_comes() -> None:
    window = window_of(0)
    window.take(bar(1, close=100.25))
    window.take(bar(7))
    assert (window.segment_bars, window.filled_minutes, window.hole) == (8, 5, None)
    opened, high, low, close, volume = (column[2:7].tolist() for column in window.newest(8))
    assert opened == high == low == close == [100.25] * 5
    assert volume == [0.0] * 5


def test_longer_run_is_a_hole_and_a_new_segment() -> None:
    window = window_of(0, 1, 8)
    assert (window.segment_bars, window.filled_minutes) == (1, 0)
    assert window.hole is not None
    assert window.hole.sentence() == "6 minutes from 2026-01-01T00:02Z are missing"
    assert window.missing_bars == WARM_UP_BARS
    assert len(window.newest(100)[0]) == 1


def test_minute_that_came_damaged_is_never_filled() -> None:
    window = window_of(0)
    with pytest.raises(DataError):
        window.take([T0 + BAR_MS, math.nan, 101.0, 99.0, 100.5, 3.0])
    window.take(bar(2))
    assert window.hole is not None
    assert window.hole.sentence() == "1 minute from 2026-01-01T00:01Z came damaged"
    assert (window.segment_bars, window.filled_minutes) == (1, 0)


def test_damaged_minute_that_comes_again_in_good_order_leaves_no_trace() -> None:
    window = window_of(0)
    with pytest.raises(DataError):
        window.take([T0 + BAR_MS, math.nan, 101.0, 99.0, 100.5, 3.0])
    window.take(bar(1))
    window.take(bar(3))
    assert (window.segment_bars, window.filled_minutes, window.hole) == (4, 1, None)


def test_window_keeps_the_last_bars_when_its_room_is_used_up() -> None:
    window = BarWindow(fill_no_trade_minutes=5)
    for minute in range(2 * SERVING_BARS + 700):
        window.take(bar(minute, close=100.0 + minute * 1e-4))
    close = window.newest(SERVING_BARS)[3]
    expected = 100.0 + np.arange(SERVING_BARS + 700, 2 * SERVING_BARS + 700) * 1e-4
    np.testing.assert_array_equal(close, expected)
    with pytest.raises(DataError, match="out of order"):
        window.take(bar(0))
    assert window.take(bar(2 * SERVING_BARS - 1, close=100.0 + (2 * SERVING_BARS - 1) * 1e-4)) is None


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(1, 398), max_size=120), st.integers(0, 10))
def test_filling_bar_by_bar_equals_filling_the_frame(dropped: set[int], longest: int) -> None:
    """Of the last segment: what lies before a hole is nobody's window."""
    frame = CANDLES.drop(index=sorted(dropped)).reset_index(drop=True)
    filled, _ = fill_no_trade_minutes(frame, longest_run_minutes=longest)
    window = BarWindow(fill_no_trade_minutes=longest)
    for stamp, *values in zip(epoch_ms(frame).tolist(), *(frame[name].tolist() for name in VALUE_COLUMNS), strict=True):
        window.take([stamp, *values])
    stamps = epoch_ms(filled)
    breaks = np.flatnonzero(np.diff(stamps) != BAR_MS)
    segment: pd.DataFrame = filled.iloc[int(breaks[-1]) + 1 if breaks.size else 0 :]
    assert window.segment_bars == len(segment)
    for found, name in zip(window.newest(len(segment)), VALUE_COLUMNS, strict=True):
        np.testing.assert_array_equal(found, segment[name].to_numpy())


CANDLES = walk_candles(400)
