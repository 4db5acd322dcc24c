"""Bringing archives up to date, against an exchange in memory and a real archive."""

import contextvars
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_lib.candles.archive.archive import CandleArchive
from models_lib.candles.archive.manifest import NEWEST_KEPT
from models_lib.candles.archive.places import LocalPlace
from models_lib.candles.bars import Bars, Span
from models_lib.candles.exchange import Answer
from models_lib.candles.fetching import Progress, Told, bring_up_to_date
from models_lib.candles.schema import BAR_MS, DAY_MS
from models_lib.candles.symbol_fetch import MOST_BAD_ANSWERS, Fetched
from models_lib.config import ExchangeSection
from models_lib.errors import (
    BusyError,
    ConfigError,
    CrpbotError,
    DataError,
    OutOfPatienceError,
    StoppedError,
    TransientError,
)
from models_lib.interruption import allow_work, request_stop
from tests.exchange.fake_exchange import FakeExchange
from tests.exchange.sample_bars import FIRST_MS, made_up_bars

BTC, ETH = "BTC-USD", "ETH-USD"
BARS = made_up_bars(1_000)
# Half a minute after the newest bar has closed: the next one is unfinished, and not there.
NOW_MS = FIRST_MS + 1_000 * BAR_MS + BAR_MS // 2
WHOLE = Span(FIRST_MS, FIRST_MS + 1_000 * BAR_MS)
SECTION = ExchangeSection()


@pytest.fixture
def archive(tmp_path: Path) -> CandleArchive:
    return CandleArchive(LocalPlace(tmp_path / "candles"), tmp_path / "staging")


def fake(page_bars: int = 100) -> FakeExchange:
    return FakeExchange(
        {BTC: BARS, ETH: made_up_bars(1_000, seed=2)}, name="coinbase", page_bars=page_bars, now_ms=NOW_MS
    )


def fetch(
    exchange: FakeExchange,
    archive: CandleArchive,
    *symbols: str,
    section: ExchangeSection = SECTION,
    span: Span = WHOLE,
) -> dict[str, Told]:
    return bring_up_to_date(exchange, archive, dict.fromkeys(symbols, span), section)


def fetched(told: Told) -> Fetched:
    assert isinstance(told, Fetched), told
    return told


def error_of(told: Told) -> CrpbotError:
    assert isinstance(told, CrpbotError), told
    return told


def test_every_minute_is_asked_for_once_and_kept_to_the_bit(archive: CandleArchive) -> None:
    exchange = fake()
    told = fetched(fetch(exchange, archive, BTC)[BTC])
    assert (told.rows, told.new_rows, told.requests, told.hole_minutes, told.changed) == (1_000, 1_000, 10, {}, None)
    asked = sorted(span for _, span in exchange.asked)
    assert asked == [Span(at, at + 100 * BAR_MS) for at in range(WHOLE.start_ms, WHOLE.end_ms, 100 * BAR_MS)]
    assert archive.bars(BTC, WHOLE).same_as(Bars(*BARS))


def test_symbols_take_turns(archive: CandleArchive) -> None:
    exchange = fake()
    fetch(exchange, archive, BTC, ETH, section=ExchangeSection(connections=1))
    assert [symbol for symbol, _ in exchange.asked] == [BTC, ETH] * 10


@settings(max_examples=15, deadline=None)
@given(
    fates=st.lists(st.booleans(), max_size=12),
    connections=st.integers(min_value=1, max_value=4),
    page_bars=st.integers(min_value=100, max_value=400),
)
def test_what_failed_is_asked_for_again_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, fates: list[bool], connections: int, page_bars: int
) -> None:
    folder = tmp_path_factory.mktemp("law")
    archive, exchange = CandleArchive(LocalPlace(folder / "candles"), folder / "staging"), fake(page_bars)
    # A wish to be left alone for a moment: without one the pause is drawn from half a second and more.
    exchange.befall(*(TransientError("busy", retry_after_seconds=0.001) if fails else None for fails in fates))
    told = fetched(fetch(exchange, archive, BTC, section=ExchangeSection(connections=connections))[BTC])
    least = -(-1_000 // page_bars)
    asked = Counter(span for _, span in exchange.asked)
    assert len(asked) == least
    assert told.requests == sum(asked.values())
    assert told.requests - least <= sum(fates)
    assert archive.bars(BTC, WHOLE).same_as(Bars(*BARS))


def test_failure_of_one_symbol_stops_no_other(archive: CandleArchive) -> None:
    told = fetch(fake(), archive, "DOGE-USD", BTC)
    assert list(told) == ["DOGE-USD", BTC]
    assert isinstance(error_of(told["DOGE-USD"]), DataError)
    assert fetched(told[BTC]).rows == 1_000


def test_symbol_is_given_up_when_patience_ends_and_the_next_fetch_goes_on(archive: CandleArchive) -> None:
    exchange = fake()
    exchange.befall(None, None, *[TransientError("away")] * 1_000)
    began = time.monotonic()
    told = fetch(exchange, archive, BTC, section=ExchangeSection(connections=1, patience_minutes=0.01))
    assert time.monotonic() - began < 5.0
    assert isinstance(error_of(told[BTC]), TransientError)
    assert "gave no usable answer within 0.01 minutes (exchange.patience_minutes); the last: away" in str(told[BTC])
    assert isinstance(told[BTC], OutOfPatienceError), "a step that fetches does not begin anew"
    again = fake()
    assert fetched(fetch(again, archive, BTC)[BTC]).requests == 8, "two of ten pages were kept"


def test_symbol_that_somebody_else_writes_to_is_left_to_them_at_once(
    archive: CandleArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two homes at one bucket: their manifest is newer than the one this fetch began with, and it stays so."""
    monkeypatch.setattr("models_lib.candles.archive.writer.SETTLE_BARS", 300)
    theirs = CandleArchive(LocalPlace(tmp_path / "theirs"), tmp_path / "their-staging")
    fetch(fake(), theirs, BTC, span=Span(FIRST_MS, FIRST_MS + 10 * BAR_MS))
    begun = fake()

    class Meanwhile(FakeExchange):
        def page(self, symbol: str, span: Span) -> Answer:
            manifest = (tmp_path / "theirs" / BTC / "manifest.json").read_bytes()
            (tmp_path / "candles" / BTC / "manifest.json").write_bytes(manifest)
            return begun.page(symbol, span)

    exchange = Meanwhile({BTC: BARS}, name="coinbase", page_bars=100, now_ms=NOW_MS)
    error = error_of(fetch(exchange, archive, BTC, section=ExchangeSection(connections=1, patience_minutes=0.02))[BTC])
    assert isinstance(error, BusyError)
    assert "somebody else wrote to the archive" in str(error)
    assert len(begun.asked) == 3, "the third page was to be settled"


def test_wait_beyond_patience_is_not_waited_for(archive: CandleArchive) -> None:
    exchange = fake()
    exchange.befall(*[TransientError("busy", retry_after_seconds=3_600.0)] * 4)
    began = time.monotonic()
    error = error_of(fetch(exchange, archive, BTC)[BTC])
    assert time.monotonic() - began < 30.0
    assert isinstance(error, TransientError)
    assert error.retry_after_seconds == 3_600.0


def test_refusal_is_not_asked_again(archive: CandleArchive) -> None:
    exchange = fake()
    exchange.befall(ConfigError("not from here"))
    told = fetch(exchange, archive, BTC, section=ExchangeSection(connections=1))
    assert str(error_of(told[BTC])) == "not from here"
    assert len(exchange.asked) == 1


def test_answer_that_stays_no_answer_refuses_the_symbol_after_some_tries(archive: CandleArchive) -> None:
    stamps, values = BARS[0], BARS[1].copy()
    values[500, 1] = values[500, 2] / 2  # a high below its low
    exchange = FakeExchange({BTC: (stamps, values)}, name="coinbase", page_bars=1_000, now_ms=NOW_MS)
    error = error_of(fetch(exchange, archive, BTC)[BTC])
    assert isinstance(error, DataError)
    assert "high and low must enclose open and close" in str(error)
    assert len(exchange.asked) == MOST_BAD_ANSWERS


def test_exchange_with_a_short_memory_is_asked_for_what_it_has(archive: CandleArchive) -> None:
    exchange = FakeExchange({BTC: BARS}, name="coinbase", newest_bars=721, page_bars=300, now_ms=NOW_MS)
    told = fetched(fetch(exchange, archive, BTC)[BTC])
    assert told.span == Span(WHOLE.end_ms - 720 * BAR_MS, WHOLE.end_ms)
    assert (told.rows, told.requests) == (720, 3)


def test_exchange_that_had_nothing_of_anything_is_asked_for_all_of_it_again(archive: CandleArchive) -> None:
    """Nothing before the first bar is a hole, so nothing else would ever ask for it."""
    exchange = fake()
    exchange.market_of(BTC).hide(*WHOLE)
    assert fetched(fetch(exchange, archive, BTC)[BTC]).requests == 10
    exchange.market_of(BTC).show(*WHOLE)
    told = fetched(fetch(exchange, archive, BTC)[BTC])
    assert (told.rows, told.requests) == (1_000, 10)
    assert archive.bars(BTC, WHOLE).same_as(Bars(*BARS))


def test_symbol_listed_late_is_asked_for_one_page_of_what_was_before(archive: CandleArchive) -> None:
    exchange = fake()
    exchange.market_of(BTC).hide(WHOLE.start_ms, WHOLE.start_ms + 500 * BAR_MS)
    assert fetched(fetch(exchange, archive, BTC)[BTC]).rows == 500
    exchange.advance(minutes=1_440)
    told = fetched(fetch(exchange, archive, BTC)[BTC])
    assert (told.rows, told.requests, told.hole_minutes) == (500, 2, {}), "that one, and the newest minutes once more"


def test_exchange_that_for_once_had_nothing_of_what_is_old_is_found_out_and_asked_again(archive: CandleArchive) -> None:
    """Else the symbol would be taken for one that was listed later, for ever."""
    exchange = fake()
    exchange.market_of(BTC).hide(WHOLE.start_ms, WHOLE.start_ms + 500 * BAR_MS)
    assert fetched(fetch(exchange, archive, BTC)[BTC]).rows == 500
    exchange.market_of(BTC).show(WHOLE.start_ms, WHOLE.start_ms + 500 * BAR_MS)
    exchange.advance(minutes=1_440)
    assert fetched(fetch(exchange, archive, BTC)[BTC]).rows == 600, "the page before the first bar"
    told = fetched(fetch(exchange, archive, BTC)[BTC])
    assert (told.rows, told.requests) == (1_000, 4), "and now that it was wrong, the 400 minutes before"
    assert archive.bars(BTC, WHOLE).same_as(Bars(*BARS))
    assert fetched(fetch(exchange, archive, BTC)[BTC]).requests == 0


def test_every_bar_that_is_told_differently_is_counted(archive: CandleArchive) -> None:
    """More of them than the manifest keeps: a fetch says how many there are, and not how many are remembered."""
    now_ms, told = NOW_MS, []
    for values in (BARS[1], BARS[1] * 1.01, BARS[1] * 1.01):
        exchange = FakeExchange({BTC: (BARS[0], values)}, name="coinbase", page_bars=400, now_ms=now_ms)
        for minute in (300, 698):  # asked for again by one page, which has the 397 bars between them, too
            exchange.market_of(BTC).hide(FIRST_MS + minute * BAR_MS, FIRST_MS + (minute + 1) * BAR_MS)
        told.append(fetched(fetch(exchange, archive, BTC)[BTC]).changed)
        now_ms += DAY_MS
    assert told[0] is None
    assert told[1] == tuple(FIRST_MS + minute * BAR_MS for minute in range(301, 698))
    assert told[2] == told[1][:-NEWEST_KEPT], "the same again is no news, as far as it is remembered"
    kept = archive.bars(BTC, Span(FIRST_MS, FIRST_MS + 900 * BAR_MS))
    np.testing.assert_array_equal(kept.values, np.delete(BARS[1][:900], [300, 698], axis=0))


def test_progress_ends_with_everything_done(archive: CandleArchive) -> None:
    seen: list[Progress] = []
    bring_up_to_date(fake(), archive, {BTC: WHOLE}, SECTION, on_progress=seen.append)
    assert [one.done for one in seen] == list(range(0, 1_001, 100))
    assert {one.total for one in seen} == {1_000}
    assert seen[-1].seconds_left == 0.0
    at = Progress(symbol=BTC, done=250, total=1_000, requests=3, minutes_a_second=1_234.5, seconds_left=725.0)
    assert at.words() == "250 of 1,000 minutes (25%), 1,234 a second, 12:05 left"


class Held(FakeExchange):
    """Answers no page until it is let go, and counts how many are under way at once."""

    def __init__(self) -> None:
        super().__init__({BTC: BARS}, name="coinbase", page_bars=100, now_ms=NOW_MS)
        self.full, self.go = threading.Semaphore(0), threading.Event()
        self.under_way = self.most = 0
        self._counting = threading.Lock()

    def page(self, symbol: str, span: Span) -> Answer:
        with self._counting:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        self.full.release()
        assert self.go.wait(30.0)
        answer = super().page(symbol, span)
        with self._counting:
            self.under_way -= 1
        return answer


def test_as_many_pages_are_under_way_as_configured(archive: CandleArchive) -> None:
    exchange = Held()
    section = ExchangeSection(connections=3)
    thread = threading.Thread(target=fetch, args=(exchange, archive, BTC), kwargs={"section": section})
    thread.start()
    for _ in range(3):
        assert exchange.full.acquire(timeout=30.0)
    exchange.go.set()
    thread.join(30.0)
    assert exchange.most == 3
    assert archive.bars(BTC, WHOLE).same_as(Bars(*BARS))


@pytest.fixture
def stoppable() -> Iterator[None]:
    yield
    allow_work()


@pytest.mark.usefixtures("stoppable")
def test_stop_ends_a_pause_at_once_and_keeps_what_came(archive: CandleArchive) -> None:
    exchange = fake()
    exchange.befall(None, None, TransientError("busy", retry_after_seconds=500.0))
    paused = threading.Event()

    def on_progress(progress: Progress) -> None:
        if progress.requests == 3:
            paused.set()

    stopper = threading.Thread(target=lambda: (paused.wait(30.0), request_stop()))
    stopper.start()
    began = time.monotonic()
    section = ExchangeSection(connections=1)
    with pytest.raises(StoppedError):
        bring_up_to_date(exchange, archive, {BTC: WHOLE}, section, on_progress=on_progress)
    assert time.monotonic() - began < 30.0
    stopper.join()
    allow_work()
    assert fetched(fetch(fake(), archive, BTC)[BTC]).requests == 8


def test_fault_of_ours_comes_out(archive: CandleArchive) -> None:
    def broken(_: Progress) -> None:
        raise ZeroDivisionError("a fault of ours")

    with pytest.raises(ZeroDivisionError, match="a fault of ours"):
        bring_up_to_date(fake(), archive, {BTC: WHOLE}, SECTION, on_progress=broken)


def test_threads_of_a_fetch_work_in_the_context_of_whoever_asked(archive: CandleArchive) -> None:
    """Otherwise Prefect does not know whose log lines they are, and warns on stderr instead of showing them."""
    run = contextvars.ContextVar("run", default="nobody's")
    run.set("this one's")
    seen = set()
    bring_up_to_date(fake(), archive, {BTC: WHOLE}, SECTION, on_progress=lambda _: seen.add(run.get()))
    assert seen == {"this one's"}


def test_progress_says_why_nothing_comes(archive: CandleArchive) -> None:
    exchange = fake()
    exchange.befall(None, TransientError("coinbase answers with status 503"))
    said: list[str] = []
    section = ExchangeSection(connections=1)
    bring_up_to_date(exchange, archive, {BTC: WHOLE}, section, on_progress=lambda at: said.append(at.words()))
    told = [words.endswith("left; tries again: coinbase answers with status 503") for words in said]
    assert told == [False, False, True, *[False] * 9], said
