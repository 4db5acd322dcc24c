"""The file of a month, and the manifest that names it."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from models_lib.candles.archive.manifest import Correction, Flag, Hole, Manifest, Month, newest, newest_flags
from models_lib.candles.archive.months import decoded, encoded, month_of, month_span, months_in
from models_lib.candles.bars import Span, Spans
from models_lib.candles.schema import CANDLE_COLUMNS, TIMESTAMP_DTYPE, VALUE_COLUMNS
from models_lib.candles.sources import read_parquet
from models_lib.errors import DataError
from tests.archived import NEW_YEAR_MS, NIGHT_MS, at, bars, span


def test_a_month_comes_back_to_the_bit() -> None:
    held = bars([*range(40), 60, 61])
    held.values[0] = np.nextafter(held.values[0], 0.0)
    assert decoded(encoded(held), 42, where="here").same_as(held)


def test_the_same_bars_are_the_same_bytes() -> None:
    assert encoded(bars(range(100))) == encoded(bars(range(100)))
    assert encoded(bars(range(100))) != encoded(bars(range(99)))


def test_a_month_is_plain_parquet_in_the_encoding_for_prices(tmp_path: Path) -> None:
    path = tmp_path / "month.parquet"
    path.write_bytes(encoded(bars(range(500))))
    frame = read_parquet(path, symbol="BTC-USD")
    assert tuple(frame.columns) == CANDLE_COLUMNS
    assert frame["timestamp"].dtype == TIMESTAMP_DTYPE
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(number) for number in range(6)]
    assert [column.compression for column in columns] == ["ZSTD"] * 6
    assert "DELTA_BINARY_PACKED" in columns[0].encodings
    assert all(
        column.encodings == ("BYTE_STREAM_SPLIT",) or "BYTE_STREAM_SPLIT" in column.encodings for column in columns[1:]
    )
    assert not any("DICTIONARY" in encoding for column in columns for encoding in column.encodings)


@pytest.mark.parametrize("content", [b"", b"PAR1", encoded(bars(range(10)))[:-20], encoded(bars(range(11)))])
def test_a_file_that_is_no_month_of_so_many_bars_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="here: cannot be read as the bars of a month"):
        decoded(content, 10, where="here")


def test_months_are_those_of_the_calendar_in_utc() -> None:
    assert (month_of(NEW_YEAR_MS - 1), month_of(NEW_YEAR_MS)) == ("2025-12", "2026-01")
    assert month_span("2025-12") == Span(NEW_YEAR_MS - 31 * NIGHT_MS, NEW_YEAR_MS)
    assert month_span("2024-02").minutes == 29 * 1_440
    over_years = Spans(
        (Span(NEW_YEAR_MS - 32 * NIGHT_MS, NEW_YEAR_MS + 1), Span(NEW_YEAR_MS + 60_000, NEW_YEAR_MS + 120_000))
    )
    assert months_in(over_years) == ["2025-11", "2025-12", "2026-01"]
    assert months_in(Spans((Span(month_span("2025-12").start_ms, NEW_YEAR_MS),))) == ["2025-12"]


def manifest() -> Manifest:
    month = Month(
        file=f"2025-12.{'a' * 16}.parquet", sha256="a" * 64, rows=15, present=((at(0), at(10)), (at(15), at(20)))
    )
    return Manifest(
        symbol="BTC-USD",
        exchange="coinbase",
        market="BTC/USD",
        volume_unit="BTC",
        months={"2025-12": month},
        asked=((at(-50), at(12)), (at(14), at(30))),
        young=((at(25), at(30)),),
        holes=(
            Hole(start_ms=at(10), minutes=2, cause="no trades", times_asked=1, last_asked_ms=at(40)),
            Hole(start_ms=at(14), minutes=1, cause="outage", times_asked=2, last_asked_ms=at(40)),
        ),
        updated_ms=at(40),
    )


def test_a_manifest_comes_back_equal() -> None:
    assert Manifest.parse(manifest().to_bytes(), where="here") == manifest()


def test_any_change_to_a_manifest_is_seen() -> None:
    content = manifest().to_bytes()
    plain = json.loads(content)
    plain["asked"][0][0] -= 60_000
    for damaged in (json.dumps(plain).encode(), content[:-30], b"", b"[]", b"{}", b"\xff"):
        with pytest.raises(DataError, match="here: the record of an archive of candles is damaged"):
            Manifest.parse(damaged, where="here")


def test_what_is_missing_has_its_cause_within_the_span_alone() -> None:
    found = [(hole.span, hole.cause) for hole in manifest().missing(span(-100, 100))]
    assert found == [(span(10, 12), "no trades"), (span(12, 14), "not fetched"), (span(14, 15), "outage")]
    cut = [(hole.span, hole.cause) for hole in manifest().missing(span(11, 13))]
    assert cut == [(span(11, 12), "no trades"), (span(12, 13), "not fetched")]
    assert manifest().extent == span(0, 20)


def test_only_the_newest_corrections_and_flags_are_kept_and_each_once() -> None:
    values = (1.0, 1.0, 1.0, 1.0, 1.0)
    told = [Correction(stamp_ms=at(n), before=values, after=(2.0, *values[1:]), seen_ms=at(n + 1)) for n in range(250)]
    assert newest(told[:150], told) == tuple(told[50:])
    assert newest(told[:2], [told[1].model_copy(update={"seen_ms": at(999)})]) == tuple(told[:2])
    flags = [Flag(kind="changed", stamp_ms=at(n), words="") for n in range(250)]
    assert newest_flags(flags[:150], flags) == tuple(flags[50:])


def test_the_five_columns_have_the_order_of_candles() -> None:
    assert VALUE_COLUMNS == ("open", "high", "low", "close", "volume")
    assert decoded(encoded(bars([3])), 1, where="here").values.tolist() == bars([3]).values.tolist()
