"""Segments and the hash of the data."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from models_lib.candles.schema import CANDLE_COLUMNS, data_hash, epoch_ms, segment_starts


def test_segment_starts_follow_every_missing_minute() -> None:
    minutes = np.array([0, 1, 2, 4, 5, 9], dtype=np.int64)
    assert segment_starts(minutes * 60_000).tolist() == [0, 3, 5]


@pytest.mark.parametrize(("stamps", "starts"), [([], []), ([60_000], [0]), ([0, 60_000], [0])])
def test_segment_starts_of_short_frames(stamps: list[int], starts: list[int]) -> None:
    found = segment_starts(np.array(stamps, dtype=np.int64))
    assert found.dtype == np.int64
    assert found.tolist() == starts


def test_epoch_ms_does_not_depend_on_the_unit_of_the_column(candles: pd.DataFrame) -> None:
    finer = candles.astype({"timestamp": pd.DatetimeTZDtype("ns", "UTC")})
    assert epoch_ms(candles)[:2].tolist() == [1_767_312_000_000, 1_767_312_060_000]  # 2026-01-02T00:00Z and 00:01Z
    assert np.array_equal(epoch_ms(finer), epoch_ms(candles))


def test_data_hash_is_the_sha256_of_the_columns_bytes(candles: pd.DataFrame) -> None:
    by_hand = hashlib.sha256(b"candles/1 2000\n")
    by_hand.update((1_767_312_000_000 + 60_000 * np.arange(2_000)).astype("<i8").tobytes())
    for name in CANDLE_COLUMNS[1:]:
        by_hand.update(candles[name].to_numpy().astype("<f8").tobytes())
    assert data_hash(candles) == by_hand.hexdigest()


@pytest.mark.parametrize("column", CANDLE_COLUMNS[1:])
def test_data_hash_changes_with_one_number_of_any_column(candles: pd.DataFrame, column: str) -> None:
    before = data_hash(candles)
    candles.loc[1_234, column] = np.nextafter(candles.loc[1_234, column], np.inf)
    assert data_hash(candles) != before


def test_data_hash_changes_with_the_clock_and_the_length(candles: pd.DataFrame) -> None:
    later = candles.assign(timestamp=candles["timestamp"] + pd.Timedelta(minutes=1))
    assert len({data_hash(candles), data_hash(later), data_hash(candles.iloc[:-1])}) == 3
