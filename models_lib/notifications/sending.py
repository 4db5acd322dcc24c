"""One notice sent now, with a hard limit; and the report of many.

What does not belong here: keeping messages and trying again (outbox.py).
"""

import logging
from collections.abc import Sequence
from functools import partial

from pydantic import BaseModel, ConfigDict

from models_lib.attempts import SEND_SECONDS, tried
from models_lib.errors import CrpbotError
from models_lib.notifications.message import Notice
from models_lib.notifications.notifier import Notifier

log = logging.getLogger(__name__)


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
