"""`crpbot fetch` against the local exchange, and a run whose candles come from there."""

import json
import signal
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from flows.cli import main
from models_lib.candles.bars import Bars, Span, floor_minute
from models_lib.candles.exchange import Market
from models_lib.candles.schema import BAR_MS, VALUE_COLUMNS
from models_lib.candles.simulated import simulate_candles
from models_lib.config import ExchangeSection, load_config
from tasks.adapters.archives import open_archive
from tests.aws.weed import REGION
from tests.exchange.faults import Fault
from tests.exchange.ledger import least_requests
from tests.exchange.local_exchange import LocalExchange
from tests.exchange.sample_bars import Arrays, made_up_bars
from tests.flows.fetching import archive_of, fetching, settings_of, wait_for_pages
from tests.flows.running import crpbot
from tests.markets import DAYS, LENIENT, QUICK

Heard = pytest.CaptureFixture[str]
BTC, ETH = "BTC-USD", "ETH-USD"
WIRE, PAGE_BARS = "binance", 1_000
DAY_BARS = 1_440
PAST_DAYS, COMING_DAYS = 5, 3
DAY_MS = DAY_BARS * BAR_MS


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("CRPBOT_HOME", str(folder))
    return folder


def traded(seed: int) -> Arrays:
    """Five days until now, and three that are still to come."""
    first_ms = floor_minute(time.time_ns() // 1_000_000) - PAST_DAYS * DAY_MS
    return made_up_bars((PAST_DAYS + COMING_DAYS) * DAY_BARS, seed=seed, first_ms=first_ms)


@pytest.fixture
def exchange() -> Iterator[LocalExchange]:
    """Its clock stands still at half a minute from the beginning of this machine's minute."""
    now_ms = floor_minute(time.time_ns() // 1_000_000) + BAR_MS // 2
    with LocalExchange({BTC: traded(1), ETH: traded(2)}, now_ms=now_ms) as server:
        yield server


def first_ms(exchange: LocalExchange) -> int:
    """The beginning of the UTC day three days before the exchange's."""
    return exchange.now_ms - exchange.now_ms % DAY_MS - 3 * DAY_MS


def minutes_of(exchange: LocalExchange) -> int:
    """How many minutes have closed since."""
    return (floor_minute(exchange.now_ms) - first_ms(exchange)) // BAR_MS


@pytest.fixture
def since(exchange: LocalExchange) -> list[str]:
    """Unlike 3d it means the same in the next minute."""
    return ["--since", f"{datetime.fromtimestamp(first_ms(exchange) / 1000, UTC):%Y-%m-%d}"]


def fetch(exchange: LocalExchange, words: Sequence[str], *more: str, symbols: str = f"{BTC},{ETH}") -> int:
    return main(["fetch", "--symbols", symbols, *settings_of(exchange, WIRE), *words, *more])


def assert_kept(home: Path, symbol: str, exchange: LocalExchange, arrays: Arrays, *, since_ms: int) -> None:
    """What has closed since then is in the archive to the bit, and nothing else."""
    closed = Bars(*arrays).within(Span(since_ms, floor_minute(exchange.now_ms)))
    assert archive_of(home, WIRE).bars(symbol, Span(0, exchange.now_ms + DAY_MS)).same_as(closed)


def test_fetch_keeps_what_the_exchange_has_and_then_asks_for_the_tail_alone(
    exchange: LocalExchange, since: list[str], home: Path, capsys: Heard
) -> None:
    start_ms, minutes = first_ms(exchange), minutes_of(exchange)
    assert fetch(exchange, since) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == [
        *("symbol", "market", "from", "to", "rows", "new"),
        *("corrected", "changed", "missing", "requests", "seconds"),
    ]
    pages = least_requests(minutes, PAGE_BARS)
    for row, symbol in zip(rows, (BTC, ETH), strict=True):
        cells = row.split()
        assert cells[:2] == [symbol, symbol.replace("-", "/")]
        assert cells[4:10] == [f"{minutes:,}", f"{minutes:,}", "0", "0", "0", str(pages)]
    assert len(exchange.requests.of()) == 2 * pages
    assert_kept(home, BTC, exchange, traded(1), since_ms=start_ms)

    exchange.requests.clear()
    exchange.advance(minutes=7)
    assert fetch(exchange, since) == 0
    asked = exchange.requests.of()
    # The newest ten minutes once more, as the exchange may have corrected them, and the seven that came since.
    assert [one.rows for one in asked] == [17, 17]
    assert {one.question.first_ms for one in asked if one.question} == {floor_minute(exchange.now_ms) - 17 * BAR_MS}
    assert_kept(home, ETH, exchange, traded(2), since_ms=start_ms)


def test_symbol_that_the_exchange_does_not_know_fails_alone(
    exchange: LocalExchange, since: list[str], home: Path, capsys: Heard
) -> None:
    assert fetch(exchange, since, "--json", symbols=f"{BTC},SOL-USD") == 1
    heard = capsys.readouterr()
    document = json.loads(heard.out)
    assert (document["exchange"], document["archive"]) == (WIRE, str(home / "candles" / WIRE))
    assert set(document["symbols"]) == {BTC, "SOL-USD"}
    btc = document["symbols"][BTC]
    assert (btc["rows"], btc["error"], btc["hole_minutes"]) == (minutes_of(exchange), None, {})
    assert document["symbols"]["SOL-USD"]["error"].startswith("SOL-USD: ")
    assert "crpbot: 1 of 2 symbols could not be brought up to date:" in heard.err


def test_exchange_that_is_away_is_to_be_asked_later(
    exchange: LocalExchange, since: list[str], home: Path, capsys: Heard
) -> None:
    exchange.script(Fault("error", None, after=2))
    assert fetch(exchange, since, "--set", "exchange.patience_minutes=0.02") == 3
    told = capsys.readouterr().err
    assert f"{BTC}: binance gave no usable answer within 0.02 minutes (exchange.patience_minutes)" in told
    assert "What came is kept" in told
    exchange.heal()
    exchange.requests.clear()
    assert fetch(exchange, since) == 0
    assert len(exchange.requests.of()) == 2 * least_requests(minutes_of(exchange), PAGE_BARS) - 2, "two pages were kept"


def test_longer_wait_than_patience_ends_at_once(exchange: LocalExchange, since: list[str], capsys: Heard) -> None:
    exchange.script(Fault("busy", None, retry_after=3_600))
    began = time.monotonic()
    assert fetch(exchange, since) == 3
    assert time.monotonic() - began < 20.0
    assert BTC in capsys.readouterr().err


def test_exchange_that_refuses_this_machine_starts_nothing(
    exchange: LocalExchange, since: list[str], capsys: Heard
) -> None:
    exchange.script(Fault("refused", None, asking=None, status=451))
    assert fetch(exchange, since) == 2
    assert f"  {BTC}: binance refuses this machine with status 451" in capsys.readouterr().err


@pytest.mark.parametrize("when", ["yesterday", "0d", "2030-01-01", "2010-01-01", "2024-13-01"])
def test_time_that_is_none_starts_nothing(exchange: LocalExchange, when: str, home: Path, capsys: Heard) -> None:
    assert fetch(exchange, ["--since", when]) == 2
    assert f"--since must be like 2y, 30d or 2024-04-01, was {when!r}" in capsys.readouterr().err.replace(
        "lie in the past, at most 3,650 days back", "be like 2y, 30d or 2024-04-01"
    )
    assert not home.exists()
    assert len(exchange.requests) == 0


def test_hole_is_asked_for_again_on_a_later_day_and_filled(
    exchange: LocalExchange, since: list[str], home: Path, capsys: Heard
) -> None:
    end_ms = floor_minute(exchange.now_ms)
    holes = [Span(end_ms - 3_000 * BAR_MS, end_ms - 2_900 * BAR_MS), Span(end_ms - 500 * BAR_MS, end_ms - 498 * BAR_MS)]
    for hole in holes:
        exchange.market(BTC).hide(*hole)
    assert fetch(exchange, since, symbols=BTC) == 0
    told = capsys.readouterr().out
    assert f"{BTC}: minutes without a bar, by cause as far as known: 2 no trades, 100 outage" in told
    exchange.requests.clear()
    assert fetch(exchange, since, symbols=BTC) == 0
    assert len(exchange.requests.of()) == 1, "the same day: the newest minutes alone"

    for hole in holes:
        exchange.market(BTC).show(*hole)
    start_ms = first_ms(exchange)
    exchange.advance(minutes=2 * DAY_BARS)
    exchange.requests.clear()
    assert fetch(exchange, since, symbols=BTC) == 0
    assert_kept(home, BTC, exchange, traded(1), since_ms=start_ms)
    # The holes are too far apart for one page; the tail has two days.
    assert len(exchange.requests.of()) == 2 + least_requests(2 * DAY_BARS + 10, PAGE_BARS)
    record = archive_of(home, WIRE).record(BTC)
    assert record is not None
    assert record.holes == ()


@pytest.mark.long
def test_interrupted_fetch_keeps_what_came(exchange: LocalExchange, since: list[str], home: Path) -> None:
    pages = least_requests(minutes_of(exchange), 300)
    exchange.script(Fault("slow", None, seconds=0.3))
    with fetching(home, ["--symbols", BTC, *since, *settings_of(exchange, "coinbase")]) as process:
        wait_for_pages(process, exchange, 6)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20.0)
    assert process.returncode == 130, err
    assert "crpbot: interrupted; what came is kept, and the next fetch goes on from there" in err
    assert (out, "Traceback" in err) == ("", False)
    asked = len(exchange.requests.of())
    exchange.heal()
    assert crpbot(home, "fetch", "--symbols", BTC, *since, *settings_of(exchange, "coinbase")).returncode == 0
    # At most the four pages that were under way are asked for twice, and the minute that passed meanwhile.
    assert pages <= len(exchange.requests.of()) <= pages + 4 + 1
    assert asked < pages


@pytest.mark.long
def test_symbol_that_somebody_else_fetches_is_left_to_them(
    exchange: LocalExchange, since: list[str], home: Path, capsys: Heard
) -> None:
    market = Market(symbol=BTC, name="BTC/USD", volume_unit="BTC")
    with archive_of(home, WIRE).writer(BTC, market=market, exchange=ExchangeSection(name=WIRE)):
        assert fetch(exchange, since) == 3
    heard = capsys.readouterr()
    assert heard.out.splitlines()[1].split()[0] == ETH
    assert f"  {BTC} (" in heard.err
    assert "another process fetches its candles" in heard.err


def test_archive_of_another_market_is_refused(exchange: LocalExchange, since: list[str], capsys: Heard) -> None:
    assert fetch(exchange, since, symbols=BTC) == 0
    assert fetch(exchange, since, "--set", "exchange.markets={BTC-USD: ETH/USD}", symbols=BTC) == 2
    assert "the archive holds BTC/USD of binance, the configuration asks for ETH/USD" in capsys.readouterr().err


def test_archive_in_a_bucket_serves_two_machines(
    exchange: LocalExchange, since: list[str], bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_s3 = (f"data.uri=s3://{bucket}/bars", "data.source=exchange", f"aws.region={REGION}")
    words = [*since, *(word for setting in in_s3 for word in ("--set", setting))]
    assert fetch(exchange, words, symbols=BTC) == 0
    exchange.requests.clear()
    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path / "other home"))
    assert fetch(exchange, words, symbols=BTC) == 0
    assert [one.rows for one in exchange.requests.of()] == [10], "the other machine's bars are there"
    config = load_config(None, [*in_s3, "exchange.name=binance"])
    archive = open_archive(config, home=tmp_path / "third home")
    start_ms = first_ms(exchange)
    closed = Bars(*traded(1)).within(Span(start_ms, floor_minute(exchange.now_ms)))
    assert archive.bars(BTC, Span(0, exchange.now_ms)).same_as(closed)


@pytest.mark.long
def test_run_trains_on_candles_of_the_exchange_and_the_next_asks_for_what_is_missing(
    home: Path, tmp_path: Path
) -> None:
    frame = simulate_candles(BTC, market="default", seed=7, days=DAYS + 1)
    now_ms = floor_minute(time.time_ns() // 1_000_000)
    # An hour more than is handed over: that ends with a whole one.
    stamps = now_ms + (np.arange(len(frame), dtype=np.int64) - DAYS * DAY_BARS - 60) * BAR_MS
    values = np.column_stack([frame[name].to_numpy() for name in VALUE_COLUMNS])
    with LocalExchange({BTC: (stamps, values)}, now_ms=now_ms + BAR_MS // 2) as exchange:
        more = ("data.source=exchange", f"data.days={DAYS}", "exchange.second=coinbase", *QUICK, *LENIENT)
        words = settings_of(exchange, WIRE, f"exchange.second_base_url={exchange.url}", *more)
        first = crpbot(home, "run", "--symbols", BTC, "--json", *words)
        assert first.returncode == 0, first.stderr
        outcome = json.loads(first.stdout)["symbols"][BTC]
        assert outcome["outcome"] in {"promoted", "held"}, outcome
        assert len(exchange.requests.of(exchange=WIRE)) == least_requests(DAYS * DAY_BARS + 59, PAGE_BARS)
        assert len(exchange.requests.of(exchange="coinbase")) == least_requests(DAY_BARS, 300), "the newest day"
        exchange.requests.clear()

        exchange.advance(minutes=1)
        second = crpbot(home, "run", "--symbols", BTC, *words)
        assert second.returncode == 0, second.stderr
        assert len(exchange.requests.of(exchange=WIRE)) == 1
        report = json.loads(next((home / "cache" / "steps" / BTC).glob("candles-*/candles.json")).read_text())
    assert report["origin"] == f"BTC/USD of binance, kept in {home / 'candles' / WIRE}"
    checks = {check["name"]: check for check in report["fetched"]["checks"]}
    assert checks["median_deviation"]["value"] == 0.0
    assert not checks["median_deviation"]["alarm"]


def test_run_of_an_exchange_that_reaches_back_too_little_starts_nothing(exchange: LocalExchange, capsys: Heard) -> None:
    words = settings_of(exchange, "kraken", "data.source=exchange")
    assert main(["run", "--symbols", BTC, *words]) == 2
    assert "exchange.name=kraken serves only its newest 719 minutes, and data.days=50 needs 72,000" in (
        capsys.readouterr().err
    )
    assert len(exchange.requests) == 0


def test_run_of_symbols_that_the_exchange_does_not_know_starts_nothing(
    exchange: LocalExchange, home: Path, capsys: Heard
) -> None:
    words = settings_of(exchange, WIRE, "data.source=exchange", "symbols=[SOL-USD]")
    assert main(["run", *words]) == 2
    assert "binance knows none of the symbols. SOL-USD: " in capsys.readouterr().err
    assert not (home / "runs").exists()


def test_preflight_says_what_is_fetched_and_what_is_not(exchange: LocalExchange, capsys: Heard) -> None:
    words = ["--symbols", BTC, "--json", *settings_of(exchange, WIRE, "data.source=exchange", "data.days=3")]

    def finding() -> dict[str, str]:
        main(["preflight", *words])
        findings = json.loads(capsys.readouterr().out)["findings"]
        return next(one for one in findings if one["check"] == "data")

    before = finding()
    assert (before["answer"], before["remedy"]) == ("unknown", f"To have them before: crpbot fetch --symbols {BTC}")
    assert fetch(exchange, ["--set", "data.days=3"], symbols=BTC) == 0
    capsys.readouterr()
    after = finding()
    assert after["answer"] == "pass"
    assert "4,3" in after["fact"]
