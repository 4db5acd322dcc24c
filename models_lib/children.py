"""Child processes in sessions of their own, ended together with all that they started.

What does not belong here: what a child does, and what its end means.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any


def end_session(process: "subprocess.Popen[Any]", patience_seconds: float) -> None:
    """Ends the child and what it started: SIGTERM, and SIGKILL for those that do not hear it in time."""
    if process.returncode is not None:
        return
    signal_session(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience_seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # also those of its children that did not hear
    process.wait()


@contextlib.contextmanager
def ended_on_error(process: "subprocess.Popen[Any]", patience_seconds: float) -> Iterator[None]:
    """Ends the child and what it started when the body raises."""
    try:
        yield
    except BaseException:
        end_session(process, patience_seconds)
        raise


def signal_session(process: "subprocess.Popen[Any]", number: signal.Signals) -> None:
    """Sends a signal to the child and what it started, unless the child was waited for: its number may be reused."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
