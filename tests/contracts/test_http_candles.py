"""Live candles over HTTP, against a real server on loopback."""

import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from models_lib.errors import TransientError
from models_lib.runtime.sources import Given, Trouble
from tasks.adapters.http_candles import HttpCandles
from tests.ports import free_port

T0 = 1_767_225_600_000
MINUTE = 60_000
Answer = Callable[[str, int, int], tuple[int, bytes]]


def bar(minute: int) -> list[float]:
    return [T0 + minute * MINUTE, 100.0, 101.0, 99.0, 100.5, 3.0]


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that went away is what some tests are about."""


class Exchange:
    """A server with closed bars, and with faults that are planted."""

    def __init__(self) -> None:
        self.candles: list[list[float]] = [bar(minute) for minute in range(10)]
        self.faults: list[tuple[int, bytes]] = []
        self.asked: list[tuple[str, int, int]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                status, body = outer.answer(query["symbol"][0], int(query["after"][0]), int(query["limit"][0]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.port = free_port()
        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, symbol: str, after: int, limit: int) -> tuple[int, bytes]:
        self.asked.append((symbol, after, limit))
        if self.faults:
            return self.faults.pop(0)
        newer = [raw for raw in self.candles if raw[0] > after]
        return 200, json.dumps({"symbol": symbol, "candles": newer[-limit:]}).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    server = Exchange()
    yield server
    server.close()


def source(exchange: Exchange, **other: Any) -> HttpCandles:
    settings = {"poll_seconds": 0.05, "timeout_seconds": 5.0} | other
    return HttpCandles(f"http://127.0.0.1:{exchange.port}/candles", **settings)


def minutes(events: list[Any]) -> list[int]:
    return [(event.raw[0] - T0) // MINUTE for event in events]


def test_first_answer_fills_the_window_and_new_bars_are_decided_on(exchange: Exchange) -> None:
    stop = threading.Event()
    bars = source(exchange).bars({"BTC-USD": None}, stop)
    past = [next(bars) for _ in range(10)]
    assert minutes(past) == list(range(10))
    assert all(isinstance(event, Given) and event.past for event in past)
    assert next(bars) is None
    exchange.candles += [bar(10), bar(11)]
    new = [event for event in (next(bars) for _ in range(3)) if event is not None]
    assert minutes(new) == [10, 11]
    assert not any(event.past for event in new)
    assert exchange.asked[-1][1] == T0 + 9 * MINUTE
    stop.set()
    assert [event for event in bars if event is not None] == []


def test_bars_missed_while_down_are_to_be_decided_on(exchange: Exchange) -> None:
    bars = source(exchange).bars({"BTC-USD": T0 + 6 * MINUTE}, threading.Event())
    events = [next(bars) for _ in range(10)]
    assert [event.past for event in events] == [True] * 7 + [False] * 3


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ((503, b"busy"), "answers with status 503"),
        ((200, b"<html>"), "is no JSON"),
        ((200, b"\xff\xfe"), "is no JSON"),
        ((200, b"[]"), r"must be \{"),
        ((200, b'{"symbol": "ETH-USD", "candles": []}'), r"must be \{"),
        ((200, b'{"symbol": "BTC-USD", "candles": {}}'), r"must be \{"),
        ((200, b"[" * 100_000), "is no JSON"),
        ((200, b" " * (4 * 2**20 + 1)), "exceeds 4,194,304 bytes"),
    ],
)
def test_answer_that_is_none_is_trouble_and_is_asked_for_again(
    exchange: Exchange, fault: tuple[int, bytes], sentence: str
) -> None:
    exchange.faults = [fault]
    bars = source(exchange).bars({"BTC-USD": None}, threading.Event())
    trouble = next(bars)
    assert isinstance(trouble, Trouble)
    assert re.search(sentence, trouble.sentence), trouble.sentence
    assert next(bars) is None
    assert isinstance(next(bars), Given)


def test_server_that_is_away_or_silent_is_passing_trouble(exchange: Exchange) -> None:
    away = HttpCandles(f"http://127.0.0.1:{free_port()}/", poll_seconds=0.05, timeout_seconds=1.0)
    with pytest.raises(TransientError, match="does not answer"):
        away.fetch("BTC-USD", after_ms=0, limit=10)
    waiting = threading.Event()
    exchange.answer = lambda *_: (waiting.wait(10.0), (200, b""))[1]  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="does not answer"):
        source(exchange, timeout_seconds=0.2).fetch("BTC-USD", after_ms=0, limit=10)
    waiting.set()


def test_one_symbol_in_trouble_does_not_keep_the_other(exchange: Exchange) -> None:
    exchange.faults = [(500, b"")]
    bars = source(exchange).bars({"BTC-USD": None, "ETH-USD": None}, threading.Event())
    events = [next(bars) for _ in range(11)]
    assert isinstance(events[0], Trouble)
    assert {event.symbol for event in events[1:] if isinstance(event, Given)} == {"ETH-USD"}


def test_newest_bars_are_asked_for_by_number(exchange: Exchange) -> None:
    assert minutes([Given("", raw, past=False) for raw in source(exchange).newest("BTC-USD", 4)]) == [6, 7, 8, 9]
