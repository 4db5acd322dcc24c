"""Whether this process was told to stop: signals reach the main thread only, and the steps work in others.

A stop is asked for once, by the thread that was interrupted. Steps look before they begin (models_lib.steps.clock);
trainings are ended at once (models_lib.backends.local), and so is what waits for a trading host.

What does not belong here: signal handlers (flows/interruption.py).
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Final

from models_lib.errors import StoppedError

HEARD_SECONDS: Final = 0.5
"""A main thread waits no longer than this without a look around.

Python carries out a signal between two instructions of the main thread. One that arrives just before that thread falls
asleep on a lock does not wake it: a wait without limit goes on to its end as if nobody had pressed Ctrl-C.
"""
_stop = threading.Event()
_ends: set[Callable[[], None]] = set()


def request_stop() -> None:
    """From now on no step begins, and whatever waits within `ended_by_stop` is ended."""
    _stop.set()
    for end in tuple(_ends):
        end()


@contextlib.contextmanager
def ended_by_stop(end: Callable[[], None]) -> Iterator[None]:
    """Within the body a stop calls `end`, in the thread that asks for the stop; it may be called more than once.

    Raises:
        StoppedError: the body ended, well or not, after a stop was asked for; also when it was asked for before.
    """
    refuse_when_stopped()
    _ends.add(end)
    try:
        if _stop.is_set():  # a stop that came between the two lines above did not see this one
            end()
        yield
    except Exception:
        refuse_when_stopped()  # it failed because it was ended
        raise
    finally:
        _ends.discard(end)
    refuse_when_stopped()


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
        raise StoppedError("the run was stopped before this step was done. Start it again.")
