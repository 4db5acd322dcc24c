"""One attempt to send, with a hard limit; and the report of many.

A time-out of a socket starts anew with every byte. The limit here does not.

What does not belong here: keeping messages and trying again (outbox.py).
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from models_lib.errors import CrpbotError, NotificationError, TransientError
from models_lib.notifications.message import Notice
from models_lib.notifications.notifier import Notifier

SEND_SECONDS = 30.0
"""A hard limit for one message, whatever a channel's own time-outs: an endpoint may answer one byte a second."""

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class DeliveryReport(BaseModel):
    """What one delivery came to; counts are messages, one a channel.

    Attributes:
        sent: taken by their endpoint now.
        waiting: still pending.
        given_up: set aside now, after the limit of days.
        damaged: files moved aside because they could not be read.
        busy: another process was delivering all the time; nothing was tried.
        failures: one line for each channel that could not send.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sent: int = 0
    waiting: int = 0
    given_up: int = 0
    damaged: int = 0
    busy: bool = False
    failures: tuple[str, ...] = ()


def send_now(notifier: Notifier, notice: Notice, *, seconds: float = SEND_SECONDS) -> CrpbotError | None:
    """Sends a notice past the outbox: None when it was taken, else why not; never longer than `seconds`."""
    return tried(partial(notifier.send, notice), seconds=seconds)


def tried(send: Callable[[], None], *, seconds: float = SEND_SECONDS) -> CrpbotError | None:
    """One attempt to send: None when it was taken, else why not; never longer than `seconds`."""
    try:
        return ended_within(seconds, partial(_failure, send))
    except TransientError as error:
        return error


def send_without_record(notifiers: Sequence[Notifier], notices: Sequence[Notice]) -> DeliveryReport:
    """Sends each notice once on each channel, with nothing kept: for the night in which the disk is full.

    A channel that fails is left alone; what it did not take is lost to it, and the log says so.
    """
    sent, failures = 0, []
    for notifier in notifiers:
        for notice in notices:
            failure = send_now(notifier, notice)
            if failure is not None:
                log.warning("not told: %s (%s: %s)", notice.title(), notifier.name, failure)
                failures.append(f"{notifier.name}: {failure}")
                break
            sent += 1
    return DeliveryReport(sent=sent, failures=tuple(failures))


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


def _failure(send: Callable[[], None]) -> CrpbotError | None:
    try:
        send()
    except CrpbotError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a faulty channel must not silence the others
        # Its text is not ours, and may hold an address or a password.
        return NotificationError(f"unexpected {type(error).__name__}. This is a fault of the channel: report it.")
    return None
