"""Saying what was issued: one line in signals.jsonl, exactly once a number; and to people, at least once.

The state is the source: a signal is in it, durably, before anything is said. signals.jsonl is brought up to it by number,
so neither a kill nor a full disk loses a line or repeats one. A line that was torn is completed when it holds the whole
signal, and removed when not, because the state writes it again.

The terminal is told before the line is written, a channel (Slack) by a thread of its own: a dead one delays no bar. A
channel that fails is tried again, at most every half minute by the clock however many bars come, until the signal expires;
that is then noted as missed. One that refuses for good is given up for that signal. A kill while a channel takes a message
can bring it twice; its number shows that.

Start: a state under the runtime's lock. When signals.jsonl knows more than the state (which was damaged and moved aside),
the state adopts those signals, so that no number and no bar is used again.

What does not belong here: how a signal reads, and any real channel (tasks/adapters).
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from pydantic import ValidationError

from models_lib.attempts import SEND_SECONDS, tried
from models_lib.errors import CrpbotError, DataError, TransientError
from models_lib.files import append_line
from models_lib.runtime.health import ChannelHealth
from models_lib.runtime.state import RuntimeState, ToldStatus, WaitingSignal
from models_lib.signals.signal import Signal

SIGNALS_FILE: Final = "signals.jsonl"
_LONGEST_LINE: Final = 1 << 20
"""Bytes at the end of signals.jsonl in which the last line is looked for; a line has some 3,000."""
_BETWEEN_TRIES: Final = timedelta(seconds=30)
"""From the beginning of a try that failed to the next; below a minute, so that the next bar of the symbol is one."""
_LONGEST_PAUSE: Final = timedelta(hours=1)
"""That a channel may ask for besides."""

log = logging.getLogger(__name__)


class Channel(Protocol):
    """One way to reach people.

    `send` tries once, waits no longer than its own time-out, and ends when the other side has taken the signal, or with
    one of two errors, whose texts hold no secret: TransientError (may pass, and is tried again) or NotificationError (a person must mend it, and it is not).
    It runs on a thread that is not the runtime's.
    """

    @property
    def name(self) -> str:
        """Under which the state keeps what the channel was told; the same in every process."""
        ...

    def send(self, signal: Signal) -> None:
        """Hands the signal over, its number visible."""
        ...


class Speaker:
    """Says what one runtime issues.

    Args:
        folder: the host folder, where signals.jsonl lies.
        state: open, under the runtime's lock.
        echo: shows a signal at once, such as on the terminal; what it raises as OSError is logged.
        channels: who else is told.
        send_seconds: hard limit of one attempt to tell a channel.

    Raises:
        DataError: the last line of signals.jsonl is whole and no signal.
    """

    def __init__(
        self,
        folder: Path,
        state: RuntimeState,
        *,
        echo: Callable[[Signal], None],
        channels: Sequence[Channel] = (),
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        self._path = folder / SIGNALS_FILE
        self._state = state
        self._echo = echo
        self._wires = [_Wire(channel, state, send_seconds) for channel in channels]
        self._last_number = _mended_last_number(self._path)
        known = state.last_number()
        if self._last_number > known:
            log.warning("%s: adopting the signals after number %d, which the state does not know", self._path, known)
            state.adopt(signal for signal in read_signals(self._path) if signal.number > known)

    def speak(self, now: datetime) -> None:
        """Says what was issued and not said; call it after every bar, and once at the start.

        Args:
            now: the wall clock in live mode, the bar's close in a replay. What expired by then is only written down.

        Raises:
            OSError: signals.jsonl cannot be written now; the next call goes on where this one stopped.
        """
        if self._state.last_number() > self._last_number:
            self._last_number = _mended_last_number(self._path)  # an append that failed may have left a line, or a part
            self._write_down(now)
        for wire in self._wires:
            wire.go_on(now)

    def health(self) -> dict[str, ChannelHealth]:
        """How each channel stands, by name."""
        return {wire.name: wire.health() for wire in self._wires}

    def close(self, *, within_seconds: float = 5.0) -> None:
        """Waits that long for what is being sent now, and notes what came of it; the rest waits for the next start."""
        for wire in self._wires:
            wire.close(within_seconds)

    def _write_down(self, now: datetime) -> None:
        names = [wire.name for wire in self._wires]
        for signal in self._state.signals_from(self._last_number + 1):
            if names:
                self._state.expect(signal.number, names)
            if signal.expires_at > now:
                self._show(signal)
            append_line(self._path, signal.to_json().encode())
            self._last_number = signal.number

    def _show(self, signal: Signal) -> None:
        try:
            self._echo(signal)
        except OSError as error:
            log.warning("signal %d could not be shown (%s); it is in %s", signal.number, error.strerror, self._path)


def read_signals(path: Path) -> Iterator[Signal]:
    """The signals of a signals.jsonl, in order.

    Raises:
        DataError: a line is no signal.
    """
    if not path.exists():
        return
    with path.open("rb") as stream:
        for place, line in enumerate(stream, start=1):
            yield _parsed(line, path, f"line {place}")


def _mended_last_number(path: Path) -> int:
    """The number in the last line, 0 without one; a torn line is completed or removed first."""
    if not path.exists():
        return 0
    with path.open("rb+") as stream:
        start, line = _last_line(stream)
        if line and not line.endswith(b"\n"):
            if _is_signal(line):
                stream.write(b"\n")
            else:
                log.warning("%s: removed a torn last line; its signal is written again from the state", path)
                stream.truncate(start)
                start, line = _last_line(stream)
    return _parsed(line, path, "the last line").number if line else 0


def _last_line(stream: BinaryIO) -> tuple[int, bytes]:
    """Where the last line starts, and the line, with its line end if it has one; the stream is then at its end."""
    before = max(0, stream.seek(0, os.SEEK_END) - _LONGEST_LINE)
    stream.seek(before)
    tail = stream.read()
    start = tail.rfind(b"\n", 0, max(0, len(tail) - 1)) + 1
    return before + start, tail[start:]


def _is_signal(line: bytes) -> bool:
    try:
        Signal.model_validate_json(line)
    except ValidationError:
        return False
    return True


def _parsed(line: bytes, path: Path, place: str) -> Signal:
    try:
        return Signal.model_validate_json(line)
    except ValidationError as error:
        raise DataError(
            f"{path}: {place} is no signal ({error.error_count()} faults). Remove that line: what the state has "
            f"beyond the last whole one is written again."
        ) from error


@dataclass
class _Batch:
    """What a thread is sending: it appends to `answers` and nobody else does."""

    signals: Sequence[WaitingSignal]
    began: datetime
    answers: list[tuple[WaitingSignal, CrpbotError | None]] = field(default_factory=list)
    thread: threading.Thread | None = None

    @property
    def ended(self) -> bool:
        return self.thread is None or not self.thread.is_alive()


class _Wire:
    """One channel: at most one batch is under way; everything but the sending happens on the runtime's thread."""

    def __init__(self, channel: Channel, state: RuntimeState, send_seconds: float) -> None:
        self.name = channel.name
        self._channel = channel
        self._state = state
        self._send_seconds = send_seconds
        self._batch: _Batch | None = None
        self._not_before = datetime.min.replace(tzinfo=UTC)
        self._last_error: str | None = None

    def go_on(self, now: datetime) -> None:
        """Notes what the last batch came to, and starts the next."""
        if self._batch is not None and not self._batch.ended:
            return
        self._note()
        due = [waiting for waiting in self._state.waiting(self.name) if self._is_due(waiting, now)]
        if not due or now < self._not_before:
            return
        self._batch = _Batch(due, began=now)
        self._batch.thread = threading.Thread(
            target=self._send, args=(self._batch,), name=f"tell {self.name}", daemon=True
        )
        self._batch.thread.start()

    def health(self) -> ChannelHealth:
        """How the channel stands."""
        return ChannelHealth(**self._state.told(self.name), last_error=self._last_error)

    def close(self, within_seconds: float) -> None:
        """Waits for the batch under way."""
        if self._batch is not None and self._batch.thread is not None:
            self._batch.thread.join(within_seconds)
        self._note()

    def _is_due(self, waiting: WaitingSignal, now: datetime) -> bool:
        """Whether to send it now; what is too late is noted as missed."""
        if waiting.signal.expires_at > now:
            return True
        error = f"expired before {self.name} took it"
        self._state.tell(waiting.signal.number, self.name, "missed", attempts=waiting.attempts, error=error)
        return False

    def _send(self, batch: _Batch) -> None:
        """Sends until one fails; the others are not tried then."""
        for waiting in batch.signals:
            failure = tried(partial(self._channel.send, waiting.signal), seconds=self._send_seconds)
            batch.answers.append((waiting, failure))
            if failure is not None:
                return

    def _note(self) -> None:
        """Writes down what the batch came to so far."""
        batch, self._batch = self._batch, None
        if batch is None:
            return
        for (signal, before), failure in list(batch.answers):
            attempts = before + 1
            if failure is None:
                self._last_error = None
                self._state.tell(signal.number, self.name, "sent", attempts=attempts)
                continue
            self._last_error = str(failure)
            log.warning("%s was not told signal %d: %s", self.name, signal.number, failure)
            status: ToldStatus = "given_up"
            if isinstance(failure, TransientError):
                status = "waiting"
                asked = timedelta(seconds=failure.retry_after_seconds or 0.0)
                self._not_before = batch.began + _BETWEEN_TRIES + min(asked, _LONGEST_PAUSE)
            self._state.tell(signal.number, self.name, status, attempts=attempts, error=str(failure))
