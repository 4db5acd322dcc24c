"""One attempt to reach somebody, with a hard limit.

A time-out of a socket starts anew with every byte. The limit here does not.

What does not belong here: what is sent, and trying again.
"""

import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from models_lib.errors import CrpbotError, NotificationError, TransientError

SEND_SECONDS = 30.0
"""A hard limit for one message, whatever a channel's own time-outs: an endpoint may answer one byte a second."""

Answer = TypeVar("Answer")


def tried(send: Callable[[], None], *, seconds: float = SEND_SECONDS) -> CrpbotError | None:
    """One attempt to send: None when it was taken, else why not; never longer than `seconds`."""
    try:
        return ended_within(seconds, partial(_failure, send))
    except TransientError as error:
        return error


def ended_within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """What `call` returns, if it does so within the limit; otherwise it is left to itself, on a thread of its own.

    Args:
        seconds: the limit.
        call: must not raise; what it does after the limit is nobody's business any more.

    Raises:
        TransientError: it did not end in time.
    """
    # No SimpleQueue: a signal whose handler outlasts the time limit of its `get` makes that wait for ever (CPython 3.11).
    answers: queue.Queue[Answer] = queue.Queue()
    threading.Thread(target=lambda: answers.put(call()), daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        raise TransientError(f"the endpoint was not done after {seconds:g} s.") from None


def _failure(send: Callable[[], None]) -> CrpbotError | None:
    try:
        send()
    except CrpbotError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a faulty channel must not silence the others
        # Its text is not ours, and may hold an address or a password.
        return NotificationError(f"unexpected {type(error).__name__}. This is a fault of the channel: report it.")
    return None
