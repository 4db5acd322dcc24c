"""What the tests of live bars share: symbols that are served from a source, and two worlds that close a minute after another.

In both worlds minute 0 opens at the same time and every minute has the same bar, so one suite can be run over them.

What does not belong here: what must hold of a source (the tests).
"""

import http.server
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, Protocol, Self

from models_lib.candles.bars import Span
from models_lib.candles.exchange import Answer, Clock, Exchange, Market
from models_lib.config.exchange_section import ExchangeName, ExchangeSection
from models_lib.errors import DataError
from models_lib.runtime.served_symbol import ServedSymbol
from models_lib.runtime.sources import BarSource, ClockSkew, Trouble
from tasks.adapters.exchange.ccxt_exchange import open_exchange
from tasks.adapters.exchange_bars import ExchangeBars
from tasks.adapters.http_candles import HttpCandles
from tests.exchange.faults import Fault, outage
from tests.exchange.local_exchange import LocalExchange
from tests.exchange.sample_bars import FIRST_MS, Arrays, made_up_bars
from tests.ports import free_port

MINUTE = 60_000
SYMBOLS = ("BTC-USD", "ETH-USD")


@dataclass
class Poll:
    """What came of a source until it had nothing more to give.

    Attributes:
        past: minutes that the windows took, and that are not decided on.
        new: those that are.
        refused: what the windows said of the others.
        troubles: of the source.
        skews: of its clock.
    """

    past: list[int] = field(default_factory=list)
    new: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    skews: list[ClockSkew] = field(default_factory=list)

    def add(self, other: "Poll") -> None:
        """What came after it."""
        for name, values in vars(other).items():
            getattr(self, name).extend(values)


class Served:
    """Symbols that are served from a source, their windows included.

    Args:
        source: of their bars.
        folder: an empty host folder.
        decided: the newest minute that an earlier process decided on.
        symbols: which; `past` and `new` are of the first of them.
        zero_ms: when minute 0 opens.
    """

    def __init__(
        self,
        source: BarSource,
        folder: Path,
        *,
        decided: int | None = None,
        symbols: tuple[str, ...] = ("BTC-USD",),
        zero_ms: int = FIRST_MS,
    ) -> None:
        self.stop = Event()
        self.zero_ms = zero_ms
        self.symbols = {name: ServedSymbol(name, folder, fill_no_trade_minutes=5) for name in symbols}
        self.symbol = self.symbols[symbols[0]]
        for symbol in self.symbols.values():
            symbol.decided_ms = None if decided is None else zero_ms + decided * MINUTE
        self.events = source.bars(self.symbols, self.stop)

    @property
    def newest(self) -> int:
        """The newest minute that all windows have; -1 where one has none."""
        found = [symbol.newest_ms for symbol in self.symbols.values()]
        return -1 if None in found else min((ms - self.zero_ms) // MINUTE for ms in found if ms is not None)

    def poll(self, *, now_ms: int | None = None) -> Poll:
        """Takes all that comes until there is nothing now."""
        poll = Poll()
        for event in iter(lambda: next(self.events), None):
            match event:
                case Trouble():
                    poll.troubles.append(event.sentence)
                case ClockSkew():
                    poll.skews.append(event)
                case _:
                    self._take(event.symbol, event.raw, event.past, poll, now_ms)
        return poll

    def _take(self, name: str, raw: object, past: bool, poll: Poll, now_ms: int | None) -> None:
        try:
            taken = self.symbols[name].window.take(raw, now_ms=now_ms)
        except DataError as fault:
            poll.refused.append(str(fault))
            return
        assert taken is not None, "nothing that the window has is given again"
        if name == self.symbol.name:
            (poll.past if past else poll.new).append((taken.open_ms - self.zero_ms) // MINUTE)


class World(Protocol):
    """Where minutes close. `source` gives what has closed; with each poll the world may go on."""

    bars: Mapping[str, Arrays]

    def source(self) -> Any:
        """A new source of this world's bars."""

    def reach(self, minute: int) -> None:
        """This minute will have closed soon; none after it."""

    def fail(self, times: int, *, symbol: str) -> None:
        """So many questions about a symbol come to nothing."""

    def cut_off(self, minutes: int) -> None:
        """Nobody answers, until so many more minutes have closed."""

    def leave_out(self, first: int, minutes: int) -> None:
        """These minutes never come."""

    def hang(self) -> None:
        """The next question is not answered at all."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def run_until(world: World, served: Served, minute: int, *, polls: int = 200) -> Poll:
    """What came until every window had this minute."""
    seen = Poll()
    for _ in range(polls):
        world.reach(minute)
        seen.add(served.poll())
        if served.newest >= minute:
            return seen
    raise AssertionError(f"minute {minute} did not come, {served.newest} is the newest: {seen}")


def made_up_markets(minutes: int) -> dict[str, Arrays]:
    """A market a symbol."""
    return {name: made_up_bars(minutes, seed=seed) for seed, name in enumerate(SYMBOLS)}


class PlayedTime:
    """This machine's time, which jumps where it would be waited for; the exchange's goes along, where there is one."""

    def __init__(self, exchange: LocalExchange | None = None) -> None:
        self._exchange = exchange
        self._exchange_ahead_ms = 0.0
        self.jumped_seconds = 0.0
        self.set_seconds = 0.0
        """By how much somebody set the clock."""

    def begin(self) -> None:
        """From now on the exchange's time runs as this machine's does."""
        assert self._exchange is not None
        self._exchange_ahead_ms = self._exchange.now_ms - self.seconds() * 1e3
        self._go_along()

    def _go_along(self) -> None:
        if self._exchange is not None:
            self._exchange.be_at(self._exchange_ahead_ms + self.seconds() * 1e3, speed=1.0)

    def seconds(self) -> float:
        return time.monotonic() + self.jumped_seconds

    def epoch_ms(self) -> float:
        return (time.time() + self.jumped_seconds + self.set_seconds) * 1e3

    def wait(self, _stop: Event, seconds: float) -> None:
        self.jumped_seconds += max(0.0, seconds)
        self._go_along()


# Closed bars over HTTP


class CandleServer(http.server.ThreadingHTTPServer):
    """Answers questions for closed bars, in the form of our own.

    Args:
        port: on loopback.
        answer: status and body for a symbol, the open time after which bars are wanted, and the most of them.
    """

    daemon_threads = True

    def __init__(self, port: int, answer: Callable[[str, int, int], tuple[int, bytes]]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                status, body = answer(query["symbol"][0], int(query["after"][0]), int(query["limit"][0]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, *_: object) -> None:
        """A client that went away is what some tests are about."""


class HttpWorld:
    """A server of our own form."""

    def __init__(self, minutes: int, _folder: Path, *, closed: int) -> None:
        self.bars = made_up_markets(minutes)
        self._last = closed - 1
        self._hidden: set[int] = set()
        self._failing: dict[str, int] = {}
        self._away_until = -1
        self._hang = False
        self._ended = Event()
        self._port = free_port()
        self._server = CandleServer(self._port, self.answer)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def answer(self, symbol: str, after_ms: int, limit: int) -> tuple[int, bytes]:
        if self._hang:
            self._ended.wait(30.0)
        if self._failing.get(symbol, 0) > 0:
            self._failing[symbol] -= 1
            return 503, b""
        if self._last < self._away_until:
            self._last += 1
            return 503, b""
        stamps, values = self.bars[symbol]
        rows = [[stamp, *row] for stamp, row in zip(stamps.tolist(), values.tolist(), strict=True)]
        seen = [row for minute, row in enumerate(rows[: self._last + 1]) if minute not in self._hidden]
        return 200, json.dumps(
            {"symbol": symbol, "candles": [row for row in seen if row[0] > after_ms][-limit:]}
        ).encode()

    def source(self) -> HttpCandles:
        url = f"http://127.0.0.1:{self._port}/candles"
        return HttpCandles(url, poll_seconds=5.0, timeout_seconds=10.0, machine=PlayedTime())

    def reach(self, minute: int) -> None:
        if self._last >= self._away_until:
            self._last = max(self._last, minute)

    def fail(self, times: int, *, symbol: str) -> None:
        self._failing[symbol] = times

    def cut_off(self, minutes: int) -> None:
        self._away_until = self._last + minutes

    def leave_out(self, first: int, minutes: int) -> None:
        self._hidden.update(range(first, first + minutes))

    def hang(self) -> None:
        self._hang = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()


# An exchange


class _InPlayedTime:
    """The real exchange's adapter; its clock is held against the played one."""

    def __init__(self, exchange: Exchange, machine: PlayedTime) -> None:
        self._exchange = exchange
        self._machine = machine

    @property
    def name(self) -> str:
        return self._exchange.name

    @property
    def page_bars(self) -> int:
        return self._exchange.page_bars

    @property
    def history_minutes(self) -> int | None:
        return self._exchange.history_minutes

    def market(self, symbol: str) -> Market:
        return self._exchange.market(symbol)

    def page(self, symbol: str, span: Span) -> Answer:
        return self._exchange.page(symbol, span)

    def clock(self) -> Clock:
        read = self._exchange.clock()
        ahead_ms = (self._machine.jumped_seconds + self._machine.set_seconds) * 1e3
        return Clock(skew_ms=read.skew_ms - ahead_ms, uncertain_ms=read.uncertain_ms)


class ExchangeWorld:
    """The local exchange, asked through ccxt as the real one is."""

    name: ExchangeName = "coinbase"

    def __init__(self, minutes: int, folder: Path, *, closed: int) -> None:
        self.bars = made_up_markets(minutes)
        # Some seconds later: nobody asks for a minute that has just closed.
        self.exchange = LocalExchange(self.bars, now_ms=FIRST_MS + closed * MINUTE + 5_000)
        self.machine = PlayedTime(self.exchange)
        self._folder = folder

    def source(self) -> ExchangeBars:
        section = ExchangeSection(name=self.name, base_url=self.exchange.url, requests_per_second=1000.0)
        asked = open_exchange(section, pace_folder=self._folder / "pace", longest_wait_seconds=1.0)
        return ExchangeBars(_InPlayedTime(asked, self.machine), connections=4, machine=self.machine)

    def reach(self, minute: int) -> None:
        """Time passes by itself where it is waited for."""

    def fail(self, times: int, *, symbol: str) -> None:
        self.exchange.script(Fault("error", times=times, symbol=symbol))

    def cut_off(self, minutes: int) -> None:
        self.exchange.script(outage(self.exchange.now_ms + minutes * MINUTE))

    def leave_out(self, first: int, minutes: int) -> None:
        for symbol in self.bars:
            self.exchange.market(symbol).hide(FIRST_MS + first * MINUTE, FIRST_MS + (first + minutes) * MINUTE)

    def hang(self) -> None:
        self.exchange.script(Fault("hang"))

    def __enter__(self) -> Self:
        self.exchange.__enter__()
        self.machine.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.exchange.__exit__(kind, error, trace)


class BinanceWorld(ExchangeWorld):
    """The same by Binance's wire."""

    name: ExchangeName = "binance"


WORLDS: dict[str, type[HttpWorld | ExchangeWorld]] = {
    "http": HttpWorld,
    "coinbase": ExchangeWorld,
    "binance": BinanceWorld,
}
