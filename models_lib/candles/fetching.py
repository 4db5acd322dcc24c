"""Brings archives up to date: several symbols at once, several pages at once, until nothing that is wanted is missing.

A page that fails is asked for again after a pause with full jitter, while other symbols go on; a symbol whose exchange
gives no usable answer for as long as patience lasts is given up alone. Whatever came is in the archive's journal before
the next page is asked for, so that a killed fetch goes on where it was.

What does not belong here: how an exchange is spoken to and how fast (tasks.adapters.exchange), which minutes are wanted
(archive), and what a person sees of it (flows/console.py).
"""

import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from models_lib.candles.archive.archive import CandleArchive
from models_lib.candles.bars import Span, floor_minute
from models_lib.candles.exchange import Exchange
from models_lib.candles.schema import BAR_MS, DAY_MS
from models_lib.candles.symbol_fetch import Asking, ExchangeTime, Fetched, SymbolFetch
from models_lib.config import ExchangeSection
from models_lib.errors import CrpbotError, StoppedError, excerpt
from models_lib.interruption import HEARD_SECONDS, ended_by_stop

Told: TypeAlias = Fetched | CrpbotError
"""What a symbol came to: its figures, or why it was given up."""


@dataclass(frozen=True)
class Progress:
    """Where a symbol stands after one of its pages.

    Attributes:
        symbol: whose.
        done: minutes asked for and answered.
        total: minutes to be asked for, as far as it is known.
        requests: pages that were asked for, failed ones with them.
        minutes_a_second: of all symbols together since the beginning.
        seconds_left: until all symbols are done at this rate; None before the first page.
        trouble: why the newest answer was of no use; None where it was.
    """

    symbol: str
    done: int
    total: int
    requests: int
    minutes_a_second: float
    seconds_left: float | None
    trouble: str | None = None

    def words(self) -> str:
        """As in "12,000 of 1,051,200 minutes (1%), 9,100 a second, 1:54 left"."""
        share = self.done / self.total if self.total else 1.0
        waits = "" if self.trouble is None else f"; tries again: {excerpt(self.trouble)}"
        left = "" if self.seconds_left is None else f", {_clock(self.seconds_left)} left"
        return (
            f"{self.done:,} of {self.total:,} minutes ({share:.0%}), {self.minutes_a_second:,.0f} a second{left}{waits}"
        )


def newest_days(days: int, machine_ms: int, *, round_minutes: int = 1) -> Span:
    """What is wanted for the newest days, which end less than `round_minutes` ago, by this machine's clock.

    It goes on to whatever has closed by the exchange's.
    """
    return until_now(floor_minute(machine_ms) - days * DAY_MS - (round_minutes - 1) * BAR_MS, machine_ms)


def until_now(start_ms: int, machine_ms: int) -> Span:
    """From a minute on to whatever has closed by the exchange's clock, be this machine's days behind."""
    return Span(start_ms, floor_minute(machine_ms) + 7 * DAY_MS)


def bring_up_to_date(
    exchange: Exchange,
    archive: CandleArchive,
    wanted: Mapping[str, Span],
    section: ExchangeSection,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    machine_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> dict[str, Told]:
    """What each symbol came to, in the order of `wanted`; the failure of one does not stop the others.

    Args:
        exchange: is asked.
        archive: keeps what comes.
        wanted: the minutes by symbol; what is not closed yet by the exchange's clock is left out.
        section: how many requests at once, and how long the patience lasts.
        on_progress: called after each page, by one thread at a time.
        machine_ms: this machine's clock.

    Raises:
        StoppedError: a stop was asked for; what came is kept.
    """
    asking = Asking(exchange, archive, ExchangeTime(exchange, machine_ms), section)
    parts = [SymbolFetch(symbol, span, asking) for symbol, span in wanted.items()]
    return _Round(parts, on_progress).run(section.connections)


class _Round:
    """The symbols in turn, a page each, over as many threads as requests may be under way."""

    def __init__(self, parts: list[SymbolFetch], on_progress: Callable[[Progress], None]) -> None:
        self._turn = deque(parts)
        self._parts = parts
        self._on_progress = on_progress
        self._changed = threading.Condition()
        self._ended = False
        self._fault: BaseException | None = None
        self._told: dict[str, Told] = {}
        self._began = time.monotonic()

    def run(self, connections: int) -> dict[str, Told]:
        # What is logged in them belongs to the run that asked.
        contexts = [contextvars.copy_context() for _ in range(connections)]
        threads = [
            threading.Thread(target=context.run, args=[self._work], name=f"fetches-{n}", daemon=True)
            for n, context in enumerate(contexts)
        ]
        try:
            with ended_by_stop(self._end):
                self._wait_for(threads)
        except BaseException:
            self._end()
            for part in self._parts:
                part.let_go()
            raise
        return {part.symbol: self._told[part.symbol] for part in self._parts}

    def _wait_for(self, threads: list[threading.Thread]) -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(HEARD_SECONDS)
        if self._fault is not None:
            raise self._fault

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            while (taken := self._next()) is not None:
                self._do(*taken)
        except StoppedError:
            self._end()
        except BaseException as fault:  # noqa: BLE001 - a fault of ours: it is raised where the fetch was asked for
            self._fault = fault
            self._end()

    def _next(self) -> tuple[SymbolFetch, Span | None] | None:
        """The next piece of work that is due; None when there is none any more."""
        with self._changed:
            while not self._ended:
                now = time.monotonic()
                waiting = [part for part in self._turn if part.has_more]
                due = next((part for part in waiting if part.not_before <= now), None)
                if due is not None:
                    self._turn.remove(due)
                    self._turn.append(due)
                    return due, due.take(now)
                if not waiting and not any(part.in_flight for part in self._parts):
                    return None
                self._changed.wait(min((part.not_before - now for part in waiting), default=None))
            return None

    def _do(self, part: SymbolFetch, piece: Span | None) -> None:
        error: CrpbotError | None = None
        pages: list[Span] = []
        try:
            pages = part.work(piece)
        except StoppedError:
            raise
        except CrpbotError as one:
            error = one
        with self._changed:
            if error is None:
                part.came(piece, pages)
            else:
                part.failed(piece, error, time.monotonic())
            is_over = part.is_over
            self._on_progress(self._progress(part))
            self._changed.notify_all()
        if is_over:
            self._told[part.symbol] = part.close(time.monotonic())

    def _progress(self, part: SymbolFetch) -> Progress:
        seconds = time.monotonic() - self._began
        done = sum(each.done_minutes for each in self._parts)
        left = sum(each.all_minutes - each.done_minutes for each in self._parts if each.error is None)
        rate = done / seconds if seconds > 0.0 else 0.0
        return Progress(
            symbol=part.symbol,
            done=part.done_minutes,
            total=part.all_minutes,
            requests=part.requests,
            minutes_a_second=rate,
            seconds_left=left / rate if rate > 0.0 else None,
            trouble=part.trouble,
        )


def _clock(seconds: float) -> str:
    """As in 0:42, 12:05 or 1:07:30."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
