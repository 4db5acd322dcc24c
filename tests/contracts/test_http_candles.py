"""Live candles over HTTP, against a real server on loopback."""

import json
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models_lib.errors import TransientError
from models_lib.runtime.served_symbol import ServedSymbol
from models_lib.runtime.sources import Given, Trouble
from tasks.adapters.http_candles import HttpCandles
from tests.contracts.live_bars import CandleServer, Poll, Served
from tests.ports import free_port

T0 = 1_767_225_600_000
MINUTE = 60_000
Answer = Callable[[str, int, int], tuple[int, bytes]]


def bar(minute: int) -> list[float]:
    return [T0 + minute * MINUTE, 100.0, 101.0, 99.0, 100.5, 3.0]


class Exchange:
    """A server with closed bars, and with faults that are planted."""

    def __init__(self) -> None:
        self.candles: list[list[float]] = [bar(minute) for minute in range(10)]
        self.faults: list[tuple[int, bytes]] = []
        self.asked: list[tuple[str, int, int]] = []
        self.port = free_port()
        self._server = CandleServer(self.port, lambda *asked: self.answer(*asked))  # noqa: PLW0108 - tests replace it
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


def serving(exchange: Exchange, folder: Path, *, decided: int | None = None) -> Served:
    return Served(source(exchange), folder, decided=decided)


@pytest.fixture
def served(exchange: Exchange, tmp_path: Path) -> Served:
    served = serving(exchange, tmp_path)
    assert served.poll().past == list(range(10))
    return served


def test_first_answer_fills_the_window_and_new_bars_are_decided_on(exchange: Exchange, served: Served) -> None:
    assert served.poll() == Poll()
    exchange.candles += [bar(10), bar(11)]
    assert served.poll() == Poll(new=[10, 11])
    assert exchange.asked[-1][1] == T0 + 9 * MINUTE
    served.stop.set()
    assert [event for event in served.events if event is not None] == []


def test_bars_missed_while_down_are_to_be_decided_on(exchange: Exchange, tmp_path: Path) -> None:
    assert serving(exchange, tmp_path, decided=6).poll() == Poll(past=list(range(7)), new=[7, 8, 9])


@pytest.mark.parametrize("stamp", [4_000_000_020_000, T0 * 1_000, 10**400], ids=["2096", "microseconds", "digits"])
def test_garbage_time_neither_silences_the_symbol_nor_keeps_later_bars(
    exchange: Exchange, served: Served, stamp: int
) -> None:
    garbage = [stamp, *bar(10)[1:]]
    exchange.candles.append(garbage)
    now_ms = T0 + 12 * MINUTE
    poll = served.poll(now_ms=now_ms)
    assert (poll.new, len(poll.refused)) == ([], 1)
    exchange.candles.append(bar(10))
    assert served.poll(now_ms=now_ms).new == [10]
    exchange.candles.remove(garbage)
    exchange.candles.append(bar(11))
    assert served.poll(now_ms=now_ms) == Poll(new=[11])
    assert served.symbol.window.hole is None


def test_bar_that_the_hosts_clock_refused_is_served_when_its_time_has_come(exchange: Exchange, served: Served) -> None:
    exchange.candles.append(bar(10))
    assert "check this host's clock" in served.poll(now_ms=T0 + 11 * MINUTE - 1).refused[0]
    assert served.poll(now_ms=T0 + 11 * MINUTE) == Poll(new=[10])
    assert served.symbol.window.hole is None


def test_clock_that_was_wrong_at_the_start_costs_no_window(exchange: Exchange, tmp_path: Path) -> None:
    served = serving(exchange, tmp_path)
    assert len(served.poll(now_ms=T0).refused) == 10
    assert served.poll(now_ms=T0 + 10 * MINUTE) == Poll(past=list(range(10)))


def test_damaged_bar_that_is_mended_at_the_next_question_is_served(exchange: Exchange, served: Served) -> None:
    exchange.candles.append([*bar(10)[:4], -1.0, 3.0])
    assert "close must be above zero" in served.poll().refused[0]
    exchange.candles[-1] = bar(10)
    assert served.poll() == Poll(new=[10])
    assert served.symbol.window.hole is None


def test_damaged_bar_that_stays_so_keeps_no_later_one(exchange: Exchange, served: Served) -> None:
    exchange.candles.append([*bar(10)[:4], -1.0, 3.0])
    served.poll()
    exchange.candles.append(bar(11))
    assert served.poll().new == [11]
    assert served.symbol.window.hole is not None
    exchange.candles.append(bar(12))
    assert served.poll() == Poll(new=[12]), "it is not asked for any more"


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
    exchange: Exchange, tmp_path: Path, fault: tuple[int, bytes], sentence: str
) -> None:
    exchange.faults = [fault]
    served = serving(exchange, tmp_path)
    (trouble,) = served.poll().troubles
    assert re.search(sentence, trouble), trouble
    assert served.poll() == Poll(past=list(range(10)))


def test_server_that_is_away_or_silent_is_passing_trouble(exchange: Exchange) -> None:
    away = HttpCandles(f"http://127.0.0.1:{free_port()}/", poll_seconds=0.05, timeout_seconds=1.0)
    with pytest.raises(TransientError, match="does not answer"):
        away.fetch("BTC-USD", after_ms=0, limit=10)
    waiting = threading.Event()
    exchange.answer = lambda *_: (waiting.wait(10.0), (200, b""))[1]  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="does not answer"):
        source(exchange, timeout_seconds=0.2).fetch("BTC-USD", after_ms=0, limit=10)
    waiting.set()


@pytest.mark.parametrize(
    ("before", "after"), [(b"OK\r\nX-Slow: ", b"\r\n\r\n"), (b"OK\r\n\r\n", b"")], ids=["head", "body"]
)
def test_answer_that_comes_byte_by_byte_ends_with_the_time_out(before: bytes, after: bytes) -> None:
    """Each byte comes well within the time-out."""
    told, left, ended = threading.Event(), threading.Event(), threading.Event()

    class Dripping(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                self.request.sendall(b"HTTP/1.0 200 " + before)
                for _ in range(400):
                    if told.wait(0.05):
                        return
                    self.request.sendall(b" ")
                ended.set()
                self.request.sendall(after + b'{"symbol": "BTC-USD", "candles": []}')
            except OSError:
                left.set()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dripping) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        away = HttpCandles(f"http://127.0.0.1:{server.server_address[1]}/", poll_seconds=1.0, timeout_seconds=0.3)
        with pytest.raises(TransientError, match="does not answer"):
            away.fetch("BTC-USD", after_ms=0, limit=10)
        assert not ended.is_set()
        if not after:
            assert left.wait(10.0), "nobody listens any more"
        told.set()
        server.shutdown()


def test_one_symbol_in_trouble_does_not_keep_the_other(exchange: Exchange, tmp_path: Path) -> None:
    exchange.faults = [(500, b"")]
    symbols = {name: ServedSymbol(name, tmp_path, fill_no_trade_minutes=5) for name in ("BTC-USD", "ETH-USD")}
    bars = source(exchange).bars(symbols, threading.Event())
    events = [next(bars) for _ in range(11)]
    assert isinstance(events[0], Trouble)
    assert {event.symbol for event in events[1:] if isinstance(event, Given)} == {"ETH-USD"}


def test_newest_bars_are_asked_for_by_number(exchange: Exchange) -> None:
    assert source(exchange).newest("BTC-USD", 4) == [bar(minute) for minute in (6, 7, 8, 9)]
