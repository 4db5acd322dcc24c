"""The answer to a question within a time limit, or the end of the run.

A time-out of a socket starts anew with every byte, and a thread that waits for one cannot be ended. So a question is asked
on a thread of its own, which is left to itself when nobody waits for it any more.

What does not belong here: the pace.
"""

from collections.abc import Callable
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import TypeVar

from models_lib.interruption import HEARD_SECONDS, ended_by_stop

Answer = TypeVar("Answer")


def answered_within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """What `call` returns.

    Raises:
        TimeoutError: it did not end in time.
        StoppedError: a stop was asked for meanwhile.
        Exception: what `call` raised.
    """
    # No SimpleQueue: a signal whose handler outlasts the time limit of its `get` makes that wait for ever (CPython 3.11).
    outcomes: Queue[Callable[[], Answer]] = Queue()

    def stopped() -> Answer:
        raise TimeoutError

    with ended_by_stop(lambda: outcomes.put(stopped)):
        Thread(target=lambda: outcomes.put(_outcome(call)), name="asks-an-exchange", daemon=True).start()
        return _first(outcomes, monotonic() + seconds)()


def _first(outcomes: "Queue[Callable[[], Answer]]", ends: float) -> Callable[[], Answer]:
    while (left := ends - monotonic()) > 0.0:
        try:
            return outcomes.get(timeout=min(left, HEARD_SECONDS))
        except Empty:
            continue
    raise TimeoutError


def _outcome(call: Callable[[], Answer]) -> Callable[[], Answer]:
    try:
        answer = call()
    except Exception as error:  # noqa: BLE001 - raised again where it is waited for
        failure = error

        def fail() -> Answer:
            raise failure

        return fail
    return lambda: answer
