"""Whether this process was told to stop: signals reach the main thread only, and the steps work in others.

A stop is asked for once, by the thread that was interrupted. Steps look before they begin (models_lib.steps.clock);
trainings are ended at once (models_lib.backends.local).

What does not belong here: signal handlers (flows/interruption.py).
"""

import threading

from models_lib.errors import StoppedError

_stop = threading.Event()


def request_stop() -> None:
    """From now on no step begins."""
    _stop.set()


def allow_work() -> None:
    """A new run begins: an earlier one's stop does not count for it."""
    _stop.clear()


def stop_requested() -> bool:
    """Whether a stop was asked for."""
    return _stop.is_set()


def refuse_when_stopped() -> None:
    """Returns when work may go on.

    Raises:
        StoppedError: a stop was asked for.
    """
    if _stop.is_set():
        raise StoppedError("the run was stopped before this step. Start it again.")
