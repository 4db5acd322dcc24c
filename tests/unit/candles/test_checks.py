"""Every rule for candles, broken once; and what a report says about good ones."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from models_lib.candles.checks import MIN_ROWS, Gap, check_and_fill, check_candles
from models_lib.candles.schema import CANDLE_COLUMNS, TIMESTAMP_DTYPE, epoch_ms
from models_lib.config import DataSection
from models_lib.errors import DataError

RULES = DataSection()
Spoil = Callable[[pd.DataFrame], pd.DataFrame]


def check(frame: pd.DataFrame, rules: DataSection = RULES, now: datetime | None = None):
    return check_candles(frame, symbol="BTC-USD", rules=rules, where="BTC-USD.parquet", now=now)


def at(row: int, column: str, value: float) -> Spoil:
    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[row, column] = value
        return frame

    return spoil


def shifted(row: int, shift: timedelta) -> Spoil:
    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[row, "timestamp"] += shift
        return frame

    return spoil


def in_zone(zone: str) -> Spoil:
    return lambda frame: frame.assign(timestamp=frame["timestamp"].dt.tz_convert(zone))


def body_above_high(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[7, "close"] = frame.loc[7, "high"] + 0.5
    return frame


def all_closes_equal(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(open=100.0, high=101.0, low=99.0, close=100.0)


FAULTS: dict[str, tuple[Spoil, str]] = {
    "missing column": (lambda f: f.drop(columns="volume"), "column volume is missing; the columns are timestamp, open"),
    "renamed columns": (
        lambda f: f.rename(columns=str.upper),
        "column timestamp, open, high, low, close, volume is missing",
    ),
    "column twice": (
        lambda f: f.assign(x=f["close"]).rename(columns={"x": "close"}),
        "column close occurs more than once",
    ),
    "float32": (lambda f: f.astype({"open": np.float32}), "column open must be float64, was float32"),
    "text": (lambda f: f.astype({"close": str}), "column close must be float64, was str"),
    "whole numbers": (lambda f: f.astype({"volume": np.int64}), "column volume must be float64, was int64"),
    "clock of numbers": (
        lambda f: f.assign(timestamp=epoch_ms(f)),
        r"column timestamp must be datetime64\[ms, UTC\], was int64",
    ),
    "naive stamps": (
        lambda f: f.assign(timestamp=f["timestamp"].dt.tz_localize(None)),
        "timestamps are naive .* Localise them to UTC",
    ),
    "stamps of London": (in_zone("Europe/London"), "must be in UTC, were in Europe/London"),
    "stamps of New York": (in_zone("America/New_York"), "must be in UTC, were in America/New_York"),
    "one row": (lambda f: f.iloc[:1], r"1 rows are too few \(at least 1,440 needed, one day of minutes\)"),
    "no rows": (lambda f: f.iloc[:0], "0 rows are too few"),
    "no stamp": (
        lambda f: f.assign(timestamp=f["timestamp"].where(f.index != 3)),
        "1 of 2,000 rows have no timestamp, .* 3",
    ),
    "stamps in seconds": (
        lambda f: f.assign(timestamp=pd.Series(epoch_ms(f) // 1_000).astype(TIMESTAMP_DTYPE)),
        r"must lie between 2009-01-03T00:00Z and 2100-01-01T00:00Z, row 0 is 1970-01-21T10:55Z. Check the unit",
    ),
    "off the minute": (
        shifted(5, timedelta(seconds=1)),
        r"1 of 2,000 rows do not open on a whole minute, the first at 2026-01-02T00:05:01.000Z \(row 5\)",
    ),
    "unsorted": (
        lambda f: f.iloc[::-1].reset_index(drop=True),
        r"not sorted by time: 2026-01-03T09:18Z \(row 1\) comes after 2026-01-03T09:19Z. Sort the file",
    ),
    "duplicate": (
        lambda f: pd.concat([f.iloc[:11], f.iloc[10:]], ignore_index=True),
        r"1 of 2,001 rows repeat the minute before them, the first at 2026-01-02T00:10Z \(row 11\)",
    ),
    "NaN price": (
        at(60, "close", np.nan),
        r"close must be above zero and at most 1e.12, was nan at 2026-01-02T01:00Z \(row 60\)",
    ),
    "infinite price": (at(60, "high", np.inf), "high must be above zero and at most 1e.12, was inf"),
    "zero price": (at(60, "low", 0.0), "low must be above zero and at most 1e.12, was 0 at"),
    "negative price": (
        at(60, "open", -1.5),
        r"open must be above zero and at most 1e.12, was -1.5 .* in 1 of 2,000 rows \(0 allowed\)",
    ),
    "impossible price": (at(60, "high", 2e12), "high must be above zero and at most 1e.12, was 2e"),
    "impossible volume": (at(9, "volume", 1e300), "volume must be zero or more and at most 1e.18, was 1e.300"),
    "negative volume": (
        at(9, "volume", -2.0),
        "volume must be zero or more and at most 1e.18, was -2 at 2026-01-02T00:09Z",
    ),
    "NaN volume": (at(9, "volume", np.nan), "volume must be zero or more and at most 1e.18, was nan"),
    "high below low": (at(9, "high", 50.0), "high 50 is below low 100.75 at 2026-01-02T00:09Z"),
    "close above high": (body_above_high, "high 100.75 and low 100.55 contradict open 100.6 and close 101.25 at"),
    "low above open": (at(9, "low", 100.85), "high 100.95 and low 100.85 contradict open 100.8 and close 100.9 at"),
    "constant price": (all_closes_equal, "the price never changes: all 2,000 closes are 100"),
    "no volume at all": (lambda f: f.assign(volume=0.0), "volume is zero in all 2,000 rows"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_rule_is_refused_with_subject_fact_place_and_remedy(candles: pd.DataFrame, fault: str) -> None:
    spoil, message = FAULTS[fault]
    with pytest.raises(DataError, match=message) as refusal:
        check(spoil(candles))
    text = str(refusal.value)
    assert text.startswith("BTC-USD (BTC-USD.parquet): ")
    assert text.endswith(".")
    assert "\n" not in text


def test_good_candles_are_reported_without_a_warning(candles: pd.DataFrame) -> None:
    report = check(candles)
    assert (report.rows, report.expected_minutes, report.missing_minutes, report.filled_minutes) == (2_000, 2_000, 0, 0)
    assert report.first == datetime(2026, 1, 2, tzinfo=UTC)
    assert report.last == datetime(2026, 1, 3, 9, 19, tzinfo=UTC)
    assert report.gaps == ()
    assert report.warnings == ()
    assert report.zero_volume_longest_run_minutes == 0


def test_one_day_of_candles_is_enough(candles: pd.DataFrame) -> None:
    assert check(candles.iloc[:MIN_ROWS]).rows == 1_440


def test_short_runs_are_filled_and_longer_ones_reported_as_holes(candles: pd.DataFrame) -> None:
    holed = candles.drop(index=[*range(100, 105), *range(300, 306)])
    filled, report = check_and_fill(holed, symbol="BTC-USD", rules=RULES, where="here", now=None)
    assert report.filled_minutes == 5
    assert report.missing_minutes == 6
    assert report.rows == len(filled) == 1_994
    assert report.expected_minutes == 2_000
    assert report.missing_share == 0.003
    assert report.gaps == (
        Gap(start=datetime(2026, 1, 2, 5, 0, tzinfo=UTC), end=datetime(2026, 1, 2, 5, 6, tzinfo=UTC), minutes=6),
    )
    assert report.zero_volume_longest_run_minutes == 5
    assert len(report.warnings) == 1
    assert "6 of 2,000 minutes (0.3%) are missing in 1 hole," in report.warnings[0]
    assert "6 from 2026-01-02T05:00Z" in report.warnings[0]


def test_missing_share_above_the_limit_is_refused_naming_the_first_hole(candles: pd.DataFrame) -> None:
    holed = candles.drop(index=range(300, 306))
    assert check(holed, DataSection(max_missing_share=0.003)).missing_minutes == 6
    message = (
        r"6 of 2,000 minutes are missing \(0.300%, at most 0.200% allowed\), the first at 2026-01-02T05:00Z\. "
        r"Fetch the window again, or raise data\.max_missing_share\."
    )
    with pytest.raises(DataError, match=message):
        check(holed, DataSection(max_missing_share=0.002))


def test_the_share_is_judged_after_filling(candles: pd.DataFrame) -> None:
    holed = candles.drop(index=range(300, 305))
    assert check(holed, DataSection(max_missing_share=0.0)).filled_minutes == 5
    with pytest.raises(DataError, match="5 of 2,000 minutes are missing"):
        check(holed, DataSection(max_missing_share=0.0, fill_no_trade_minutes=4))


@pytest.mark.parametrize(("minutes", "warned"), [(240, False), (241, True)])
def test_a_long_run_without_volume_is_a_warning(candles: pd.DataFrame, minutes: int, warned: bool) -> None:
    candles.loc[500 : 500 + minutes - 1, "volume"] = 0.0
    report = check(candles)
    assert report.zero_volume_longest_run_minutes == minutes
    assert bool(report.warnings) == warned
    assert all("minutes in a row have no volume" in warning for warning in report.warnings)


def test_a_run_without_volume_ends_at_a_hole(candles: pd.DataFrame) -> None:
    candles.loc[500:599, "volume"] = 0.0
    assert check(candles.drop(index=range(530, 540))).zero_volume_longest_run_minutes == 60


@pytest.mark.parametrize(
    ("after_last", "warning"),
    [
        (timedelta(minutes=1), None),
        (timedelta(days=2, minutes=1), None),
        (timedelta(days=2, minutes=2), "is 2.0 days old at 2026-01-05T09:21Z (more than 2 is stale)"),
        (timedelta(seconds=59), "is not closed at 2026-01-03T09:19Z: its values may still change"),
    ],
)
def test_age_is_judged_from_the_close_of_the_newest_bar(
    candles: pd.DataFrame, after_last: timedelta, warning: str | None
) -> None:
    warnings = check(candles, now=datetime(2026, 1, 3, 9, 19, tzinfo=UTC) + after_last).warnings
    assert [warning in found for found in warnings] == ([] if warning is None else [True])  # type: ignore[operator]


def test_other_columns_are_left_out_with_a_warning_and_order_does_not_matter(candles: pd.DataFrame) -> None:
    wide = candles.assign(trades=3)[["trades", *reversed(CANDLE_COLUMNS)]]
    frame, report = check_and_fill(wide, symbol="X", rules=RULES, where="here", now=None)
    assert frame.equals(candles)
    assert report.warnings == ("columns without use were left out: trades",)


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_other_units_of_utc_stamps_come_back_in_milliseconds(candles: pd.DataFrame, unit: str) -> None:
    other = candles.astype({"timestamp": pd.DatetimeTZDtype(unit, "UTC")})
    frame, _ = check_and_fill(other, symbol="X", rules=RULES, where="here", now=None)
    assert frame.equals(candles)


def test_a_nanosecond_off_the_minute_is_not_rounded_away(candles: pd.DataFrame) -> None:
    finer = candles.astype({"timestamp": pd.DatetimeTZDtype("ns", "UTC")})
    finer.loc[5, "timestamp"] += pd.Timedelta(1, "ns")
    with pytest.raises(DataError, match=r"the first at 2026-01-02T00:05:00\.000000001Z"):
        check(finer)


def test_the_input_is_not_changed(candles: pd.DataFrame) -> None:
    holed = candles.drop(index=range(100, 105))
    before = holed.copy(deep=True)
    check(holed)
    pd.testing.assert_frame_equal(holed, before)


def test_the_report_is_plain_json(candles: pd.DataFrame) -> None:
    told = json.loads(json.dumps(check(candles.drop(index=range(300, 306))).to_json()))
    assert told["first"] == "2026-01-02T00:00Z"
    assert told["last"] == "2026-01-03T09:19Z"
    assert told["gaps"] == [{"start": "2026-01-02T05:00Z", "end": "2026-01-02T05:06Z", "minutes": 6}]
    assert told["missing_share"] == 0.003


def test_much_filling_is_worth_a_warning(candles: pd.DataFrame) -> None:
    """Every second minute is left out: 999 of 1,999 are made up, though no minute is missing afterwards."""
    thin = pd.concat([candles] * 1).iloc[::2]
    report = check(pd.concat([thin, candles.iloc[-1_000:]]).drop_duplicates("timestamp").sort_values("timestamp"))
    assert report.missing_minutes == 0
    (told,) = [warning for warning in report.warnings if "filled" in warning]
    assert told.startswith(f"{report.filled_minutes:,} of 2,000 minutes (25.0%, more than 5% is unusual)")
    assert not [warning for warning in check(candles.drop(index=[7, 9])).warnings if "filled" in warning]
