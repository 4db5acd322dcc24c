"""What an archive of candles must do wherever it lies: in a folder, or in a bucket of a real S3 server."""

import json
import multiprocessing
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from models_lib.candles.archive import places
from models_lib.candles.archive.archive import CandleArchive
from models_lib.candles.archive.manifest import Manifest
from models_lib.candles.archive.places import LocalPlace
from models_lib.candles.bars import Spans
from models_lib.candles.exchange import Market
from models_lib.candles.schema import CANDLE_COLUMNS, TIMESTAMP_DTYPE
from models_lib.config import ExchangeSection
from models_lib.errors import BusyError, ConfigError, DataError
from tasks.adapters.aws.clients import Aws
from tasks.adapters.s3.archive import S3Place
from tasks.adapters.s3.objects import S3Folder
from tests.archived import EXCHANGE, MARKET, SYMBOL, at, bars, everything, filled, page, span
from tests.aws.killed_requests import kills_told_by
from tests.aws.weed import REGION, Weed
from tests.killed import killed_at_each

Open = Callable[[str], CandleArchive]
"""Opens the archive from a home of that name; a home is a machine."""
Damage = Callable[[str, bytes | None], None]
"""Writes other content over a file of the symbol, or removes it."""
PREFIX = "market/candles"


@pytest.fixture(params=["local", "s3"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if kind == "local":
        return lambda home: CandleArchive(LocalPlace(tmp_path / "shared"), tmp_path / home / "staging")
    uri = f"s3://{request.getfixturevalue('bucket')}/{PREFIX}"

    def in_bucket(home: str) -> CandleArchive:
        place = S3Place(S3Folder(Aws(REGION), uri), tmp_path / home / "copies", strays_after=timedelta(0))
        return CandleArchive(place, tmp_path / home / "staging")

    return in_bucket


@pytest.fixture
def archive(opened: Open) -> CandleArchive:
    return opened("home")


@pytest.fixture
def damage(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Damage:
    def in_folder(file: str, content: bytes | None) -> None:
        path = tmp_path / "shared" / SYMBOL / file
        path.unlink() if content is None else path.write_bytes(content)

    if kind == "local":
        return in_folder
    client, bucket = request.getfixturevalue("weed").client(), request.getfixturevalue("bucket")

    def in_bucket(file: str, content: bytes | None) -> None:
        place = {"Bucket": bucket, "Key": f"{PREFIX}/{SYMBOL}/{file}"}
        client.delete_object(**place) if content is None else client.put_object(**place, Body=content)

    return in_bucket


@pytest.fixture
def files(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], set[str]]:
    """The names of the symbol's month files that lie there."""
    if kind == "local":
        return lambda: {path.name for path in (tmp_path / "shared" / SYMBOL).glob("*.parquet")}
    client, bucket = request.getfixturevalue("weed").client(), request.getfixturevalue("bucket")

    def in_bucket() -> set[str]:
        found = client.list_objects_v2(Bucket=bucket, Prefix=f"{PREFIX}/{SYMBOL}/")["Contents"]
        return {name for name in (entry["Key"].rpartition("/")[2] for entry in found) if name.endswith(".parquet")}

    return in_bucket


def known(archive: CandleArchive) -> Manifest:
    found = archive.record(SYMBOL)
    assert found is not None
    return found


def test_of_a_symbol_that_nobody_fetched_nothing_is_known(archive: CandleArchive) -> None:
    assert archive.record(SYMBOL) is None
    assert archive.content(SYMBOL, span(0, 10)) is None
    assert len(everything(archive)) == 0
    frame = archive.frame(SYMBOL, span(0, 10))
    assert tuple(frame.columns) == CANDLE_COLUMNS
    assert frame["timestamp"].dtype == TIMESTAMP_DTYPE


def test_what_was_added_is_read_back_to_the_bit_by_another_home(opened: Open) -> None:
    """Over the turn of a month, with minutes missing; in spans of any kind."""
    minutes = [*range(150), *range(160, 300)]
    filled(opened("writer"), page(0, 200, [m for m in minutes if m < 200]), page(200, 300))
    reader = opened("reader")
    assert everything(reader).same_as(bars(minutes))
    for first, end in [(0, 300), (10, 90), (99, 101), (140, 170), (152, 158), (250, 900), (-50, 0)]:
        inside = bars([minute for minute in minutes if first <= minute < end])
        assert reader.bars(SYMBOL, span(first, end)).same_as(inside), (first, end)
        frame = reader.frame(SYMBOL, span(first, end))
        assert frame["timestamp"].astype("int64").to_list() == inside.stamps.tolist()
        assert frame.iloc[:, 1:].to_numpy().tolist() == inside.values.tolist()
    assert known(reader).volume_unit == "BTC"


def test_a_frame_is_the_same_as_one_from_a_file_of_parquet(archive: CandleArchive, tmp_path: Path) -> None:
    filled(archive, page(0, 300))
    frame = archive.frame(SYMBOL, span(0, 300))
    frame.to_parquet(tmp_path / "plain.parquet")
    pd.testing.assert_frame_equal(frame, pd.read_parquet(tmp_path / "plain.parquet"))


def test_a_page_is_wanted_until_it_came_and_never_again(archive: CandleArchive) -> None:
    with archive.writer(SYMBOL, market=MARKET, exchange=EXCHANGE) as writer:
        everything_wanted = writer.wanted(span(0, 100), now_ms=at(500), page_minutes=300)
        assert everything_wanted == Spans((span(0, 100),))
        writer.add(page(20, 40))
        assert writer.wanted(span(0, 100), now_ms=at(500), page_minutes=300) == Spans((span(0, 20), span(40, 100)))
        writer.add(page(0, 100))
    with archive.writer(SYMBOL, market=MARKET, exchange=EXCHANGE) as writer:
        assert not writer.wanted(span(0, 100), now_ms=at(500), page_minutes=300)
        assert not writer.wanted(span(0, 101), now_ms=at(101) - 1, page_minutes=300)
        assert writer.wanted(span(0, 900), now_ms=at(101), page_minutes=300) == Spans((span(100, 101),))


def test_the_newest_minutes_are_wanted_once_more_and_then_are_final(archive: CandleArchive) -> None:
    """Minute 99 was not in the answer yet although it was closed: that is no hole, it is asked for again."""
    filled(archive, page(0, 100, range(99), closed=100.02))
    with archive.writer(SYMBOL, market=MARKET, exchange=EXCHANGE) as writer:
        assert writer.wanted(span(0, 100), now_ms=at(200), page_minutes=300) == Spans((span(90, 100),))
        writer.add(page(90, 100, change=0.5, closed=200))
    assert known(archive).young == ()
    assert known(archive).holes == ()
    assert [one.stamp_ms for one in known(archive).corrections] == [at(minute) for minute in range(90, 99)]
    assert everything(archive).values[95].tolist() == bars([95], 0.5).values[0].tolist()


def test_a_hole_is_wanted_on_the_next_day_and_gone_when_it_was_filled(archive: CandleArchive) -> None:
    filled(archive, page(0, 100, [*range(40), *range(43, 100)], closed=10_000))
    next_day = 10_000 + 1_440
    with archive.writer(SYMBOL, market=MARKET, exchange=EXCHANGE) as writer:
        assert not writer.wanted(span(0, 100), now_ms=at(10_001), page_minutes=300)
        assert writer.wanted(span(0, 100), now_ms=at(next_day), page_minutes=300) == Spans((span(40, 43),))
        writer.add(page(40, 43, [41], closed=next_day))
    holes = [(hole.span, hole.cause, hole.times_asked) for hole in known(archive).holes]
    assert holes == [(span(40, 41), "no trades", 2), (span(42, 43), "no trades", 2)]
    filled(archive, page(40, 43))
    assert known(archive).holes == ()
    assert everything(archive).same_as(bars(range(100)))


def test_the_content_changes_with_what_a_read_would_give_and_not_otherwise(archive: CandleArchive) -> None:
    filled(archive, page(0, 50))
    before = archive.content(SYMBOL, span(0, 60))
    assert before == archive.content(SYMBOL, span(-500, 50))
    assert before != archive.content(SYMBOL, span(0, 49))
    filled(archive, page(0, 60, range(50)))
    assert archive.content(SYMBOL, span(0, 60)) == before
    filled(archive, page(50, 60))
    assert archive.content(SYMBOL, span(0, 60)) != before
    assert archive.content(SYMBOL, span(100, 200)) is None
    begun = archive.content(SYMBOL, span(0, 60))
    filled(archive, page(60, 80))
    assert archive.content(SYMBOL, span(0, 60)) == begun, "bars after the span are no part of it"


def test_another_exchange_or_market_is_refused_by_name(archive: CandleArchive) -> None:
    filled(archive, page(0, 10))
    other = Market(SYMBOL, "BTC/USDT", "BTC")
    for market, exchange, words in [
        (
            MARKET,
            ExchangeSection(name="binance"),
            "holds BTC/USD of coinbase, the configuration asks for BTC/USD of binance",
        ),
        (other, EXCHANGE, "holds BTC/USD of coinbase, the configuration asks for BTC/USDT of coinbase"),
    ]:
        with pytest.raises(ConfigError, match=words), archive.writer(SYMBOL, market=market, exchange=exchange):
            pass
    assert everything(archive).same_as(bars(range(10)))


@pytest.mark.parametrize("content", [None, b"", b"PAR1 this is no longer what was written"])
def test_a_damaged_month_is_refused_by_readers_and_asked_for_again(
    opened: Open, damage: Damage, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    filled(opened("first"), page(0, 300))
    damage(known(opened("first")).months["2025-12"].file, content)
    archive = opened("second")
    with pytest.raises(DataError, match=r"2025-12\.[0-9a-f]{16}\.parquet: the file is missing or damaged"):
        everything(archive)
    assert archive.bars(SYMBOL, span(100, 300)).same_as(bars(range(100, 300)))  # the other month
    with archive.writer(SYMBOL, market=MARKET, exchange=EXCHANGE) as writer:
        assert "is missing or damaged; its 100 bars are asked for again" in caplog.text
        assert writer.wanted(span(0, 300), now_ms=at(900), page_minutes=300) == Spans((span(0, 100),))
        writer.add(page(0, 100))
    assert everything(archive).same_as(bars(range(300)))
    assert everything(opened("third")).same_as(bars(range(300)))


def test_a_damaged_manifest_is_refused_with_the_remedy(archive: CandleArchive, damage: Damage) -> None:
    filled(archive, page(0, 10))
    changed = json.loads(known(archive).to_bytes())
    changed["asked"][0][1] += 60_000
    damage("manifest.json", json.dumps(changed).encode())
    with pytest.raises(DataError, match=r"the record of an archive of candles is damaged .* fetches the symbol anew"):
        everything(archive)


def test_files_of_the_manifest_before_stay_for_its_readers_and_go_with_the_next_one(
    archive: CandleArchive, files: Callable[[], set[str]]
) -> None:
    names: list[set[str]] = []
    for settlement in range(4):
        filled(archive, page(settlement * 10, settlement * 10 + 10))
        names.append(known(archive).files())
        assert files() == set().union(*names[-2:])
    filled(archive, page(0, 10))
    assert files() == names[-2] | names[-1]  # nothing new was written, and nothing went


def test_what_a_killed_writer_left_unnamed_goes_with_the_next_one(
    archive: CandleArchive, files: Callable[[], set[str]]
) -> None:
    filled(archive, page(0, 10))
    archive.place.keep_month(SYMBOL, f"2025-12.{'0' * 16}.parquet", b"left behind")
    assert len(files()) == 2
    filled(archive, page(10, 20))
    assert f"2025-12.{'0' * 16}.parquet" not in files()


def test_what_a_killed_writer_left_half_written_goes_with_the_next_one(tmp_path: Path) -> None:
    """Also outside of the home, where `crpbot clean` never comes."""
    half = tmp_path / "shared" / SYMBOL / f".2025-12.{'0' * 16}.parquet.4711-0123abcd.partial"
    archive = CandleArchive(LocalPlace(tmp_path / "shared"), tmp_path / "staging")
    filled(archive, page(0, 10))
    half.write_bytes(b"half")
    filled(archive, page(10, 20))
    assert not half.exists()
    assert everything(archive).same_as(bars(range(20)))


def test_a_reader_at_work_while_others_write_sees_one_state_or_the_next(opened: Open) -> None:
    writer, reader = opened("writer"), opened("reader")
    filled(writer, page(0, 100))
    ends = [100 + 20 * step for step in range(1, 16)]
    states = [bars(range(end)) for end in (100, *ends)]
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            found = everything(reader)
            assert found.same_as(bars(range(len(found))))
            assert len(found) in {len(state) for state in states}
            seen.append(len(found))

    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            read()
        except BaseException as error:  # noqa: BLE001 - shown by the thread that waits
            failed.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    for end in ends:
        filled(writer, page(end - 20, end))
    done.set()
    thread.join()
    assert failed == []
    assert seen == sorted(seen)
    assert everything(reader).same_as(states[-1])


def test_what_the_body_added_before_it_failed_is_kept(archive: CandleArchive) -> None:
    def stopped() -> None:
        with archive.writer(SYMBOL, market=MARKET, exchange=EXCHANGE) as writer:
            writer.add(page(0, 10))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert everything(archive).same_as(bars(range(10)))


def test_skew_is_kept_with_the_bars(archive: CandleArchive) -> None:
    with archive.writer(SYMBOL, market=MARKET, exchange=EXCHANGE) as writer:
        writer.add(page(0, 10))
        writer.note_skew(-12.5)
    filled(archive, page(10, 20))
    assert known(archive).skew_ms == -12.5


def test_a_second_writer_of_the_same_home_is_told_to_wait(
    archive: CandleArchive, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_lib.candles.archive.archive.LOCK_SECONDS", 0.05)
    with archive.writer(SYMBOL, market=MARKET, exchange=EXCHANGE) as writer:
        writer.add(page(0, 10))
        second = opened("home").writer(SYMBOL, market=MARKET, exchange=EXCHANGE)
        with pytest.raises(BusyError, match="another process fetches its candles"), second:
            pass
        other = Market("ETH-USD", "ETH/USD", "ETH")
        with opened("home").writer("ETH-USD", market=other, exchange=EXCHANGE) as elsewhere:
            elsewhere.add(page(0, 5))
    assert everything(archive).same_as(bars(range(10)))


def test_of_two_homes_at_one_folder_the_second_is_told_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LOCK_SECONDS", 0.05)
    one, other = (CandleArchive(LocalPlace(tmp_path / "shared"), tmp_path / home) for home in ("one", "other"))
    with one.writer(SYMBOL, market=MARKET, exchange=EXCHANGE):
        second = other.writer(SYMBOL, market=MARKET, exchange=EXCHANGE)
        with pytest.raises(BusyError, match="another process fetches its candles"), second:
            pass


@pytest.mark.parametrize("kind", ["s3"], indirect=True)
def test_of_two_homes_at_one_bucket_the_second_loses_nothing(opened: Open) -> None:
    one, other = opened("one"), opened("other")
    filled(one, page(0, 10))

    def write_while_the_first_one_writes() -> None:
        with other.writer(SYMBOL, market=MARKET, exchange=EXCHANGE) as slower:
            slower.add(page(20, 30))
            filled(one, page(10, 20))

    with pytest.raises(BusyError, match="another machine wrote to the archive meanwhile"):
        write_while_the_first_one_writes()
    assert everything(other).same_as(bars(range(20)))
    filled(other)
    assert everything(one).same_as(bars(range(30)))
    assert known(one).asked_spans == Spans((span(0, 30),))


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.long)])
def test_killed_at_any_step_of_a_settlement_the_archive_is_readable_and_nothing_is_lost(
    tmp_path: Path, every: int
) -> None:
    """A fork adds two pages, settles and ends; it dies one step later each time. Then a reader looks, and a writer goes on."""

    def archive(step: int) -> CandleArchive:
        folder = tmp_path / f"step{step}"
        return CandleArchive(LocalPlace(folder / "shared"), folder / "staging")

    def act(step: int) -> None:
        filled(archive(step), page(90, 110), page(110, 130))

    seen = []
    for step, killed in killed_at_each(every, act, before=lambda step: filled(archive(step), page(0, 90))):
        found = everything(archive(step))
        assert len(found) in ({90, 130} if killed else {130}), step
        assert found.same_as(bars(range(len(found)))), step
        filled(archive(step))
        after = everything(archive(step))
        assert after.same_as(bars(range(len(after)))), step
        assert len(after) >= len(found), step
        assert known(archive(step)).asked_spans == Spans((span(0, len(after)),)), step
        seen.append((len(found), len(after)))
    assert seen == sorted(seen), "what was safe once is safe at every later step"
    # before anything was safe, one page, both in the journal alone, and settled
    assert set(seen) == {(90, 90), (90, 110), (90, 130), (130, 130)}


@pytest.mark.long
def test_killed_before_any_request_to_a_bucket_the_archive_is_readable_and_nothing_is_lost(
    weed: Weed, bucket: str, tmp_path: Path
) -> None:
    told = kills_told_by("tests.contracts.archive_kills", weed, bucket, tmp_path)
    assert [kill["killed"] for kill in told] == [True] * (len(told) - 1) + [False]
    states = [(kill["after"], kill["again"]) for kill in told]
    # opening; the page is in the journal; the manifest names it
    assert states == sorted(states)
    assert set(states) == {(90, 90), (90, 130), (130, 130)}


def _hold(root: Path, staging: Path, begun: "multiprocessing.synchronize.Event") -> None:
    with CandleArchive(LocalPlace(root), staging).writer(SYMBOL, market=MARKET, exchange=EXCHANGE) as writer:
        writer.add(page(0, 10))
        begun.set()
        threading.Event().wait()


def test_a_killed_writer_holds_no_lock_and_its_pages_are_settled_by_the_next(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "shared", tmp_path / "staging", begun))
    process.start()
    assert begun.wait(60.0)
    process.kill()
    process.join()
    archive = CandleArchive(LocalPlace(tmp_path / "shared"), tmp_path / "staging")
    assert len(everything(archive)) == 0
    filled(archive)
    assert everything(archive).same_as(bars(range(10)))
