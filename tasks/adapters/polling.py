"""Bars that are polled: who is asked about when, what is made of trouble, and that `stop` ends all waiting.

Questions are asked on threads of their own, so an answer that does not come keeps neither the other symbols nor the end.

What does not belong here: what is asked, how, and when it pays to ask (http_candles.py, exchange_bars.py).
"""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from queue import Empty, Queue, SimpleQueue
from threading import Event, Thread
from typing import Final, NamedTuple, Protocol

from models_lib.errors import CrpbotError, TransientError
from models_lib.interruption import HEARD_SECONDS
from models_lib.runtime.sources import Given, Reached, Trouble

_LOG = logging.getLogger(__name__)
_LONGEST_PAUSE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05
"""An end that is asked for while a question is under way is noticed within this time."""


class Time(Protocol):
    """The clocks of this machine, and waiting."""

    def seconds(self) -> float:
        """Never goes back; counted from anywhere."""

    def epoch_ms(self) -> float:
        """What this machine takes for the time, since 1970 UTC."""

    def wait(self, stop: Event, seconds: float) -> None:
        """Returns after so long, or soon after `stop` is set."""


class MachineTime:
    """The true ones."""

    def seconds(self) -> float:
        """The monotonic clock."""
        return time.monotonic()

    def epoch_ms(self) -> float:
        """The clock that people set."""
        return time.time() * 1e3

    def wait(self, stop: Event, seconds: float) -> None:
        """Sleeps on the event, with a look around now and then: a signal may just miss the beginning of a sleep."""
        ends = time.monotonic() + seconds
        while not stop.is_set() and (left := ends - time.monotonic()) > 0.0:
            stop.wait(min(left, HEARD_SECONDS))


MACHINE_TIME: Final = MachineTime()


class Polled(Protocol):
    """What is asked."""

    def ask(self, symbol: str, after_ms: int | None, stop: Event) -> list[object]:
        """The closed bars after an open time, oldest first, unchecked; at most SERVING_BARS, the newest.

        Called on another thread than the rest, for one symbol never twice at once.

        Args:
            symbol: whose.
            after_ms: the newest that the window has; None for none. What changed before may come again.
            stop: nobody waits for the answer any more.

        Raises:
            CrpbotError: there is no usable answer now.
        """

    def pause_seconds(self, symbol: str, newest_ms: int | None) -> float:
        """From now, when the window took the answer in and has got as far as `newest_ms`, to the next question."""


@dataclass
class _Turn:
    """When one symbol is asked about.

    Attributes:
        next_seconds: time of the next question.
        failures: questions in a row without a usable answer.
        was_empty: the window had nothing at the last question: what fills it was there before.
        under_way: its question is not answered yet.
    """

    next_seconds: float = -float("inf")
    failures: int = 0
    was_empty: bool = True
    under_way: bool = False


class _Answer(NamedTuple):
    symbol: str
    bars: list[object]
    error: Exception | None


class _Questions:
    """Questions under way, at most `connections` at once, and their answers in the order in which they come."""

    def __init__(self, polled: Polled, stop: Event, *, connections: int) -> None:
        self._polled = polled
        self._stop = stop
        self._waiting: SimpleQueue[tuple[str, int | None] | None] = SimpleQueue()
        # No SimpleQueue: a signal whose handler outlasts the time limit of its `get` makes that wait for ever (CPython 3.11).
        self._answers: Queue[_Answer] = Queue()
        self._connections = connections
        for number in range(connections):
            # A daemon: a question that hangs must not keep a process that was told to end.
            Thread(target=self._work, name=f"bars-{number}", daemon=True).start()

    def put(self, symbol: str, after_ms: int | None) -> None:
        """Has it asked."""
        self._waiting.put((symbol, after_ms))

    def answer(self) -> _Answer | None:
        """The next answer; None when there is none for a moment."""
        try:
            return self._answers.get(timeout=_LOOK_SECONDS)
        except Empty:
            return None

    def close(self) -> None:
        """No question begins any more; those under way are left to themselves."""
        for _ in range(self._connections):
            self._waiting.put(None)

    def _work(self) -> None:
        while (question := self._waiting.get()) is not None and not self._stop.is_set():
            symbol, after_ms = question
            try:
                answer = _Answer(symbol, self._polled.ask(symbol, after_ms, self._stop), None)
            except Exception as error:  # noqa: BLE001 - whatever an answer did to its reader, it is asked for again
                answer = _Answer(symbol, [], error)
            self._answers.put(answer)


class Polling:
    """Asks about every symbol when it is due.

    Args:
        polled: what is asked.
        connections: questions under way at once.
        again_seconds: from trouble to the next question, twice as long each time, up to a minute. Who asks to be left alone
            for longer is not asked about any symbol until then.
        machine: its clocks.
    """

    def __init__(self, polled: Polled, *, connections: int, again_seconds: float, machine: Time) -> None:
        self._polled = polled
        self._connections = connections
        self._again_seconds = again_seconds
        self._machine = machine

    def bars(self, reached: Mapping[str, Reached], stop: Event) -> Iterator[Given | Trouble | None]:
        """The newest bars for the windows, then what closes, until `stop` is set."""
        turns = {symbol: _Turn() for symbol in reached}
        questions = _Questions(self._polled, stop, connections=min(self._connections, len(turns)))
        try:
            while not stop.is_set():
                self._ask_who_is_due(turns, reached, questions)
                if not any(turn.under_way for turn in turns.values()):
                    yield None
                    self._wait(turns, stop)
                elif (answer := questions.answer()) is not None:
                    yield from self._taken_in(answer, turns, reached[answer.symbol])
        finally:
            questions.close()

    def _ask_who_is_due(
        self, turns: Mapping[str, _Turn], reached: Mapping[str, Reached], questions: _Questions
    ) -> None:
        for symbol, turn in turns.items():
            if not turn.under_way and turn.next_seconds <= self._machine.seconds():
                newest_ms = reached[symbol].newest_ms
                turn.was_empty, turn.under_way = newest_ms is None, True
                questions.put(symbol, newest_ms)

    def _wait(self, turns: Mapping[str, _Turn], stop: Event) -> None:
        soonest = min((turn.next_seconds for turn in turns.values()), default=float("inf"))
        self._machine.wait(stop, min(soonest - self._machine.seconds(), _LONGEST_PAUSE_SECONDS))

    def _taken_in(self, answer: _Answer, turns: Mapping[str, _Turn], at: Reached) -> Iterator[Given | Trouble]:
        turn = turns[answer.symbol]
        turn.under_way = False
        if answer.error is None:
            turn.failures = 0
            yield from _given(answer, at.decided_ms, was_empty=turn.was_empty)
            turn.next_seconds = self._machine.seconds() + self._polled.pause_seconds(answer.symbol, at.newest_ms)
            return
        turn.failures += 1
        pause = min(self._again_seconds * 2 ** min(turn.failures, 10), _LONGEST_PAUSE_SECONDS)
        turn.next_seconds = self._machine.seconds() + pause
        if isinstance(answer.error, TransientError) and answer.error.retry_after_seconds is not None:
            alone_until = self._machine.seconds() + answer.error.retry_after_seconds
            for each in turns.values():
                each.next_seconds = max(each.next_seconds, alone_until)
        yield Trouble(answer.symbol, _sentence(answer.error))


def _given(answer: _Answer, decided_ms: int | None, *, was_empty: bool) -> Iterator[Given]:
    """What fills an empty window was there before, up to what was decided on."""
    for raw in answer.bars:
        opened = raw[0] if isinstance(raw, list) and raw and type(raw[0]) is int else None
        known = decided_ms is None or opened is None or opened <= decided_ms
        yield Given(answer.symbol, raw, past=was_empty and known)


def _sentence(error: Exception) -> str:
    if isinstance(error, CrpbotError):
        return str(error)
    _LOG.error("a question failed", exc_info=error)
    return f"unexpected {type(error).__name__}: {error}. It is asked again; the log has its place."
