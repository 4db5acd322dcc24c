"""Further channels: any address that apprise knows, such as telegram, matrix, ntfy or a company's own gateway.

Apprise answers yes or no and writes its reasons, addresses included, into log records. So a no is "try again later",
and `apprise -vv` on the command line shows the reason.

What does not belong here: waiting and trying again, which the outbox does.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator

import apprise

from models_lib.errors import NotificationError, TransientError
from models_lib.notifications import Notice

_TALKATIVE = ("apprise", "urllib3.connectionpool", "urllib3.util.retry")
"""Loggers whose records may hold the address."""


class AppriseNotifier:
    """Sends to one address.

    Args:
        name: the channel's name.
        address: as apprise writes it; a secret.
        timeout_seconds: the longest silence of the endpoint, where the kind of address has such a limit.
    """

    def __init__(self, name: str, address: str, *, timeout_seconds: float) -> None:
        self.name = name
        self._address = address
        self._timeout_seconds = timeout_seconds

    def send(self, notice: Notice) -> None:
        """Hands the plain text to apprise, as the protocol says."""
        with _silenced():
            # A fresh object each time: apprise sleeps between two messages of one object.
            plugin = apprise.Apprise.instantiate(self._address, suppress_exceptions=True)
            taken = self._taken(plugin, notice) if isinstance(plugin, apprise.NotifyBase) else None
        if taken is None:
            raise NotificationError("apprise does not know this kind of address. Check CRPBOT_APPRISE_URLS.")
        if not taken:
            raise TransientError("apprise could not deliver; `apprise -vv` with this address shows why.")

    def _taken(self, plugin: "apprise.NotifyBase", notice: Notice) -> bool:
        plugin.socket_connect_timeout = plugin.socket_read_timeout = self._timeout_seconds
        service = apprise.Apprise(plugin, asset=apprise.AppriseAsset(async_mode=False))
        return bool(
            service.notify(
                body=notice.text(),
                title=notice.title(),
                notify_type=_kind(notice),
                body_format=apprise.NotifyFormat.TEXT,
            )
        )


def _kind(notice: Notice) -> str:
    match notice.event:
        case "failed" | "crashed" | "preflight_failed":
            return "failure"
        case "held" | "rolled_back" | "undone" | "expiring" | "approval_needed":
            return "warning"
        case "live_alarm" | "data_alarm" | "control_alarm":
            return "warning"
        case "promoted" | "deployed" | "completed":
            return "success"
        case _:
            return "info"


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Drops what this thread logs about its requests; other threads are not touched."""
    thread = threading.get_ident()

    def is_of_others(_record: logging.LogRecord) -> bool:
        return threading.get_ident() != thread

    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    for logger in loggers:
        logger.addFilter(is_of_others)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_of_others)
