"""The step that tells people what became of a run, and the delivery of what could not be told before.

Nothing here fails a run: a dead endpoint is a warning, and its messages wait in the outbox. Secrets are no parameters:
Prefect keeps those.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.config import NotificationsSection
from models_lib.errors import ConfigError, TransientError
from models_lib.notifications import DeliveryReport, Notice, Notifier, deliver, post
from models_lib.notifications.entries import is_known
from models_lib.notifications.sending import send_without_record
from models_lib.steps.plan import RunPlan
from tasks import policies
from tasks.adapters.channels import channel_names, open_channels

log = logging.getLogger("models_lib.notifications")
_NEWEST = timedelta(minutes=10)
"""The night-watch comes so often."""


@task(name="tell", task_run_name="tell-{plan.date}", cache_policy=NO_CACHE, **policies.FOR_THE_EYE)
def tell(plan: RunPlan, notices: Sequence[Notice]) -> DeliveryReport:
    """Tells the notices, and whatever waits from earlier runs."""
    return tell_now(plan.home, plan.config.notifications, notices)


def tell_now(home: Path, section: NotificationsSection, notices: Sequence[Notice]) -> DeliveryReport:
    """Posts the wanted notices and delivers what is due; where the outbox cannot be written, sends without it."""
    wanted = [notice for notice in notices if notice.event in section.events]
    try:
        post(home, wanted, channel_names(section))
    except (OSError, TransientError) as error:
        log.warning("the outbox cannot be written (%s); the newest messages are sent without a record.", error)
        # Whoever asks again and again, as the night-watch does, must not send the same again and again.
        oldest = datetime.now(UTC) - _NEWEST
        fresh = [notice for notice in wanted if notice.time > oldest and not is_known(home / "outbox", notice.id)]
        return send_without_record(ready_notifiers(section), fresh)
    return deliver_pending(home, section)


def deliver_pending(home: Path, section: NotificationsSection) -> DeliveryReport:
    """Sends what waits in the outbox and is due."""
    return deliver(home, ready_notifiers(section), datetime.now(UTC), give_up_days=section.give_up_days)


def ready_notifiers(section: NotificationsSection) -> list[Notifier]:
    """The channels that can send now; one that lacks its secret is a warning."""
    ready: list[Notifier] = []
    for channel, opened in open_channels(section).items():
        if isinstance(opened, ConfigError):
            log.warning("nothing can be told on %s: %s", channel, opened)
        else:
            ready.append(opened)
    return ready
