"""Prefect's worker as a child of this process, with the flow runs that it carries out, started, watched and ended.

Prefect's process worker carries out a flow run as a child process of its own, and an idle worker has no child. So there
is work exactly while this process has a living descendant besides the worker. A worker that was killed leaves its flow
run behind: a process that adopts orphans (models_lib.orphans) sees it as work still.

What does not belong here: how long to wait for work (flows/gpu_worker.py).
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

from models_lib.orphans import descendants

_LOOK_SECONDS = 0.2


class Signals:
    """Signals as something to wait for: SIGTERM and SIGINT ask this process to stop, SIGCHLD only wakes it.

    A byte in a pipe, because a signal handler must not touch a lock that the interrupted code may hold.
    """

    def __init__(self) -> None:
        self._reading, writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self.stops_asked = 0
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._heard)
        # A terminal that goes away must not end the watch: the machine would go on, and so would its price.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self.stops_asked += 1

    def wait(self, seconds: float) -> None:
        """Until a signal comes, or the time is up."""
        if select.select([self._reading], [], [], seconds)[0]:
            os.read(self._reading, 4096)

    def told_to_stop(self, seconds: float) -> bool:
        """Waits for the time; True at once when a stop is asked for meanwhile."""
        before, deadline = self.stops_asked, time.monotonic() + seconds
        while self.stops_asked == before and (left := deadline - time.monotonic()) > 0.0:
            self.wait(left)
        return self.stops_asked > before


class WatchedWorker:
    """Prefect's worker as a child, and the flow runs below it.

    Args:
        command: starts the worker.
        signals: wake the waiting.
        patience_seconds: between SIGTERM and SIGKILL, for flow runs and then for the worker.
    """

    def __init__(self, command: Sequence[str], signals: Signals, *, patience_seconds: float = 30.0) -> None:
        self._command = command
        self._signals = signals
        self._patience_seconds = patience_seconds
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; it ends when this process is killed."""
        below = [sys.executable, "-m", "models_lib.orphans", str(os.getpid()), *self._command]
        defaults = {
            "DO_NOT_TRACK": "1",
            "PREFECT_CLI_PROMPT": "false",
            "PREFECT_LOGGING_EXTRA_LOGGERS": "models_lib",
        }
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter and Prefect's worker
            below,
            stdin=subprocess.DEVNULL,
            env=defaults | dict(os.environ),
            start_new_session=True,  # Ctrl-C in a terminal is for the watcher, which ends everything in order
        )

    def ended(self) -> int | None:
        """Its exit status once it ended; None while it lives, or before it was started."""
        return None if self._process is None else self._process.poll()

    def work(self) -> dict[int, int]:
        """Parents of the processes at work, by process id."""
        self._bury_adopted()
        return {pid: parent for pid, parent in descendants(os.getpid()).items() if not self._is_worker(pid)}

    def end(self) -> None:
        """Ends flow runs, then the worker, then whatever of them is left.

        The worker lives on while the flow runs end: it reports them as crashed and runs their hooks. A worker that is
        ended first takes them along without a word, and the server believes that they run.
        """
        # Only the processes of the flow runs themselves: their children end with them, and must not end before them.
        for pid, parent in self.work().items():
            if parent == os.getpid() or self._is_worker(parent):
                _send(pid, signal.SIGTERM)
        self._wait(lambda: not self.work())
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._wait(lambda: self.ended() is not None)
            self._process.kill()
            self._process.wait()
        while left := self.work():
            for pid in left:
                _send(pid, signal.SIGKILL)
            self._signals.wait(_LOOK_SECONDS)

    def _wait(self, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._patience_seconds
        while not until() and time.monotonic() < deadline:
            self._signals.wait(_LOOK_SECONDS)

    def _is_worker(self, pid: int) -> bool:
        return self._process is not None and pid == self._process.pid

    def _bury_adopted(self) -> None:
        """Waits for ended children other than the worker; adopted ones would stay in the table of processes."""
        with contextlib.suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if self._process is not None and ended.si_pid == self._process.pid:
                    self._process.poll()
                else:
                    os.waitpid(ended.si_pid, 0)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
