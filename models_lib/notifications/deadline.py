"""A hard limit for what talks to others: a time-out of a socket starts anew with every byte, this one does not."""

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from models_lib.errors import TransientError

Answer = TypeVar("Answer")


def ended_within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """What `call` returns, if it does so within the limit; otherwise it is left to itself, on a thread of its own.

    Args:
        seconds: the limit.
        call: must not raise; what it does after the limit is nobody's business any more.

    Raises:
        TransientError: it did not end in time.
    """
    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(call()), daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        raise TransientError(f"the endpoint was not done after {seconds:g} s.") from None
