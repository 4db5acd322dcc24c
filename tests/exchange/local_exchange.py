"""An exchange on loopback that speaks as Coinbase, Binance, Kraken and Bybit do, to whoever asks at their paths.

with LocalExchange({"BTC-USD": (stamps, values)}) as exchange:
client.urls["api"]["rest"] = exchange.url               # scheme and host alone: the paths are the exchanges' own
exchange.advance(minutes=5)                             # five more bars have closed
exchange.script(Fault("busy", retry_after=2), Fault("cut_json", after=3), outage())
exchange.storm(Storm(seed=1, share=0.05))               # one answer in twenty is spoiled or odd
exchange.heal()
exchange.market("BTC-USD").hide(first_ms, end_ms)       # minutes that are never served
exchange.requests.impatient()                           # must be empty

Each market is listed by every exchange, under that exchange's name of it: BTC-USD is BTC-USD at Coinbase, BTCUSD at Binance,
XXBTZUSD at Kraken. Its state lives here, so it outlives a client that is killed.

What does not belong here: what an exchange calls things and how it answers (a module each), what a market shows at which
moment (listed.py), what goes wrong (faults.py), how bytes get there (loopback.py).
"""

import email.utils
import math
import time
import urllib.parse
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tests.exchange.binance import Binance
from tests.exchange.bybit import Bybit
from tests.exchange.coinbase import Coinbase
from tests.exchange.faults import BESIDE, Fault, Script, Storm, damaged
from tests.exchange.kraken import Kraken
from tests.exchange.ledger import Ledger, Request
from tests.exchange.listed import MINUTE_MS, Listed, Row
from tests.exchange.loopback import Loopback, Reply
from tests.exchange.wire import Dialect, Kind, Question, RefusedError, as_json

DIALECTS: tuple[Dialect, ...] = (Coinbase(), Binance(), Kraken(), Bybit())
_AWAY = b"<html><body>Service Unavailable</body></html>"
_FOR_PEOPLE = (
    b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>"
)


class LocalExchange:
    """Serves from entering the context to leaving it.

    Attributes:
        url: scheme and host, without a path.
        requests: every one that came, oldest first.
        skew_ms: exchange minus `now_ms`; the exchange lives by its own clock, and says it.
        requests_per_second: more than so many in any second are answered as busy; None is no limit.

    Args:
        markets: open times in ms, int64 [N], and open, high, low, close, volume, float64 [N, 5], sorted and unique.
        now_ms: the moment at which it begins; without one, when the newest bar of all markets has just closed.
    """

    def __init__(
        self, markets: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]], *, now_ms: int | None = None
    ) -> None:
        self._listed = {symbol: Listed(symbol, *bars) for symbol, bars in markets.items()}
        newest = max((one.last_ms for one in self._listed.values() if one.last_ms is not None), default=0)
        self.be_at(newest + MINUTE_MS if now_ms is None else now_ms)
        self.skew_ms = 0
        self.requests_per_second: int | None = None
        self.requests = Ledger()
        self._script = Script()
        self._holds: dict[str, tuple[float, float]] = {}
        self._server = Loopback(self._answer)
        self.url = self._server.url

    @property
    def now_ms(self) -> int:
        """What the time is, before the exchange's own skew."""
        base_ms, speed, since = self._clock
        return int(base_ms + (time.monotonic() - since) * 1000 * speed)

    def be_at(self, now_ms: float, *, speed: float = 0.0) -> None:
        """It is `now_ms`, and from here `speed` seconds pass in a second: 0 stands still, 1 runs as clocks do."""
        self._clock = (now_ms, speed, time.monotonic())

    def advance(self, *, minutes: float = 0, ms: int = 0) -> None:
        """So much time passes at once."""
        self.be_at(self.now_ms + minutes * MINUTE_MS + ms, speed=self._clock[1])

    def market(self, symbol: str) -> Listed:
        """What this market holds: to hide, show and revise its bars."""
        return self._listed[symbol]

    def strike_off(self, symbol: str) -> None:
        """The market is not known any more, whatever a client learned before."""
        self._listed = {name: one for name, one in self._listed.items() if name != symbol}

    def script(self, *faults: Fault) -> None:
        """These befall the requests that come from now on."""
        self._script.add(*faults)

    def storm(self, storm: Storm | None) -> None:
        """This befalls besides; None ends it."""
        self._script.storm(storm)

    def heal(self) -> None:
        """Nothing goes wrong any more; who was asked for patience is welcome again."""
        self._script.clear()
        self._holds = {}

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)

    def _answer(self, target: str) -> Reply:
        parts = urllib.parse.urlsplit(target)
        path, query = urllib.parse.unquote(parts.path), dict(urllib.parse.parse_qsl(parts.query))
        dialect, kind = _whose(path)
        name = "" if dialect is None else dialect.name
        request = Request(name, kind, path, query, time.monotonic(), self.now_ms + self.skew_ms)
        request.held = self._held(request)
        self.requests.add(request)
        reply = self._reply(dialect, request, target)
        request.status = reply.status
        self.requests.decided()
        return reply

    def _reply(self, dialect: Dialect | None, request: Request, target: str) -> Reply:
        if dialect is None:
            request.answer = "no such path"
            return Reply(404, b"Not Found", "text/plain")
        if request.held is not None:
            return self._still_busy(dialect, request)
        if self._over_the_limit(request):
            return self._busy(dialect, request, Fault("busy", retry_after=1))
        listed = self._listed
        try:
            if request.kind == "candles":
                request.question = dialect.question(request.path, request.query, listed, request.now_ms)
        except RefusedError as refused:
            return self._struck(dialect, request, listed, target, refused)
        return self._struck(dialect, request, listed, target, None)

    def _struck(
        self,
        dialect: Dialect,
        request: Request,
        listed: Mapping[str, Listed],
        target: str,
        refused: RefusedError | None,
    ) -> Reply:
        """The answer under the fault that befalls it; one that is refused for itself can be lost as any other."""
        symbol = None if request.question is None else request.question.symbol
        fault = self._script.next(dialect.name, request.kind, symbol, request.now_ms, target)
        if fault is not None:
            request.fault = request.answer = fault.kind
            instead = self._instead(dialect, request, fault)
            if instead is not None:
                return instead
        try:
            if refused is not None:
                raise refused
            body = self._body(dialect, request, listed, fault, target)
        except RefusedError as error:
            request.answer = error.why
            return Reply(error.status, as_json(error.body).encode())
        return _sent_badly(Reply(200, body.encode(), date=self._date), fault)

    def _instead(self, dialect: Dialect, request: Request, fault: Fault) -> Reply | None:
        """What comes in place of any answer; None where the answer comes, if damaged."""
        match fault.kind:
            case "busy":
                return self._busy(dialect, request, fault)
            case "error" | "outage":
                return Reply(fault.http_status, _AWAY, "text/html", date=self._date)
            case "refused":
                status, body = dialect.not_from_here()
                content_type = "text/html" if body.startswith("<") else "application/json"
                return Reply(fault.status or status, body.encode(), content_type, date=self._date)
            case "hang":
                return Reply(200, b"", sent="never")
            case "reset":
                return Reply(200, b"", sent="reset")
            case "html":
                return Reply(200, _FOR_PEOPLE, "text/html; charset=utf-8")
            case "empty":
                return Reply(200, b"")
        return None

    def _body(
        self, dialect: Dialect, request: Request, listed: Mapping[str, Listed], fault: Fault | None, target: str
    ) -> str:
        question = request.question
        if question is None:
            text = as_json(dialect.other(request.path, request.query, listed, request.now_ms))
            request.answer = request.answer or "ok"
            return text
        market = listed[question.symbol]
        rows = _rows(market, question, request.now_ms, BESIDE if fault and fault.kind == "overlapping" else 0)
        if not request.spoiled:
            rows = market.as_seen_first(rows, request.now_ms)
        rows = damaged(fault, rows, target)
        request.answer, request.rows = request.answer or "page", len(rows)
        return dialect.page(market, question, rows)

    @property
    def _date(self) -> float:
        """This machine's time as the exchange sees it: its headers are as wrong as its clock."""
        return time.time() + self.skew_ms / 1000

    def _held(self, request: Request) -> float | None:
        began, until = self._holds.get(request.exchange, (0.0, 0.0))
        return request.at - began if request.at < until else None

    def _over_the_limit(self, request: Request) -> bool:
        if self.requests_per_second is None:
            return False
        recent = [one for one in self.requests.since(request.at - 1) if one.exchange == request.exchange]
        return len(recent) > self.requests_per_second

    def _busy(self, dialect: Dialect, request: Request, fault: Fault) -> Reply:
        request.fault = request.answer = "busy"
        headers: tuple[str, ...] = ()
        if fault.retry_after is not None:
            until, text = self._patience(fault.retry_after, as_date=fault.as_date)
            self._holds[request.exchange] = (request.at, until)
            headers = (f"Retry-After: {text}",)
        return Reply(
            fault.http_status, as_json(dialect.busy(fault.http_status)).encode(), headers=headers, date=self._date
        )

    def _still_busy(self, dialect: Dialect, request: Request) -> Reply:
        """The same again, for as long as is left of it."""
        request.fault = request.answer = "busy"
        left = math.ceil(self._holds[request.exchange][1] - request.at)
        body = as_json(dialect.busy(429)).encode()
        return Reply(429, body, headers=(f"Retry-After: {left}",), date=self._date)

    def _patience(self, seconds: float, *, as_date: bool) -> tuple[float, str]:
        """Until when, by the monotonic clock, and how that is said."""
        if not as_date:
            return time.monotonic() + seconds, f"{seconds:g}"
        moment = math.ceil(self._date + seconds)
        return time.monotonic() + moment - self._date, email.utils.formatdate(moment, usegmt=True)


def _whose(path: str) -> tuple[Dialect | None, Kind]:
    for dialect in DIALECTS:
        kind = dialect.kind(path)
        if kind is not None:
            return dialect, kind
    return None, "other"


def _rows(market: Listed, question: Question, now_ms: int, beside: int) -> list[Row]:
    """What the exchange gives for a question, and `beside` minutes more on either side."""
    rows = market.rows(
        question.first_ms - beside * MINUTE_MS,
        question.last_ms + beside * MINUTE_MS,
        question.limit + 2 * beside,
        now_ms,
        from_the_end=question.from_the_end,
    )
    kept = [row for row in rows if row[0] > question.after_ms]
    return kept or rows[-1:]  # Kraken's last entry is always there, and nobody else leaves out any


def _sent_badly(reply: Reply, fault: Fault | None) -> Reply:
    match fault.kind if fault is not None else None:
        case "slow":
            assert fault is not None
            return Reply(reply.status, reply.body, date=reply.date, after_seconds=fault.seconds)
        case "cut_json":
            return Reply(reply.status, reply.body[: len(reply.body) // 2], date=reply.date)
        case "cut_body":
            return Reply(reply.status, reply.body, date=reply.date, sent="half")
    return reply
