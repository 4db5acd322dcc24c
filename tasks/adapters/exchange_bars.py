"""Closed candles from an exchange as they close: a `BarSource` that asks when there is something to be had.

A minute is asked for when it has closed by the exchange's own clock, for certain: that clock is measured at the start, every
ten minutes, and when this machine's clock was set or the machine slept. A minute that is not there yet is asked for
again, after a second, two, four and so on until the next one closes: then nobody traded in it, or it comes late.

What the window wants is asked for page by page, oldest first. A question that fails goes on where it stopped, and the bars of
all its pages are given together. The newest of the bars that were given are asked for again with each question: one that came late, or
whose values changed, is given then, and the window says so and keeps what it has.

What does not belong here: how an exchange is spoken to (tasks.adapters.exchange), when it pays to ask after trouble
(polling.py), what a bar can be (models_lib.runtime.bars).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from queue import Empty, SimpleQueue
from threading import Event, Lock
from typing import Final

from models_lib.candles.bars import Span, floor_minute
from models_lib.candles.exchange import Exchange
from models_lib.candles.schema import BAR_MS
from models_lib.errors import CrpbotError, TransientError
from models_lib.features import SERVING_BARS
from models_lib.runtime.sources import ClockSkew, Given, Reached, Trouble
from tasks.adapters.polling import MACHINE_TIME, Polling, Time

_SETTLE_SECONDS: Final = 1.0
"""A minute's last trades need a moment until they are in its candle: one that is asked for at once may still change."""
_AGAIN_SECONDS: Final = 1.0
_ROUNDING_SECONDS: Final = 0.005
"""Who wakes a hair too early finds the minute still running."""
_BARS_AGAIN: Final = 3
"""So many bars before the new ones are asked for again; it costs no request."""
_PATIENT_SECONDS: Final = (1.0, 2.0, 4.0, 8.0)
"""Pauses before the newest bars are asked for again; a deployment waits for them."""
_CLOCK_SECONDS: Final = 600.0
"""How long a measurement of the exchange's clock is good for."""
_VAGUE_CLOCK_SECONDS: Final = 60.0
"""How long one that is known badly, or that could not be renewed, is good for."""
_VAGUE_MS: Final = 1_000.0
_SET_MS: Final = 500.0
"""This machine's two clocks went apart by so much: one was set, or the machine slept."""


@dataclass(frozen=True)
class _Measured:
    """The exchange's clock, by this machine's that never goes back.

    Attributes:
        ahead_ms: exchange minus that clock.
        uncertain_ms: how well that is known.
        set_ms: what people's clock was ahead of that clock.
        due_seconds: when it is to be measured again.
    """

    ahead_ms: float
    uncertain_ms: float
    set_ms: float
    due_seconds: float


class _ExchangeClock:
    """What the time is at the exchange. Safe to use from several threads."""

    def __init__(self, exchange: Exchange, machine: Time) -> None:
        self._exchange = exchange
        self._machine = machine
        self._measuring = Lock()
        self._measured: _Measured | None = None
        self.unsaid: SimpleQueue[ClockSkew] = SimpleQueue()
        """Measurements that were not told yet."""

    def closed_ms(self) -> float:
        """A time that was certainly over when this was asked; measures the clock where that is due.

        Raises:
            CrpbotError: it was never measured, and cannot be now.
        """
        with self._measuring:
            if self._measured is None or self._is_due(self._measured):
                self._measure()
        return self.known_ms()

    def known_ms(self) -> float:
        """The same by what was measured; it was."""
        measured = self._measured
        assert measured is not None, "closed_ms() came first"
        return self._steady_ms() + measured.ahead_ms - measured.uncertain_ms - _SETTLE_SECONDS * 1e3

    def _is_due(self, measured: _Measured) -> bool:
        was_set = abs(self._machine.epoch_ms() - self._steady_ms() - measured.set_ms) > _SET_MS
        return was_set or self._machine.seconds() >= measured.due_seconds

    def _measure(self) -> None:
        try:
            clock = self._exchange.clock()
            if self._measured is None:  # the very first answer comes late: ccxt is imported, and a connection made
                clock = min(clock, self._exchange.clock(), key=attrgetter("uncertain_ms"))
        except CrpbotError:
            if self._measured is None:
                raise
            # The bars are what counts, and the clock of ten minutes ago is still a good one. Where this machine's was set,
            # that is taken for seen: otherwise every question would wait for this one.
            due_seconds = self._machine.seconds() + _VAGUE_CLOCK_SECONDS
            self._measured = replace(self._measured, set_ms=self._set_ms(), due_seconds=due_seconds)
            return
        good_for = _CLOCK_SECONDS if clock.uncertain_ms <= _VAGUE_MS else _VAGUE_CLOCK_SECONDS
        self._measured = _Measured(
            ahead_ms=self._set_ms() + clock.skew_ms,
            uncertain_ms=clock.uncertain_ms,
            set_ms=self._set_ms(),
            due_seconds=self._machine.seconds() + good_for,
        )
        self.unsaid.put(ClockSkew(clock.skew_ms, clock.uncertain_ms))

    def _steady_ms(self) -> float:
        return self._machine.seconds() * 1e3

    def _set_ms(self) -> float:
        return self._machine.epoch_ms() - self._steady_ms()


@dataclass
class _Asked:
    """What is known of one symbol between two questions.

    Attributes:
        given: the newest bars that were given, by open time.
        kept: rows of the pages of a question that failed later on.
        kept_to_ms: where the next one begins; None where nothing is kept.
        missed_ms: the minute that was not there when it was asked for.
        missed_times: how often.
    """

    given: dict[int, object] = field(default_factory=dict)
    kept: list[list[object]] = field(default_factory=list)
    kept_to_ms: int | None = None
    missed_ms: int | None = None
    missed_times: int = 0


class ExchangeBars:
    """Closed bars from an exchange.

    Args:
        exchange: not asked yet; it must not wait for long by itself.
        connections: questions under way at once.
        machine: its clocks.
    """

    def __init__(self, exchange: Exchange, *, connections: int, machine: Time = MACHINE_TIME) -> None:
        self._exchange = exchange
        self._connections = connections
        self._machine = machine
        self._clock = _ExchangeClock(exchange, self._machine)
        self._asked: dict[str, _Asked] = {}

    def bars(self, reached: Mapping[str, Reached], stop: Event) -> Iterator[Given | Trouble | ClockSkew | None]:
        """The newest bars for the windows, then what closes, until `stop` is set."""
        self._asked = {symbol: _Asked() for symbol in reached}
        polling = Polling(self, connections=self._connections, again_seconds=_AGAIN_SECONDS, machine=self._machine)
        for event in polling.bars(reached, stop):
            yield from self._measurements()
            yield event

    def newest(self, symbol: str, bars: int) -> list[object]:
        """The newest closed bars that the exchange has, asked for a few times where it must be.

        Raises:
            CrpbotError: it gives no usable answer, again and again.
        """
        asked, stop = _Asked(), Event()
        for pause_seconds in _PATIENT_SECONDS:
            try:
                return self._newest(symbol, bars, asked)
            except TransientError as error:
                alone_seconds = error.retry_after_seconds or 0.0
                if alone_seconds > _PATIENT_SECONDS[-1]:
                    raise
                self._machine.wait(stop, max(pause_seconds, alone_seconds))
        return self._newest(symbol, bars, asked)

    def _newest(self, symbol: str, bars: int, asked: _Asked) -> list[object]:
        end_ms = floor_minute(int(self._clock.closed_ms()))
        self._read(symbol, asked, Span(self._oldest_ms(end_ms, bars), end_ms), Event())
        return _in_order(asked.kept, end_ms)

    def ask(self, symbol: str, after_ms: int | None, stop: Event) -> list[object]:
        """The closed bars after a time, and those before it that have changed since they were given."""
        asked = self._asked[symbol]
        end_ms = floor_minute(int(self._clock.closed_ms()))
        if after_ms is not None and after_ms + BAR_MS >= end_ms:
            return []
        first_ms = self._oldest_ms(end_ms, SERVING_BARS)
        if after_ms is not None:
            first_ms = max(first_ms, after_ms - (_BARS_AGAIN - 1) * BAR_MS)
        self._read(symbol, asked, Span(first_ms, end_ms), stop)
        rows, asked.kept, asked.kept_to_ms = asked.kept, [], None
        return _news(_in_order(rows, end_ms)[-SERVING_BARS:], asked.given, after_ms)

    def pause_seconds(self, symbol: str, newest_ms: int | None) -> float:
        """Until the next minute has closed, or a moment where the last one is not there yet."""
        known_ms = self._clock.known_ms()
        last_ms = floor_minute(int(known_ms)) - BAR_MS
        until_next = (last_ms + 2 * BAR_MS - known_ms) / 1e3 + _ROUNDING_SECONDS
        if newest_ms is not None and newest_ms >= last_ms:
            return until_next
        asked = self._asked[symbol]
        asked.missed_times = asked.missed_times + 1 if asked.missed_ms == last_ms else 0
        asked.missed_ms = last_ms
        return min(_AGAIN_SECONDS * 2.0**asked.missed_times, until_next)

    def _oldest_ms(self, end_ms: int, bars: int) -> int:
        """Where so many minutes begin, or what the exchange still has of them."""
        history = self._exchange.history_minutes
        return end_ms - (bars if history is None else min(bars, history)) * BAR_MS

    def _read(self, symbol: str, asked: _Asked, span: Span, stop: Event) -> None:
        """Adds the rows of the span to what is kept, page by page, going on where an earlier question stopped."""
        start_ms = span.start_ms if asked.kept_to_ms is None else max(span.start_ms, asked.kept_to_ms)
        page_ms = self._exchange.page_bars * BAR_MS
        for page_ms_from in range(start_ms, span.end_ms, page_ms):
            if stop.is_set():
                return
            page = Span(page_ms_from, min(page_ms_from + page_ms, span.end_ms))
            asked.kept += self._exchange.page(symbol, page).rows
            asked.kept_to_ms = page.end_ms

    def _measurements(self) -> Iterator[ClockSkew]:
        while True:
            try:
                yield self._clock.unsaid.get_nowait()
            except Empty:
                return


def _in_order(rows: list[list[object]], end_ms: int) -> list[object]:
    """The rows by time, each once, without those of minutes that are not over; what has no time stands at the end."""
    timed = sorted((row for row in rows if _opened(row) is not None), key=lambda row: _opened(row) or 0)
    ordered = [row for place, row in enumerate(timed) if place == 0 or row != timed[place - 1]]
    running = range(end_ms, end_ms + 3 * BAR_MS)
    return [
        *(row for row in ordered if _opened(row) not in running),
        *(row for row in rows if _opened(row) is None),
    ]


def _news(rows: list[object], given: dict[int, object], after_ms: int | None) -> list[object]:
    """The rows after a time, and those before it that came late or changed; `given` is brought up to date."""
    oldest_ms = min(given, default=None)
    news = []
    for row in rows:
        opened = _opened(row)
        is_new = opened is None or after_ms is None or opened > after_ms
        came_late = oldest_ms is not None and opened is not None and opened > oldest_ms and opened not in given
        if is_new or came_late or (opened in given and given[opened] != row):
            news.append(row)
        if opened is not None:
            given[opened] = row
    for opened in sorted(given)[: -2 * _BARS_AGAIN]:
        del given[opened]
    return news


def _opened(row: object) -> int | None:
    return row[0] if isinstance(row, list) and row and type(row[0]) is int else None
