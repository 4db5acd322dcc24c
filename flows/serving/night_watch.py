"""`night-watch`: a small flow, every ten minutes and right after each bad end of a run.

It tells people of runs that could not speak for themselves, sends what an endpoint did not take before, and cancels
what a killed parent left behind. A dead endpoint is a warning here, never a failure.

What does not belong here: which runs those are (bad_ends.py), and how a message is delivered (tasks/notify.py).
"""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.home import config_file, crpbot_home, make_home
from flows.serving.bad_ends import bad_ends, cancel_left_behind
from models_lib.config import load_config
from tasks.notify import tell_now

log = logging.getLogger("models_lib.serving")


@flow(name="night-watch", validate_parameters=True)
def night_watch(config: Path | None = None) -> State[Any]:
    """Looks after what was left behind, and tells people.

    Args:
        config: YAML file on the worker whose `notifications` say who is told; empty: CRPBOT_CONFIG, else the built-in
            defaults.
    """
    home = crpbot_home()
    make_home(home)
    section = load_config(config_file(config)).notifications
    with get_client(sync_client=True) as client:
        cancelled = cancel_left_behind(client, home)
        notices = bad_ends(client, home, datetime.now(UTC))
    for name in cancelled:
        log.warning("%s: cancelled, the run that started it has ended", name)
    report = tell_now(home, section, notices)
    for failure in report.failures:
        log.warning("%s", failure)
    return Completed(message=f"{report.sent} sent, {report.waiting} waiting, {len(cancelled)} cancelled")
