"""The replay of a folder: which rows fill the window, which are decided on, and in what order."""

from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from models_lib.candles.schema import BAR_MS
from models_lib.errors import ConfigError, DataError, TransientError
from models_lib.features import SERVING_BARS
from models_lib.runtime.newest import newest_candles
from models_lib.runtime.sources import FolderSource, Given, Trouble, read_rows
from tests.bundles import walk_candles
from tests.unit.runtime.host_folders import raws_of, write_candles

CANDLES = walk_candles(5_000)
RAWS = raws_of(CANDLES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_candles(tmp_path / "BTC-USD.safetensors", CANDLES)
    return tmp_path


class Before(NamedTuple):
    """A symbol at the start of a process."""

    decided_ms: int | None
    newest_ms: int | None = None


def played(source: FolderSource, **decided: int | None) -> list[Any]:
    return list(source.bars({name.replace("_", "-"): Before(last) for name, last in decided.items()}, Event()))


def split(events: list[Any]) -> tuple[list[Any], list[Any]]:
    return [event.raw for event in events if event.past], [event.raw for event in events if not event.past]


@pytest.mark.parametrize(
    ("chosen", "decided", "first", "end"),
    [
        ({}, None, 0, 5_000),
        ({"newest_minutes": 100}, None, 4_900, 5_000),
        ({"first_ms": RAWS[4_500][0]}, None, 4_500, 5_000),
        ({"first_ms": RAWS[4_500][0] - 1, "last_ms": RAWS[4_600][0]}, None, 4_500, 4_601),
        ({"last_ms": RAWS[4_600][0], "newest_minutes": 10}, None, 4_591, 4_601),
        ({"newest_minutes": 100}, RAWS[4_950][0], 4_951, 5_000),
        ({"newest_minutes": 100}, RAWS[100][0], 4_900, 5_000),
        ({}, RAWS[-1][0], 5_000, 5_000),
        ({"first_ms": RAWS[-1][0] + BAR_MS}, None, 5_000, 5_000),
        ({"last_ms": RAWS[0][0] - 1}, None, 0, 0),
    ],
)
def test_rows_before_the_first_to_decide_on_fill_the_window(
    folder: Path, chosen: dict[str, int], decided: int | None, first: int, end: int
) -> None:
    past, new = split(played(FolderSource(folder, **chosen), BTC_USD=decided))
    assert past == RAWS[max(0, first - SERVING_BARS) : first]
    assert new == RAWS[first:end]


def test_symbols_come_minute_by_minute(folder: Path) -> None:
    CANDLES.iloc[4_990:].to_parquet(folder / "ETH-USD.parquet")
    events = played(FolderSource(folder, newest_minutes=5), BTC_USD=None, ETH_USD=None)
    new = [(event.symbol, event.raw[0]) for event in events if not event.past]
    assert new == [(symbol, raw[0]) for raw in RAWS[-5:] for symbol in ("BTC-USD", "ETH-USD")]


def test_parquet_and_safetensors_give_the_same_bars(folder: Path, tmp_path: Path) -> None:
    CANDLES.to_parquet(tmp_path / "ETH-USD.parquet")
    ours, theirs = read_rows(folder, "BTC-USD"), read_rows(folder, "ETH-USD")
    np.testing.assert_array_equal(ours.stamps, theirs.stamps)
    np.testing.assert_array_equal(ours.values, theirs.values)


def test_absent_values_come_through_as_what_is_refused(tmp_path: Path) -> None:
    frame = CANDLES.iloc[:3].copy()
    frame["close"] = pd.array([1.0, None, 3.0], dtype="Float64")
    frame.loc[2, "timestamp"] = pd.NaT
    frame.to_parquet(tmp_path / "BTC-USD.parquet")
    rows = read_rows(tmp_path, "BTC-USD")
    assert np.isnan(rows.values[1, 3])
    assert rows.stamps[2] == -1


def test_file_that_is_none_is_trouble_of_its_symbol_alone(folder: Path) -> None:
    (folder / "ETH-USD.parquet").write_bytes(b"PAR1 no")
    (folder / "SOL-USD.safetensors").write_bytes(b"no")
    save_file({"timestamps": np.zeros(3), "ohlcv": np.zeros((3, 5))}, folder / "XRP-USD.safetensors")
    save_file({"ohlcv": np.zeros((3, 5))}, folder / "ADA-USD.safetensors")
    CANDLES[["timestamp", "close"]].to_parquet(folder / "DOT-USD.parquet")
    source = FolderSource(folder, newest_minutes=3)
    names = {"ETH_USD": None, "SOL_USD": None, "XRP_USD": None, "ADA_USD": None, "DOT_USD": None, "NONE_USD": None}
    events = played(source, **names, BTC_USD=None)
    troubles = {event.symbol: event.sentence for event in events if isinstance(event, Trouble)}
    assert set(troubles) == {name.replace("_", "-") for name in names}
    assert "timestamps must be int64 [N]" in troubles["XRP-USD"]
    assert "neither NONE-USD.parquet nor NONE-USD.safetensors" in troubles["NONE-USD"]
    assert sum(isinstance(event, Given) and not event.past for event in events) == 3


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        FolderSource(tmp_path / "none")


def test_stop_ends_a_paced_replay_at_once(folder: Path) -> None:
    stop = Event()
    seen = []
    for event in FolderSource(folder, newest_minutes=10, pace_seconds=3_600.0).bars({"BTC-USD": Before(None)}, stop):
        seen.append(event)
        if event is None:
            stop.set()
    assert sum(event is not None and not event.past for event in seen) == 1


def test_newest_candles_are_a_frame_with_the_bars_that_their_features_need(folder: Path) -> None:
    frame = newest_candles(FolderSource(folder), "BTC-USD", 100, fill_no_trade_minutes_up_to=5)
    pd.testing.assert_frame_equal(frame, CANDLES.iloc[-(SERVING_BARS + 100) :].reset_index(drop=True))
    with pytest.raises((DataError, TransientError), match="neither"):
        newest_candles(FolderSource(folder), "ETH-USD", 100, fill_no_trade_minutes_up_to=5)
