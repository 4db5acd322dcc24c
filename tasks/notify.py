"""The step that tells people what became of a run, and the delivery of what could not be told before.

Nothing here fails a run: a dead endpoint is a warning, and its messages wait in the outbox.
"""

import logging
from datetime import UTC, datetime
from pathlib import Path

from models_lib.config import NotificationsSection
from models_lib.errors import ConfigError
from models_lib.notifications import DeliveryReport, Notifier, deliver
from tasks.adapters.channels import open_channels

log = logging.getLogger("models_lib.notifications")


def deliver_pending(home: Path, section: NotificationsSection) -> DeliveryReport:
    """Sends what waits in the outbox and is due; a channel that lacks its secret is a warning."""
    ready: list[Notifier] = []
    for channel, opened in open_channels(section).items():
        if isinstance(opened, ConfigError):
            log.warning("nothing can be told on %s: %s", channel, opened)
        else:
            ready.append(opened)
    return deliver(home, ready, datetime.now(UTC), give_up_days=section.give_up_days)
