"""What every exchange must do, run against ccxt's four classes at a server with the real wire formats, and the fake."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from models_lib.candles.bars import Span
from models_lib.candles.exchange import Answer, Exchange, Market
from models_lib.config.exchange_section import ExchangeName, ExchangeSection
from models_lib.errors import DataError, TransientError
from tasks.adapters.exchange.catalogue import CATALOGUE
from tasks.adapters.exchange.ccxt_exchange import open_exchange
from tests.exchange.fake_exchange import FakeExchange
from tests.exchange.faults import Fault, outage
from tests.exchange.listed import MINUTE_MS
from tests.exchange.local_exchange import LocalExchange
from tests.exchange.sample_bars import FIRST_MS, Arrays, made_up_bars

NUM_BARS = 2500
MARKETS = {"BTC-USD": made_up_bars(NUM_BARS), "ETH-USD": made_up_bars(NUM_BARS, seed=2, price=3000.0)}
END_MS = FIRST_MS + NUM_BARS * MINUTE_MS
NAMES: tuple[ExchangeName, ...] = ("coinbase", "binance", "kraken", "bybit")


@dataclass(frozen=True)
class Place:
    """An exchange, and what happens there.

    Attributes:
        runs_from: its clock stands at a time in ms and runs from there.
        busy: it wants to be left alone for so many seconds.
        away: it answers nothing but errors, one time.
    """

    exchange: Exchange
    hide: Callable[[int, int], object]
    runs_from: Callable[[int], object]
    busy: Callable[[float], object]
    away: Callable[[], object]


def fake() -> Place:
    exchange = FakeExchange(MARKETS)

    def away() -> None:
        exchange.befall(TransientError("fake is away"))

    def runs_from(now_ms: int) -> None:
        exchange.now_ms = now_ms

    return Place(exchange, exchange.market_of("BTC-USD").hide, runs_from, exchange.busy, away)


def of_ccxt(name: ExchangeName, local: LocalExchange, folder: Path) -> Place:
    section = ExchangeSection(
        name=name, base_url=local.url, requests_per_second=1000.0, request_timeout_seconds=5.0, patience_minutes=0.001
    )
    return Place(
        open_exchange(section, pace_folder=folder),
        local.market("BTC-USD").hide,
        lambda now_ms: local.be_at(now_ms, speed=1.0),
        lambda seconds: local.script(Fault("busy", retry_after=seconds)),
        lambda: local.script(Fault("error")),
    )


@pytest.fixture(params=[*NAMES, "fake"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "fake":
        yield fake()
        return
    with LocalExchange(MARKETS) as local:
        yield of_ccxt(request.param, local, tmp_path)


def newest(minutes: int) -> Span:
    return Span(END_MS - minutes * MINUTE_MS, END_MS)


def closed_within(answer: Answer, span: Span) -> list[list[object]]:
    """What whoever stores it keeps: the bars of the span that are closed, by the answer's own time."""
    inside = [row for row in answer.rows if span.start_ms <= row[0] < span.end_ms]  # type: ignore[operator]
    return sorted(row for row in inside if row[0] + MINUTE_MS <= answer.asked_ms)  # type: ignore[operator]


def source(span: Span, symbol: str = "BTC-USD", bars: Arrays | None = None) -> list[list[object]]:
    stamps, values = MARKETS[symbol] if bars is None else bars
    first, end = np.searchsorted(stamps, span)
    return [[stamp, *row] for stamp, row in zip(stamps[first:end].tolist(), values[first:end].tolist(), strict=True)]


def test_page_is_the_source_to_the_bit(place: Place) -> None:
    for minutes in (1, 2, place.exchange.page_bars - 1):
        span = newest(minutes)
        answer = place.exchange.page("BTC-USD", span)
        assert answer.span == span
        assert closed_within(answer, span) == source(span)


def test_whole_page_has_all_its_minutes(place: Place) -> None:
    minutes = min(place.exchange.page_bars, place.exchange.history_minutes or NUM_BARS)
    span = newest(minutes)
    assert closed_within(place.exchange.page("ETH-USD", span), span) == source(span, "ETH-USD")


def test_page_from_the_middle_of_the_history(place: Place) -> None:
    if place.exchange.history_minutes is not None:
        pytest.skip("serves its newest bars alone")
    span = Span(FIRST_MS + 100 * MINUTE_MS, FIRST_MS + (100 + place.exchange.page_bars) * MINUTE_MS)
    assert closed_within(place.exchange.page("BTC-USD", span), span) == source(span)


def test_missing_minutes_are_missing(place: Place) -> None:
    span = newest(60)
    first, end = END_MS - 40 * MINUTE_MS, END_MS - 20 * MINUTE_MS
    place.hide(first, end)
    got = [row[0] for row in closed_within(place.exchange.page("BTC-USD", span), span)]
    assert got == [row[0] for row in source(span) if not first <= row[0] < end]  # type: ignore[operator]


def test_running_minute_is_never_taken_for_closed(place: Place) -> None:
    now_ms = END_MS - 30 * MINUTE_MS + 20_000
    place.runs_from(now_ms)
    span = Span(now_ms - 20_000 - 10 * MINUTE_MS, now_ms - 20_000 + 5 * MINUTE_MS)
    answer = place.exchange.page("BTC-USD", span)
    assert now_ms - 2_000 <= answer.asked_ms <= now_ms + 10_000  # told by the exchange: this machine's time is another
    assert closed_within(answer, span) == source(Span(span.start_ms, now_ms - 20_000))


def test_market_is_described(place: Place) -> None:
    assert place.exchange.market("ETH-USD") == Market("ETH-USD", "ETH/USD", "ETH")


def test_unknown_symbol_is_refused_for_itself(place: Place) -> None:
    for ask in (place.exchange.market, lambda symbol: place.exchange.page(symbol, newest(5))):
        with pytest.raises(DataError, match=r"^DOGE-USD: \w+ has no spot market"):
            ask("DOGE-USD")
    assert closed_within(place.exchange.page("BTC-USD", newest(5)), newest(5)) == source(newest(5))


def test_busy_exchange_says_for_how_long(place: Place) -> None:
    place.exchange.clock()
    place.busy(0.5)
    with pytest.raises(TransientError) as told:
        place.exchange.page("BTC-USD", newest(5))
    assert told.value.retry_after_seconds == pytest.approx(0.5, abs=0.1)


def test_exchange_that_is_away_is_worth_another_try(place: Place) -> None:
    place.exchange.clock()
    place.away()
    with pytest.raises(TransientError):
        place.exchange.page("BTC-USD", newest(5))
    assert closed_within(place.exchange.page("BTC-USD", newest(5)), newest(5)) == source(newest(5))


def test_clock_is_told_within_its_uncertainty(place: Place) -> None:
    now_ms = END_MS + 123_456
    place.runs_from(now_ms)
    began_ms = time.time() * 1000
    clock = place.exchange.clock()
    passed_ms = time.time() * 1000 - began_ms
    assert clock.uncertain_ms < 2000
    assert abs(clock.skew_ms - (now_ms - began_ms)) <= clock.uncertain_ms + passed_ms


def test_many_threads_are_answered_each_for_itself(place: Place) -> None:
    spans = [newest(5 + number) for number in range(24)]
    symbols = ["BTC-USD", "ETH-USD"] * 12
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(place.exchange.page, symbols, spans))
    for symbol, span, answer in zip(symbols, spans, answers, strict=True):
        assert closed_within(answer, span) == source(span, symbol)


@pytest.mark.parametrize("kind", ["kraken", "fake"])
def test_exchange_of_its_newest_bars_says_where_they_begin(kind: str, tmp_path: Path) -> None:
    with LocalExchange(MARKETS) as local:
        exchange = (
            FakeExchange(MARKETS, page_bars=720, newest_bars=720)
            if kind == "fake"
            else of_ccxt("kraken", local, tmp_path).exchange
        )
        assert exchange.history_minutes == CATALOGUE["kraken"].page_bars - 1 == 719
        span = newest(720)
        answer = exchange.page("BTC-USD", span)
        assert answer.span == newest(719)
        assert closed_within(answer, span) == source(newest(719))
        before = Span(END_MS - 1000 * MINUTE_MS, END_MS - 900 * MINUTE_MS)
        with pytest.raises(DataError, match=r"^BTC-USD: \w+ serves only its newest 719 minutes"):
            exchange.page("BTC-USD", before)


def test_outage_of_everything_is_worth_another_try(tmp_path: Path) -> None:
    with LocalExchange(MARKETS) as local:
        exchange = of_ccxt("binance", local, tmp_path).exchange
        local.script(outage())
        for ask in (lambda: exchange.market("BTC-USD"), exchange.clock):
            with pytest.raises(TransientError, match=r"^binance answers with status 503 .* Try again later\.$"):
                ask()
        local.heal()
        assert exchange.market("BTC-USD").name == "BTC/USD"
