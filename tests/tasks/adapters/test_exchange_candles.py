"""Candles of an exchange as a source: an exchange in memory, a real archive."""

import logging
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from models_lib.candles.archive.archive import CandleArchive
from models_lib.candles.archive.places import LocalPlace
from models_lib.candles.bars import floor_minute
from models_lib.candles.schema import BAR_MS, TIMESTAMP_DTYPE, epoch_ms
from models_lib.candles.sources import load_candles
from models_lib.config import DataSection, ExchangeSection, load_config
from models_lib.errors import ConfigError, DataError, TransientError
from tasks.adapters.candle_rows import data_findings
from tasks.adapters.exchange_candles import ExchangeCandles
from tasks.adapters.sources import check_source
from tests.exchange.fake_exchange import FakeExchange
from tests.exchange.sample_bars import Arrays, made_up_bars
from tests.ports import free_port

BTC = "BTC-USD"
DAYS, DAY_BARS = 3, 1_440
SECTION = ExchangeSection(second="binance")


@pytest.fixture
def bars() -> Arrays:
    """Five days until this machine's minute, and one to come."""
    first_ms = floor_minute(time.time_ns() // 1_000_000) - 5 * DAY_BARS * BAR_MS
    return made_up_bars(6 * DAY_BARS, first_ms=first_ms)


def exchange_of(bars: Arrays, name: str = "coinbase") -> FakeExchange:
    now_ms = int(bars[0][0]) + 5 * DAY_BARS * BAR_MS + BAR_MS // 2
    return FakeExchange({BTC: bars}, name=name, now_ms=now_ms)


@pytest.fixture
def archive(tmp_path: Path) -> CandleArchive:
    return CandleArchive(LocalPlace(tmp_path / "candles"), tmp_path / "staging")


def source_of(
    exchange: FakeExchange, archive: CandleArchive, *, second: FakeExchange | None = None, round_minutes: int = 1
) -> ExchangeCandles:
    return ExchangeCandles(exchange, archive, SECTION, days=DAYS, round_minutes=round_minutes, second=second)


def test_newest_days_are_handed_over_to_the_bit(bars: Arrays, archive: CandleArchive) -> None:
    frame = source_of(exchange_of(bars), archive).fetch(BTC)
    assert frame["timestamp"].dtype == TIMESTAMP_DTYPE
    stamps = epoch_ms(frame)
    assert stamps[-1] == bars[0][5 * DAY_BARS - 1], "the newest closed one"
    assert len(frame) in {DAYS * DAY_BARS, DAYS * DAY_BARS - 1}, "one less where this machine's minute has passed"
    rows = np.searchsorted(bars[0], stamps)
    np.testing.assert_array_equal(frame.iloc[:, 1:].to_numpy(), bars[1][rows])


def test_exchange_is_asked_once_for_content_and_candles(bars: Arrays, archive: CandleArchive) -> None:
    exchange = exchange_of(bars)
    source = source_of(exchange, archive)
    content = source.content(BTC)
    asked = len(exchange.asked)
    exchange.advance(minutes=3)
    frame = source.fetch(BTC)
    assert (source.content(BTC), len(exchange.asked)) == (content, asked)
    assert epoch_ms(frame)[-1] == bars[0][5 * DAY_BARS - 1], "content and candles are of the same minutes"


def test_content_changes_with_the_bars(bars: Arrays, archive: CandleArchive) -> None:
    exchange = exchange_of(bars)
    before = source_of(exchange, archive).content(BTC)
    exchange.advance(minutes=1)
    after = source_of(exchange, archive).content(BTC)
    assert before is not None
    assert after is not None
    assert before != after


def test_whoever_asks_before_the_next_whole_hour_gets_the_same_candles(archive: CandleArchive) -> None:
    """A run that was killed and started again goes on with its steps, though the archive has newer bars."""
    hour_ms = 60 * BAR_MS
    # The hour after this machine's: it may go on while the test runs.
    first_ms = (time.time_ns() // 1_000_000 // hour_ms + 1) * hour_ms - 5 * DAY_BARS * BAR_MS
    bars = made_up_bars(6 * DAY_BARS, first_ms=first_ms)
    exchange = FakeExchange({BTC: bars}, name="coinbase", now_ms=first_ms + 5 * DAY_BARS * BAR_MS + BAR_MS // 2)
    contents, ends = [], []
    for _ in range(3):  # at the whole hour, 59 minutes later, and at the next one
        source = source_of(exchange, archive, round_minutes=60)
        contents.append(source.content(BTC))
        stamps = epoch_ms(source.fetch(BTC))
        assert len(stamps) == DAYS * DAY_BARS
        ends.append(int(stamps[-1]) + BAR_MS)
        exchange.advance(minutes=59 if len(ends) == 1 else 1)
    assert contents[0] == contents[1] != contents[2]
    assert ends == [first_ms + 5 * DAY_BARS * BAR_MS] * 2 + [first_ms + 5 * DAY_BARS * BAR_MS + hour_ms]


def test_second_exchange_is_asked_for_the_newest_day_and_compared(bars: Arrays, archive: CandleArchive) -> None:
    second = exchange_of((bars[0], bars[1] * [1.01, 1.01, 1.01, 1.01, 1.0]), name="binance")
    source = source_of(exchange_of(bars), archive, second=second)
    assert source.facts(BTC) is None
    source.fetch(BTC)
    assert sum(span.minutes for _, span in second.asked) == DAY_BARS
    facts = source.facts(BTC)
    assert facts is not None
    assert facts.checks is not None
    median = next(check for check in facts.checks.checks if check.name == "median_deviation")
    # 1 % is 100 bp; the limit is 10. Prices are of 60,000, so their doubles make no difference.
    assert median.value == pytest.approx(100.0, rel=1e-2)
    assert median.alarm
    assert median.words in source.remarks(BTC)


def test_second_exchange_that_is_away_stops_nothing(
    bars: Arrays, archive: CandleArchive, caplog: pytest.LogCaptureFixture
) -> None:
    second = exchange_of(bars, name="binance")
    second.befall(TransientError("binance is away. Try again later."))
    source = source_of(exchange_of(bars), archive, second=second)
    with caplog.at_level(logging.WARNING, "models_lib.candles"):
        assert len(source.fetch(BTC)) >= DAYS * DAY_BARS - 1
    assert "could not be held against a second exchange: binance is away" in caplog.text
    facts = source.facts(BTC)
    assert facts is not None
    assert facts.checks is not None
    assert all(check.value is None for check in facts.checks.checks if check.name == "median_deviation")


def test_holes_get_into_the_report_with_their_cause(bars: Arrays, archive: CandleArchive) -> None:
    exchange = exchange_of(bars)
    end_ms = int(bars[0][5 * DAY_BARS])
    exchange.market_of(BTC).hide(end_ms - 300 * BAR_MS, end_ms - 200 * BAR_MS)
    data = DataSection(source="exchange", days=DAYS)
    frame, report = load_candles(source_of(exchange, archive), BTC, data, now=None)
    assert report.missing_minutes == 100
    assert report.fetched is not None
    start = f"{datetime.fromtimestamp(end_ms / 1000, UTC) - timedelta(minutes=300):%Y-%m-%dT%H:%MZ}"
    assert report.fetched["holes"] == [{"start": start, "minutes": 100, "cause": "outage"}]
    assert len(frame) == len(np.unique(epoch_ms(frame)))


def test_bars_that_closed_after_the_run_began_are_no_unclosed_ones(bars: Arrays, archive: CandleArchive) -> None:
    """A run dates itself by its beginning, and two years of candles take minutes to come."""
    data = DataSection(source="exchange", days=DAYS)
    began = datetime.now(UTC) - timedelta(minutes=10)
    _, report = load_candles(source_of(exchange_of(bars), archive), BTC, data, now=began)
    assert report.last > began
    assert report.warnings == ()
    _, report = load_candles(source_of(exchange_of(bars), archive), BTC, data, now=began + timedelta(days=3))
    assert report.stale is not None


def test_symbol_without_candles_is_refused(bars: Arrays, archive: CandleArchive) -> None:
    old = (bars[0] - 400 * DAY_BARS * BAR_MS, bars[1])
    exchange = FakeExchange({BTC: old}, name="coinbase", now_ms=int(bars[0][-1]))
    with pytest.raises(DataError, match=r"BTC-USD: coinbase has no candles of BTC/USD in the newest 3 days"):
        source_of(exchange, archive).fetch(BTC)
    assert source_of(exchange, archive).content(BTC) is None


def test_error_of_the_exchange_is_the_source_s(bars: Arrays, archive: CandleArchive) -> None:
    exchange = exchange_of(bars)
    exchange.befall(*[ConfigError("not from here")] * 4)
    with pytest.raises(ConfigError, match="not from here"):
        source_of(exchange, archive).content(BTC)


def test_exchange_that_does_not_answer_is_worth_a_warning_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ("data.source=exchange", "symbols=[BTC-USD]", f"exchange.base_url=http://127.0.0.1:{free_port()}")
    with caplog.at_level(logging.WARNING, "models_lib.candles"):
        check_source(load_config(None, settings), home=tmp_path)
    assert "coinbase" in caplog.text


def test_preflight_fails_where_the_exchange_can_never_serve_so_many_days(tmp_path: Path) -> None:
    """The run refuses to start then, so a preflight that lets it pass would be no use."""
    config = load_config(None, ("data.source=exchange", "exchange.name=kraken"))
    (finding,) = data_findings(config, [BTC], home=tmp_path)
    assert finding.answer == "fail"
    assert finding.fact == (
        "exchange.name=kraken serves only its newest 719 closed minutes; data.days=50 needs 72,000."
    )
