"""The local exchange, asked by ccxt's own classes and, where those hide something, over a bare connection."""

import contextlib
import email.utils
import http.client
import json
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.exchange.ccxt_clients import ccxt_client
from tests.exchange.faults import QUICK, Fault, FaultKind, Storm, outage
from tests.exchange.ledger import least_requests
from tests.exchange.listed import MINUTE_MS
from tests.exchange.local_exchange import LocalExchange
from tests.exchange.sample_bars import FIRST_MS, Arrays, bars_of, made_up_bars

NAMES = ("coinbase", "binance", "kraken", "bybit")
NUM_BARS = 2 * 1440
BARS: Arrays = made_up_bars(NUM_BARS)
"""As the fixture's exchange has them for BTC."""
PAGE = 300
SINCE = int(BARS[0][-PAGE])
"""The newest page, which Kraken still has."""
COINBASE = "/api/v3/brokerage/market/products/BTC-USDT/candles"
ClientOf = Callable[..., Any]


@pytest.fixture
def client_of(exchange_server: LocalExchange) -> Iterator[ClientOf]:
    """A client by its name, which knows its markets; its connections end with the test."""
    with contextlib.ExitStack() as stack:

        def make(name: str, **settings: Any) -> Any:
            client = ccxt_client(exchange_server, name, **settings)
            stack.callback(client.session.close)
            client.load_markets()
            exchange_server.requests.clear()
            return client

        yield make


def page(client: Any, *, since: int = SINCE, num: int = PAGE, symbol: str = "BTC/USDT") -> list[list[Any]]:
    rows: list[list[Any]] = client.fetch_ohlcv(
        symbol, "1m", since=since, limit=num, params={"until": since + (num - 1) * MINUTE_MS}
    )
    return rows


def as_arrays(rows: list[list[Any]]) -> Arrays:
    return np.array([row[0] for row in rows], dtype=np.int64), np.array([row[1:] for row in rows], dtype=np.float64)


def same_bits(rows: list[list[Any]], bars: Arrays, part: slice) -> bool:
    stamps, values = as_arrays(rows)
    return np.array_equal(stamps, bars[0][part]) and values.tobytes() == bars[1][part].tobytes()


def get(exchange: LocalExchange, path: str, **query: object) -> tuple[int, http.client.HTTPMessage, Any]:
    """Status, headers and JSON, over a connection of its own."""
    host = urllib.parse.urlsplit(exchange.url).netloc
    with contextlib.closing(http.client.HTTPConnection(host, timeout=5)) as connection:
        connection.request("GET", f"{path}?{urllib.parse.urlencode(query)}")
        answer = connection.getresponse()
        body = answer.read()
        is_json = answer.headers["Content-Type"].startswith("application/json") and body
        return answer.status, answer.headers, json.loads(body) if is_json else body


def coinbase_page(exchange: LocalExchange, first_ms: int = SINCE, num: int = PAGE, **query: object) -> Any:
    asked = {"start": first_ms // 1000, "end": first_ms // 1000 + (num - 1) * 60, "granularity": "ONE_MINUTE", **query}
    return get(exchange, COINBASE, **asked)


def starts(answer: Any) -> list[int]:
    return [int(one["start"]) * 1000 for one in answer["candles"]]


class TestPages:
    @pytest.mark.parametrize("name", NAMES)
    def test_page_through_ccxt_equals_the_source_to_the_bit(self, client_of: ClientOf, name: str) -> None:
        assert same_bits(page(client_of(name)), BARS, slice(-PAGE, None))

    @pytest.mark.parametrize("name", ["coinbase", "binance", "bybit"])
    def test_old_page_equals_the_source_to_the_bit(self, client_of: ClientOf, name: str) -> None:
        assert same_bits(page(client_of(name), since=int(BARS[0][100])), BARS, slice(100, 100 + PAGE))

    @pytest.mark.candles
    @pytest.mark.parametrize("name", ["coinbase", "binance"])
    def test_page_of_real_candles_equals_the_file_to_the_bit(self, real_candles: Path, name: str) -> None:
        bars = bars_of(real_candles / "spot-2y" / "ETH-USD.parquet")
        middle = bars[0].size // 2
        with LocalExchange({"ETH-USD": bars}) as exchange:
            client = ccxt_client(exchange, name)
            rows = page(client, since=int(bars[0][middle]), symbol="ETH/USD")
            client.session.close()
        assert same_bits(rows, bars, slice(middle, middle + PAGE))

    def test_kraken_has_nothing_but_the_newest_720(self, exchange_server: LocalExchange, client_of: ClientOf) -> None:
        assert same_bits(client_of("kraken").fetch_ohlcv("BTC/USDT", "1m", since=FIRST_MS), BARS, slice(-720, None))
        assert exchange_server.requests[0].rows == 720

    def test_krakens_last_entry_is_there_whatever_since_says(self, exchange_server: LocalExchange) -> None:
        late = (exchange_server.now_ms + 60 * MINUTE_MS) // 1000
        _, _, answer = get(exchange_server, "/0/public/OHLC", pair="XXBTZUSD", interval=1, since=late)
        assert [entry[0] for entry in answer["result"]["XXBTZUSD"]] == [BARS[0][-1] // 1000]

    @pytest.mark.parametrize(
        ("path", "query", "rows_of", "newest_first"),
        [
            (COINBASE, {"start": SINCE // 1000, "end": SINCE // 1000 + 120, "granularity": "ONE_MINUTE"},
             starts, True),
            ("/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1m", "startTime": SINCE, "endTime": SINCE + 120_000},
             lambda answer: [one[0] for one in answer], False),
            ("/v5/market/kline", {"category": "spot", "symbol": "BTCUSDT", "interval": "1", "start": SINCE,
                                  "end": SINCE + 120_000},
             lambda answer: [int(one[0]) for one in answer["result"]["list"]], True),
        ],
        ids=["coinbase", "binance", "bybit"],
    )  # fmt: skip
    def test_both_ends_are_included_and_order_is_the_exchanges_own(
        self, exchange_server: LocalExchange, path: str, query: dict[str, object], rows_of: Any, newest_first: bool
    ) -> None:
        expected = [SINCE, SINCE + MINUTE_MS, SINCE + 2 * MINUTE_MS]
        assert rows_of(get(exchange_server, path, **query)[2]) == (expected[::-1] if newest_first else expected)

    def test_binance_gives_the_oldest_after_a_start_and_the_newest_without(
        self, exchange_server: LocalExchange
    ) -> None:
        asked = {"symbol": "BTCUSDT", "interval": "1m", "limit": 2}
        _, _, oldest = get(exchange_server, "/api/v3/klines", startTime=FIRST_MS, **asked)
        _, _, newest = get(exchange_server, "/api/v3/klines", endTime=int(BARS[0][9]), **asked)
        assert [one[0] for one in oldest] == BARS[0][:2].tolist()
        assert [one[0] for one in newest] == BARS[0][8:10].tolist()

    def test_small_volumes_are_written_without_an_exponent(self, exchange_server: LocalExchange) -> None:
        written = [one["volume"] for one in coinbase_page(exchange_server)[2]["candles"]]
        assert min(float(text) for text in written) < 1e-4, "Python writes these with an exponent"
        assert not [text for text in written if "e" in text]


class TestClock:
    def test_later_bars_do_not_exist_and_the_running_one_is_unfinished(
        self, exchange_server: LocalExchange, client_of: ClientOf
    ) -> None:
        place = NUM_BARS - 10
        exchange_server.be_at(int(BARS[0][place]) + MINUTE_MS // 2)
        client = client_of("coinbase")
        rows = page(client)
        assert rows[-1][0] == BARS[0][place]
        opened, high, low, close, volume = BARS[1][place]
        # Half of the minute is over, and the price has gone half of its way from open to close.
        assert rows[-1][1] == opened
        assert rows[-1][4] == opened + (close - opened) / 2
        assert rows[-1][5] == volume / 2
        assert low < rows[-1][3] <= rows[-1][2] < high
        assert same_bits(rows[:-1], BARS, slice(NUM_BARS - PAGE, place))

        exchange_server.advance(ms=MINUTE_MS // 2)
        rows = page(client)
        assert rows[-1][0] == BARS[0][place + 1]
        assert same_bits(rows[:-1], BARS, slice(NUM_BARS - PAGE, place + 1))

    def test_bar_that_lags_is_unfinished_after_its_close(
        self, exchange_server: LocalExchange, client_of: ClientOf
    ) -> None:
        client = client_of("binance")
        exchange_server.market("BTC-USDT").lags_ms = 300
        assert page(client)[-1][5] == pytest.approx(BARS[1][-1][4] * (1 - 0.3 / 60))
        exchange_server.advance(ms=300)
        assert same_bits(page(client), BARS, slice(-PAGE, None))

    @pytest.mark.parametrize("name", NAMES)
    def test_exchange_tells_and_lives_by_its_own_skewed_clock(
        self, exchange_server: LocalExchange, client_of: ClientOf, name: str
    ) -> None:
        client = client_of(name)
        exchange_server.be_at(int(BARS[0][-1]))
        exchange_server.skew_ms = -5 * MINUTE_MS
        assert client.fetch_time() == BARS[0][-1] - 5 * MINUTE_MS
        assert page(client)[-1][0] == BARS[0][-6]

    def test_running_clock_reaches_the_next_minute_by_itself(self, exchange_server: LocalExchange) -> None:
        exchange_server.be_at(FIRST_MS, speed=1e9)
        seen = exchange_server.now_ms
        while exchange_server.now_ms == seen:
            """A nanosecond of it is a second there."""
        assert exchange_server.now_ms > FIRST_MS

    def test_headers_are_as_wrong_as_the_clock(self, exchange_server: LocalExchange) -> None:
        exchange_server.skew_ms = 3_600_000
        before = time.time()
        _, headers, _ = coinbase_page(exchange_server)
        told = email.utils.parsedate_to_datetime(headers["Date"]).timestamp()
        assert before + 3_600 - 1 < told <= time.time() + 3_600, "rounded down to a whole second"


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "error", "status"),
        [("coinbase", "ExchangeError", 404), ("binance", "BadSymbol", 400),
         ("kraken", "ExchangeError", 200), ("bybit", "BadSymbol", 200)],
    )  # fmt: skip
    def test_market_that_is_struck_off_is_unknown(
        self, exchange_server: LocalExchange, client_of: ClientOf, name: str, error: str, status: int
    ) -> None:
        client = client_of(name)
        exchange_server.strike_off("BTC-USDT")
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one it is, is compared below
            page(client)
        assert type(caught.value).__name__ == error
        assert [(one.answer, one.status) for one in exchange_server.requests] == [("unknown symbol", status)]

    def test_delisted_market_is_inactive_and_still_has_its_past(
        self, exchange_server: LocalExchange, client_of: ClientOf
    ) -> None:
        exchange_server.market("BTC-USDT").delisted = True
        for name in NAMES:
            client = client_of(name)
            assert client.markets["BTC/USDT"]["active"] is False
            assert client.markets["ETH/USDT"]["active"] is True
            assert same_bits(page(client), BARS, slice(-PAGE, None))

    def test_market_without_bars_gives_empty_pages(self, exchange_server: LocalExchange) -> None:
        nothing = (np.empty(0, dtype=np.int64), np.empty((0, 5)))
        with LocalExchange({"NEW-USD": nothing}, now_ms=FIRST_MS) as exchange:
            for name in NAMES:
                client = ccxt_client(exchange, name)
                assert page(client, symbol="NEW/USD") == []
                client.session.close()

    @pytest.mark.parametrize(("num", "status"), [(350, 200), (351, 400)])
    def test_coinbase_refuses_more_than_350_buckets(
        self, exchange_server: LocalExchange, num: int, status: int
    ) -> None:
        answered, _, answer = coinbase_page(exchange_server, FIRST_MS, num)
        assert answered == status
        assert (answer["error"] == "INVALID_ARGUMENT") if status == 400 else (len(answer["candles"]) == 350)

    @pytest.mark.parametrize("wrong", [{"granularity": "1m"}, {"start": "yesterday"}])
    def test_coinbase_refuses_what_it_does_not_understand(
        self, exchange_server: LocalExchange, wrong: dict[str, Any]
    ) -> None:
        assert coinbase_page(exchange_server, **wrong)[0] == 400

    def test_path_of_nobody_is_not_found(self, exchange_server: LocalExchange) -> None:
        assert get(exchange_server, "/candles")[0] == 404
        assert exchange_server.requests[0].exchange == ""


EMPTY_PAGE = "an empty page"
"""What ccxt makes of a body that it cannot read, and of a status that says that all is well."""


class TestFaults:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(
        ("fault", "expected"),
        [
            (Fault("error", status=500), {"ExchangeNotAvailable"}),
            (Fault("error", status=502), {"ExchangeNotAvailable"}),
            (Fault("error"), {"ExchangeNotAvailable"}),
            (Fault("error", status=504), {"RequestTimeout"}),
            (outage(), {"ExchangeNotAvailable"}),
            (Fault("refused"), {"ExchangeNotAvailable", "RateLimitExceeded"}),
            (Fault("busy", retry_after=2), {"RateLimitExceeded", "DDoSProtection"}),
            (Fault("busy", status=418, retry_after=2), {"RateLimitExceeded", "DDoSProtection"}),
            (Fault("hang"), {"RequestTimeout"}),
            (Fault("reset"), {"NetworkError"}),
            (Fault("cut_body"), {"NetworkError"}),
            (Fault("cut_json"), {EMPTY_PAGE}),
            (Fault("html"), {EMPTY_PAGE}),
            (Fault("empty"), {EMPTY_PAGE}),
        ],
        ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, Fault) else "",
    )
    def test_fault_arrives_as_ccxts_own_error(
        self, exchange_server: LocalExchange, client_of: ClientOf, name: str, fault: Fault, expected: set[str]
    ) -> None:
        client = client_of(name, timeout_seconds=0.3 if fault.kind == "hang" else 5)
        exchange_server.script(fault)
        try:
            arrived = EMPTY_PAGE if page(client) == [] else "a page"
        except Exception as error:  # noqa: BLE001 - which one it is, is what is asked
            arrived = type(error).__name__
        assert arrived in expected
        assert exchange_server.requests.faults == {fault.kind: 1}
        assert len(exchange_server.requests.spoiled) == 1

        exchange_server.heal()
        assert same_bits(page(client), BARS, slice(-PAGE, None))

    def test_refusal_is_451_at_binance_and_a_page_of_403_at_bybit(self, exchange_server: LocalExchange) -> None:
        exchange_server.script(Fault("refused", times=2))
        assert get(exchange_server, "/api/v3/klines", symbol="BTCUSDT", interval="1m")[0] == 451
        asked = {"category": "spot", "symbol": "BTCUSDT", "interval": "1"}
        status, _, body = get(exchange_server, "/v5/market/kline", **asked)
        assert (status, b"your country" in body) == (403, True)

    def test_hanging_connection_ends_with_the_exchange(self) -> None:
        with LocalExchange({"BTC-USDT": BARS}) as exchange:
            exchange.script(Fault("hang"))
            address = urllib.parse.urlsplit(exchange.url)
            silent = socket.create_connection((address.hostname, address.port), timeout=5)
            silent.sendall(f"GET {COINBASE}?start=0&end=60&granularity=ONE_MINUTE HTTP/1.1\r\n\r\n".encode())
            assert exchange.requests.wait_for(lambda: exchange.requests.faults["hang"] == 1)
        with silent:
            assert silent.recv(1) == b""

    def test_reset_is_no_orderly_end(self, exchange_server: LocalExchange) -> None:
        exchange_server.script(Fault("reset"))
        with pytest.raises(ConnectionResetError) as caught:
            coinbase_page(exchange_server)
        assert not isinstance(caught.value, http.client.RemoteDisconnected), "that is how an orderly end arrives"

    def test_cut_json_agrees_with_its_length_and_cut_body_does_not(self, exchange_server: LocalExchange) -> None:
        exchange_server.script(Fault("cut_json"), Fault("cut_body"))
        with pytest.raises(json.JSONDecodeError):
            coinbase_page(exchange_server)
        with pytest.raises(http.client.IncompleteRead):
            coinbase_page(exchange_server)

    def test_odd_pages_hold_the_right_rows(self, exchange_server: LocalExchange) -> None:
        first = int(BARS[0][1000])
        _, _, right = coinbase_page(exchange_server, first)
        exchange_server.script(*(Fault(kind) for kind in ("shuffled", "duplicated", "overlapping", "contradicting")))
        shuffled, doubled, wider, wrong = (coinbase_page(exchange_server, first)[2] for _ in range(4))
        assert starts(shuffled) not in (starts(right), starts(right)[::-1])
        assert sorted(starts(shuffled)) == sorted(starts(right))
        assert len(starts(doubled)) == PAGE + 5
        assert set(starts(doubled)) == set(starts(right))
        assert starts(wider)[::-1] == BARS[0][1000 - 7 : 1000 + PAGE + 7].tolist()
        assert len([one for one in wrong["candles"] if float(one["high"]) < float(one["low"])]) == 1

    def test_ccxt_loses_the_newest_minutes_of_a_page_with_rows_twice(
        self, exchange_server: LocalExchange, client_of: ClientOf
    ) -> None:
        """Why an adapter must not let ccxt cut a page to its limit."""
        client = client_of("coinbase")
        exchange_server.script(Fault("duplicated"))
        rows = page(client)
        assert exchange_server.requests[0].rows == PAGE + 5
        assert len({row[0] for row in rows}) < len(rows) == PAGE

    def test_fault_strikes_as_often_as_told_and_whom_it_is_about(self, exchange_server: LocalExchange) -> None:
        exchange_server.script(Fault("error", times=2, after=1, symbol="BTC-USDT"))
        assert [coinbase_page(exchange_server)[0] for _ in range(4)] == [200, 503, 503, 200]
        exchange_server.script(Fault("error", symbol="ETH-USD"), Fault("error", exchange="binance"))
        assert coinbase_page(exchange_server)[0] == 200
        exchange_server.script(Fault("error", asking="time"))
        assert get(exchange_server, "/v2/time")[0] == 503

    def test_outage_lasts_until_its_end_by_the_exchanges_clock(self, exchange_server: LocalExchange) -> None:
        exchange_server.script(outage(exchange_server.now_ms + 180 * MINUTE_MS, exchange="coinbase"))
        paths = ("/v2/time", "/api/v3/brokerage/market/products", "/api/v3/time")
        assert [get(exchange_server, path)[0] for path in paths] == [503, 503, 200]
        exchange_server.advance(minutes=179)
        assert coinbase_page(exchange_server)[0] == 503
        exchange_server.advance(minutes=1)
        assert coinbase_page(exchange_server)[0] == 200


class TestPatience:
    def test_early_request_is_refused_again_and_found_out(self, exchange_server: LocalExchange) -> None:
        exchange_server.script(Fault("busy", retry_after=60))
        _, headers, _ = coinbase_page(exchange_server)
        assert headers["Retry-After"] == "60"
        status, headers, _ = coinbase_page(exchange_server)
        assert (status, headers["Retry-After"]) == (429, "60")
        assert get(exchange_server, "/api/v3/time")[0] == 200, "Binance has not asked for anything"
        assert [one.path for one in exchange_server.requests.impatient(on_its_way_seconds=0)] == [COINBASE]
        assert len(exchange_server.requests.spoiled) == 2

    def test_who_waits_is_answered(self, exchange_server: LocalExchange) -> None:
        exchange_server.script(Fault("busy", retry_after=0.2))
        assert coinbase_page(exchange_server)[0] == 429
        threading.Event().wait(0.2)  # what was asked for
        assert coinbase_page(exchange_server)[0] == 200
        assert exchange_server.requests.impatient(on_its_way_seconds=0) == []

    def test_date_of_http_is_not_earlier_than_asked_for(self, exchange_server: LocalExchange) -> None:
        exchange_server.script(Fault("busy", status=418, retry_after=90, as_date=True))
        before = time.time()
        status, headers, _ = coinbase_page(exchange_server)
        until = email.utils.parsedate_to_datetime(headers["Retry-After"]).timestamp()
        assert status == 418
        assert before + 90 <= until < time.time() + 91, "rounded up to a whole second"
        assert coinbase_page(exchange_server)[0] == 429

    def test_more_than_the_limit_in_a_second_is_busy(self, exchange_server: LocalExchange) -> None:
        exchange_server.requests_per_second = 3
        answered = [coinbase_page(exchange_server)[0] for _ in range(4)]
        assert answered == [200, 200, 200, 429]
        assert exchange_server.requests.most_within(1.0, exchange="coinbase") == 4


class TestBarsThatChange:
    def test_hidden_minutes_are_never_served_until_shown(self, exchange_server: LocalExchange) -> None:
        market, hidden = exchange_server.market("BTC-USDT"), BARS[0][-200:-80].tolist()
        assert market.hide(hidden[0], hidden[-1] + MINUTE_MS) == 120
        assert sorted(starts(coinbase_page(exchange_server)[2])) == [*BARS[0][-300:-200], *BARS[0][-80:]]
        market.show(hidden[0], hidden[-1] + MINUTE_MS)
        assert sorted(starts(coinbase_page(exchange_server)[2])) == BARS[0][-PAGE:].tolist()

    def test_bar_has_other_values_once_and_its_own_ever_after(
        self, exchange_server: LocalExchange, client_of: ClientOf
    ) -> None:
        client, first = client_of("binance"), [1.0, 3.0, 0.5, 2.0, 7.0]
        exchange_server.market("BTC-USDT").serve_at_first(int(BARS[0][-2]), first)
        exchange_server.script(Fault("cut_json"))
        assert page(client) == [], "nobody has seen the bar yet"
        assert page(client)[-2][1:] == first
        assert same_bits(page(client), BARS, slice(-PAGE, None))


class TestStorm:
    def strikes(self, storm: Storm, targets: list[str]) -> dict[str, FaultKind]:
        found = {target: storm.strikes(target, 1) for target in targets}
        return {target: fault.kind for target, fault in found.items() if fault is not None}

    def test_draw_depends_on_the_request_and_the_seed_alone(self) -> None:
        targets = [f"/{place}" for place in range(2_000)]
        struck = self.strikes(Storm(1, 0.1), targets)
        assert struck == self.strikes(Storm(1, 0.1), targets[::-1])
        assert struck != self.strikes(Storm(2, 0.1), targets)
        # 2,000 draws at 0.1 strike 200 with a standard deviation of 13.4; five of those on either side.
        assert 133 <= len(struck) <= 267
        assert set(struck.values()) == set(QUICK)

    def test_every_page_is_right_for_who_asks_again(self, exchange_server: LocalExchange) -> None:
        kinds: tuple[FaultKind, ...] = ("error", "reset", "cut_json", "cut_body", "html", "empty")
        exchange_server.storm(Storm(seed=3, share=0.5, kinds=kinds))
        for first in BARS[0][: NUM_BARS - PAGE : PAGE].tolist():
            rows = None
            while rows is None:
                with contextlib.suppress(OSError, http.client.HTTPException, json.JSONDecodeError):
                    status, _, answer = coinbase_page(exchange_server, first)
                    rows = starts(answer) if status == 200 and isinstance(answer, dict) else None
            assert rows[::-1] == list(range(first, first + PAGE * MINUTE_MS, MINUTE_MS))
        asked = exchange_server.requests
        assert len(asked.of()) - len(asked.spoiled) == least_requests(NUM_BARS, PAGE) - 1
        assert asked.spoiled


class TestServer:
    def test_clients_that_are_killed_leave_it_as_it_was(self, exchange_server: LocalExchange) -> None:
        exchange_server.script(Fault("error", after=3))
        address = urllib.parse.urlsplit(exchange_server.url)
        for _ in range(3):
            with socket.create_connection((address.hostname, address.port), timeout=5) as killed:
                killed.sendall(f"GET {COINBASE}?start=0&end=0&granularity=ONE_MINUTE HTTP/1.1\r\n\r\n".encode())
                killed.recv(1)
                killed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert [coinbase_page(exchange_server)[0] for _ in range(2)] == [503, 200]
        assert len(exchange_server.requests.of("candles", exchange="coinbase", symbol="BTC-USDT")) == 5

    def test_connection_carries_one_request_after_the_other(self, exchange_server: LocalExchange) -> None:
        address = urllib.parse.urlsplit(exchange_server.url).netloc
        with contextlib.closing(http.client.HTTPConnection(address, timeout=5)) as connection:
            for _ in range(3):
                connection.request("GET", "/v2/time")
                connection.getresponse().read()
                assert connection.sock is not None

    def test_mistake_of_the_server_itself_is_raised(self) -> None:
        exchange = LocalExchange({"BTC-USDT": BARS})
        del exchange.market("BTC-USDT").symbol
        with pytest.raises(AttributeError), exchange, contextlib.suppress(http.client.RemoteDisconnected):
            coinbase_page(exchange)
