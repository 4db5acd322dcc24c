"""Where candles come from, and the judgement of a folder."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models_lib.candles.folder import check_folder
from models_lib.candles.schema import TIMESTAMP_DTYPE, data_hash, epoch_ms, segment_starts
from models_lib.candles.simulated import simulate_candles
from models_lib.candles.sources import CandleSource, ParquetSource, SimulatedSource, load_candles
from models_lib.config import DataSection, RunConfig
from models_lib.errors import ConfigError, DataError
from tasks.adapters.sources import open_source
from tests.markets import NO_HOME

NOW = datetime(2026, 1, 3, 9, 20, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path, candles: pd.DataFrame) -> Path:
    candles.to_parquet(tmp_path / "BTC-USD.parquet")
    return tmp_path


def parquet(folder: Path, **rules: object) -> DataSection:
    return DataSection.model_validate({"source": "parquet", "path": folder, **rules})


def source_of(data: DataSection) -> CandleSource:
    return open_source(RunConfig(data=data), home=NO_HOME)


def test_a_folder_gives_the_candles_of_its_file(folder: Path, candles: pd.DataFrame) -> None:
    data = parquet(folder)
    frame, report = load_candles(source_of(data), "BTC-USD", data, now=NOW)
    assert frame.equals(candles)
    assert report.warnings == ()


def test_stored_minutes_without_trades_are_filled_and_count_in_the_hash(folder: Path, candles: pd.DataFrame) -> None:
    candles.drop(index=[700, 701]).to_parquet(folder / "BTC-USD.parquet")
    hashes = []
    for longest in (0, 5):
        data = parquet(folder, fill_no_trade_minutes=longest)
        frame, report = load_candles(source_of(data), "BTC-USD", data, now=NOW)
        assert report.filled_minutes == (0 if longest == 0 else 2)
        hashes.append(data_hash(frame))
    assert hashes[0] != hashes[1]


def test_a_stored_index_comes_back_as_the_timestamp_column(folder: Path, candles: pd.DataFrame) -> None:
    candles.set_index("timestamp").to_parquet(folder / "BTC-USD.parquet")
    data = parquet(folder)
    assert load_candles(source_of(data), "BTC-USD", data, now=None)[0].equals(candles)


def test_a_missing_folder_stops_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere does not exist\. Set data\.path"):
        source_of(parquet(tmp_path / "nowhere"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="file is not a folder"):
        source_of(parquet(tmp_path / "file"))


def test_a_missing_file_concerns_its_symbol_only(folder: Path) -> None:
    with pytest.raises(
        DataError, match=r"^ETH-USD: there is no file .*ETH-USD\.parquet\. Put the symbol's candles there"
    ):
        ParquetSource(folder).fetch("ETH-USD")


def test_an_empty_file_is_refused(folder: Path) -> None:
    (folder / "BTC-USD.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"the file is empty \(0 bytes\)"):
        ParquetSource(folder).fetch("BTC-USD")


@pytest.mark.parametrize("damage", ["text", "cut", "zeros inside", "a folder"])
def test_a_damaged_file_is_refused(folder: Path, damage: str) -> None:
    path = folder / "BTC-USD.parquet"
    good = path.read_bytes()
    spoiled = {
        "text": b"timestamp,open,high,low,close,volume\n",
        "cut": good[: len(good) // 2],
        "zeros inside": good[:200] + bytes(len(good) - 400) + good[-200:],
        "a folder": b"",
    }
    path.unlink()
    if damage == "a folder":
        path.mkdir()
        expected = "there is no file"
    else:
        path.write_bytes(spoiled[damage])
        expected = "cannot be read as parquet .* Fetch the file again"
    with pytest.raises(DataError, match=expected) as refusal:
        ParquetSource(folder).fetch("BTC-USD")
    assert "\n" not in str(refusal.value)


def test_age_is_judged_for_files_and_not_for_the_simulated_market(folder: Path) -> None:
    late = datetime(2027, 1, 1, tzinfo=UTC)
    data = parquet(folder)
    assert "is stale" in load_candles(source_of(data), "BTC-USD", data, now=late)[1].warnings[0]
    simulated = DataSection(days=1)
    assert load_candles(source_of(simulated), "BTC-USD", simulated, now=late)[1].warnings == ()


@pytest.mark.parametrize("market", ["default", "null", "iid", "planted"])
@pytest.mark.parametrize("symbol", ["BTC-USD", "DOGE-USD"])
def test_simulated_candles_pass_every_check_without_a_hole(market: str, symbol: str) -> None:
    data = DataSection.model_validate({"market": market, "seed": 3, "days": 2})
    frame, report = load_candles(source_of(data), symbol, data, now=None)
    assert report.rows == 2_880
    assert report.warnings == ()
    assert len(segment_starts(epoch_ms(frame))) == 1


def test_origin_says_where_the_candles_come_from(folder: Path) -> None:
    assert ParquetSource(folder).origin("BTC-USD") == str(folder / "BTC-USD.parquet")
    assert SimulatedSource("null", 4, 9).origin("BTC-USD") == "simulated market null, seed 4, 9 days"


def test_the_simulated_source_is_the_configured_market() -> None:
    source = source_of(DataSection(market="iid", seed=11, days=1))
    assert source.fetch("SOL-USD").equals(simulate_candles("SOL-USD", market="iid", seed=11, days=1))


def test_a_folder_check_reports_every_file_and_one_bad_file_hides_no_other(folder: Path, candles: pd.DataFrame) -> None:
    candles.assign(close=-1.0).to_parquet(folder / "ETH-USD.parquet")
    (folder / "SOL-USD.parquet").write_bytes(b"")
    (folder / "notes.txt").write_text("not candles")
    findings = check_folder(folder, rules=DataSection(), now=NOW)
    assert [(finding.symbol, finding.passed) for finding in findings] == [
        ("BTC-USD", True),
        ("ETH-USD", False),
        ("SOL-USD", False),
    ]
    good, negative, empty = findings
    assert good.report is not None
    assert good.report.rows == 2_000
    assert good.to_json()["report"]["rows"] == 2_000
    assert negative.report is None
    assert "close must be above zero and at most 1e+12, was -1" in str(negative.error)
    assert empty.to_json()["error"].startswith("SOL-USD (")


def test_a_folder_check_needs_a_folder_with_candles(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no \.parquet file"):
        check_folder(tmp_path, rules=DataSection(), now=None)
    with pytest.raises(ConfigError, match="does not exist"):
        check_folder(tmp_path / "nowhere", rules=DataSection(), now=None)


@pytest.mark.candles
def test_real_candles_pass_and_their_holes_are_found(real_candles: Path) -> None:
    findings = {
        finding.symbol: finding for finding in check_folder(real_candles / "spot-2y", rules=DataSection(), now=None)
    }
    assert all(finding.passed for finding in findings.values())
    # rows and holes as the README of these candles states them: four stretches, so three holes
    reports = {symbol: finding.report for symbol, finding in findings.items()}
    assert reports["BTC-USD"] is not None
    assert reports["SOL-USD"] is not None
    assert reports["BTC-USD"].rows == 1_051_200
    assert reports["BTC-USD"].gaps == ()
    assert reports["SOL-USD"].rows == 157_051
    assert [gap.start.date().isoformat() for gap in reports["SOL-USD"].gaps] == [
        "2024-11-04",
        "2025-02-04",
        "2025-04-01",
    ]
    assert reports["SOL-USD"].gaps[2].end.date().isoformat() == "2026-03-23"


def test_parquet_round_trip_keeps_every_bit(folder: Path) -> None:
    frame = simulate_candles("BTC-USD", market="default", seed=1, days=1)
    frame.to_parquet(folder / "BTC-USD.parquet")
    back = ParquetSource(folder).fetch("BTC-USD")
    assert back["timestamp"].dtype == TIMESTAMP_DTYPE
    assert data_hash(back) == data_hash(frame)
    assert np.array_equal(epoch_ms(back), epoch_ms(frame))
