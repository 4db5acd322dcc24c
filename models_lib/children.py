"""Child processes in sessions of their own, ended together with all that they started.

What does not belong here: what a child does, and what its end means.
"""

import contextlib
import os
import signal
import subprocess
from typing import Any


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
