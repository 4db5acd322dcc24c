"""An exchange on loopback that speaks as Coinbase and Binance do, to whoever asks at their paths.

with LocalExchange({"BTC-USD": (stamps, values)}) as exchange:
client.urls["api"]["rest"] = exchange.url               # scheme and host alone: the paths are the exchanges' own
exchange.advance(minutes=5)                             # five more bars have closed

Each market is listed by every exchange, under that exchange's name of it: BTC-USD is BTC-USD at Coinbase and BTCUSD at
Binance. Its state lives here, so it outlives a client that is killed.

What does not belong here: what an exchange calls things (coinbase.py, binance.py), what a market shows (listed.py).
"""

import contextlib
import email.utils
import socket
import socketserver
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tests.exchange.binance import Binance
from tests.exchange.coinbase import Coinbase
from tests.exchange.listed import MINUTE_MS, Listed
from tests.exchange.wire import Dialect, Kind, Question, Refused, as_json

DIALECTS: tuple[Dialect, ...] = (Coinbase(), Binance())


@dataclass
class Request:
    """One request that came.

    Attributes:
        exchange: as ccxt calls it; "" where the path is nobody's.
        at: when it came, seconds of this machine's monotonic clock.
        now_ms: when it came by the exchange's clock.
        question: what was asked, for candles that were understood.
        answer: "page", "ok", or why it was refused, in a word or two.
        rows: how many bars were written.
    """

    exchange: str
    kind: Kind
    path: str
    query: dict[str, str]
    at: float
    now_ms: int
    question: Question | None = None
    answer: str = ""
    status: int = 0
    rows: int = 0


@dataclass(frozen=True)
class _Reply:
    status: int
    body: bytes
    content_type: str = "application/json; charset=utf-8"
    headers: str = ""


class LocalExchange:
    """Serves from entering the context to leaving it.

    Attributes:
        url: scheme and host, without a path.
        requests: every one that came, oldest first.
        skew_ms: exchange minus `now_ms`; the exchange lives by its own clock, and says it.

    Args:
        markets: open times in ms, int64 [N], and open, high, low, close, volume, float64 [N, 5], sorted and unique.
        now_ms: the moment at which it begins; without one, when the newest bar of all markets has just closed.
    """

    def __init__(
        self, markets: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]], *, now_ms: int | None = None
    ) -> None:
        self.listed = {symbol: Listed(symbol, *bars) for symbol, bars in markets.items()}
        newest = max((one.last_ms for one in self.listed.values() if one.last_ms is not None), default=0)
        self._base_ms: float = newest + MINUTE_MS if now_ms is None else now_ms
        self._speed, self._since = 0.0, time.monotonic()
        self.skew_ms = 0
        self.requests: list[Request] = []
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def now_ms(self) -> int:
        """What the time is, before the exchange's own skew."""
        return int(self._base_ms + (time.monotonic() - self._since) * 1000 * self._speed)

    def be_at(self, now_ms: float, *, speed: float = 0.0) -> None:
        """It is `now_ms`, and from here `speed` seconds pass in a second: 0 stands still, 1 runs as clocks do."""
        self._base_ms, self._speed, self._since = now_ms, speed, time.monotonic()

    def advance(self, *, minutes: float = 0, ms: int = 0) -> None:
        """So much time passes at once."""
        self.be_at(self.now_ms + minutes * MINUTE_MS + ms, speed=self._speed)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()

    def answer(self, target: str) -> _Reply:
        """What is answered to a GET of this target."""
        parts = urllib.parse.urlsplit(target)
        path, query = urllib.parse.unquote(parts.path), dict(urllib.parse.parse_qsl(parts.query))
        dialect, kind = _whose(path)
        name = "" if dialect is None else dialect.name
        request = Request(name, kind, path, query, time.monotonic(), self.now_ms + self.skew_ms)
        self.requests.append(request)
        reply = self._reply(dialect, request)
        request.status = reply.status
        return reply

    def _reply(self, dialect: Dialect | None, request: Request) -> _Reply:
        if dialect is None:
            request.answer = "no such path"
            return _Reply(404, b"Not Found", "text/plain")
        try:
            text = self._right_answer(dialect, request)
        except Refused as refused:
            request.answer = refused.why
            return _Reply(refused.status, as_json(refused.body).encode())
        return _Reply(200, text.encode())

    def _right_answer(self, dialect: Dialect, request: Request) -> str:
        if request.kind != "candles":
            text = as_json(dialect.other(request.path, request.query, self.listed, request.now_ms))
            request.answer = "ok"
            return text
        question = dialect.question(request.path, request.query, self.listed, request.now_ms)
        rows = self.listed[question.symbol].rows(
            question.first_ms, question.last_ms, question.limit, request.now_ms, from_the_end=question.from_the_end
        )
        rows = [row for row in rows if row[0] > question.after_ms]
        request.question, request.answer, request.rows = question, "page", len(rows)
        return dialect.page(question, rows)


def _whose(path: str) -> tuple[Dialect | None, Kind]:
    for dialect in DIALECTS:
        kind = dialect.kind(path)
        if kind is not None:
            return dialect, kind
    return None, "other"


class _Server(socketserver.ThreadingTCPServer):
    """A thread a connection; the end of the server is the end of all of them."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def _handler_of(exchange: LocalExchange) -> type[socketserver.StreamRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # clients are killed and hang up: that is what they are here for
                while line := self.rfile.readline():
                    while self.rfile.readline() not in (b"\r\n", b"\n", b""):
                        pass
                    method, target = line.decode("latin-1").split(" ")[:2]
                    reply = exchange.answer(target) if method == "GET" else _Reply(405, b"", "text/plain")
                    self.request.sendall(_head(reply, len(reply.body)) + reply.body)

    return Handler


def _head(reply: _Reply, length: int) -> bytes:
    date = email.utils.formatdate(usegmt=True)
    return (
        f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Error')}\r\nDate: {date}\r\n{reply.headers}"
        f"Content-Type: {reply.content_type}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}
