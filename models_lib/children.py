"""Child processes in sessions of their own, ended together with all that they started: at a time limit, or by force.

What does not belong here: what a child does, and what its end means.
"""

import contextlib
import os
import signal
import subprocess
import threading
from typing import Any, Self


class TimeLimit:
    """Ends a child when the time is up, from a thread of its own; `expired` says whether it had to.

    Args:
        process: started with `start_new_session=True`.
        seconds: the limit.
        patience_seconds: between SIGTERM and SIGKILL.
    """

    def __init__(self, process: "subprocess.Popen[Any]", seconds: float, patience_seconds: float) -> None:
        self._process = process
        self._patience_seconds = patience_seconds
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self.expired = False

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()

    def _expire(self) -> None:
        # Also when the child itself ended: one of its own children may hold the pipe that the parent reads.
        self.expired = self._process.returncode is None
        end_session(self._process, self._patience_seconds)


def end_session(process: "subprocess.Popen[Any]", patience_seconds: float) -> None:
    """Ends the child and what it started: SIGTERM, and SIGKILL for those that do not hear it in time."""
    if process.returncode is not None:
        return  # waited for already: its number may be somebody else's by now
    signal_session(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience_seconds)
    signal_session(process, signal.SIGKILL)
    process.wait()


def signal_session(process: "subprocess.Popen[Any]", number: signal.Signals) -> None:
    """Sends a signal to the child and what it started, as far as they are still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
