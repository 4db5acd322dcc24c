"""The pace at which one exchange is asked, kept by all processes of this machine together.

A small file holds the next free moment, by the monotonic clock, which all processes of one start of the machine share.
Whoever wants to ask takes that moment under a lock, moves it on by one interval, and waits until it has come. A request of
the exchange to be left alone moves it for everybody: also for those who wait already, who take a new moment.

A file that is damaged or older than the machine's last start counts as none: the worst is one request too early.

What does not belong here: what an exchange allows (catalogue.py), and trying again.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic_ns
from typing import Final, NamedTuple

from models_lib.errors import BusyError, ConfigError, TransientError
from models_lib.interruption import HEARD_SECONDS, ended_by_stop
from models_lib.locks import locked

LONGEST_HOLD_SECONDS: Final = 3 * 86_400.0
"""Binance bans for two minutes to three days; nobody is taken at its word for longer."""
_NS: Final = 1_000_000_000
_RECORD: Final = struct.Struct("<36sqq")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_BUSY_SECONDS: Final = 10.0


class _Moments(NamedTuple):
    """By the monotonic clock, in nanoseconds: when the next request may go, and until when the exchange is left alone."""

    free_ns: int
    held_ns: int


class Pace:
    """Turns to ask one exchange.

    Args:
        path: the file that the processes share; it and its folder are made.
        name: of the exchange, for messages.
        requests_per_second: what this process allows itself; the file's moment moves on by one interval a turn.
        longest_wait_seconds: how long a request to be left alone is waited for.

    Raises:
        ConfigError: the file cannot be written.
    """

    def __init__(self, path: Path, *, name: str, requests_per_second: float, longest_wait_seconds: float) -> None:
        self._path = path
        self._name = name
        self._interval_ns = round(_NS / requests_per_second)
        self._longest_wait_ns = round(longest_wait_seconds * _NS)
        self._boot = _this_start()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise ConfigError(
                f"{path}, by which all processes keep the pace of {name}, cannot be written ({error.strerror}). "
                f"Give its folder to this user."
            ) from error

    def wait(self) -> None:
        """Returns when one request may be sent.

        Raises:
            TransientError: the exchange wants to be left alone for longer than is waited, or the file stays locked.
            StoppedError: a stop was asked for.
        """
        while (turn_ns := self._take()) > monotonic_ns():
            _sleep_until(turn_ns)
            with self._moments() as moments:
                if moments.held_ns <= turn_ns:
                    return

    def hold(self, seconds: float) -> None:
        """From now on no process of this machine asks for `seconds`; a longer hold that is under way stays."""
        until_ns = monotonic_ns() + round(min(max(0.0, seconds), LONGEST_HOLD_SECONDS) * _NS)
        with self._moments() as moments:
            held_ns = max(moments.held_ns, until_ns)
            self._write(_Moments(max(moments.free_ns, held_ns), held_ns))

    def _take(self) -> int:
        with self._moments() as moments:
            now_ns = monotonic_ns()
            held_ns = moments.held_ns - now_ns
            if held_ns > self._longest_wait_ns:
                raise TransientError(
                    f"{self._name} wants to be left alone for {held_ns / _NS:,.0f} s more, which is longer than the "
                    f"{self._longest_wait_ns / _NS:,.0f} s that are waited. Try again then.",
                    retry_after_seconds=held_ns / _NS,
                )
            turn_ns = max(now_ns, moments.free_ns, moments.held_ns)
            self._write(_Moments(turn_ns + self._interval_ns, moments.held_ns))
            return turn_ns

    @contextmanager
    def _moments(self) -> Iterator[_Moments]:
        busy = (
            f"{self._name}: {self._path} has been locked for {_BUSY_SECONDS:g} s, maybe by a process that is suspended: lslocks "
            f"names it. Try again later."
        )
        try:
            with locked(self._path, within_seconds=_BUSY_SECONDS, otherwise=busy):
                yield self._read()
        except BusyError as error:  # nobody else does our work, so it is worth another try
            raise TransientError(busy) from error

    def _read(self) -> _Moments:
        content = self._path.read_bytes()
        if len(content) != _RECORD.size + 4 or zlib.crc32(content[:-4]) != int.from_bytes(content[-4:], "little"):
            return _Moments(0, 0)
        boot, free_ns, held_ns = _RECORD.unpack(content[:-4])
        # Without the number of the machine's start, as on macOS, moments beyond any hold tell of an earlier one.
        latest_ns = monotonic_ns() + round(2 * LONGEST_HOLD_SECONDS * _NS)
        return _Moments(free_ns, held_ns) if boot == self._boot and free_ns < latest_ns else _Moments(0, 0)

    def _write(self, moments: _Moments) -> None:
        record = _RECORD.pack(self._boot, *moments)
        with self._path.open("r+b") as stream:
            stream.write(record + zlib.crc32(record).to_bytes(4, "little"))
            stream.truncate()


def _this_start() -> bytes:
    """What tells this start of the machine from others; nothing where the system does not say."""
    try:
        return _BOOT_ID.read_bytes().strip()[:36].ljust(36, b"\0")
    except OSError:
        return bytes(36)


def _sleep_until(moment_ns: int) -> None:
    ended = Event()
    with ended_by_stop(ended.set):
        while (left_ns := moment_ns - monotonic_ns()) > 0 and not ended.is_set():
            ended.wait(min(left_ns / _NS, HEARD_SECONDS))
