"""`night-watch`: a small flow, every ten minutes and right after each bad end of a run.

It tells people of runs that could not speak for themselves, sends what an endpoint did not take before, and cancels
what a killed parent left behind. A dead endpoint is a warning here, never a failure.

One at a time in a home, by a lock that ends with its process, and not by a concurrency limit of the deployment: Prefect
leases the place for five minutes, and a night-watch that dies with its worker or with the server would keep all others
away for so long.

What does not belong here: which runs those are (bad_ends.py), and how a message is delivered (tasks/notify.py).
"""

import fcntl
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed

from flows.home import config_file, crpbot_home, make_home
from flows.serving.bad_ends import bad_ends, cancel_left_behind
from models_lib.config import load_config
from tasks.notify import tell_now

log = logging.getLogger("models_lib.serving")

LOCK = "night-watch.lock"
"""In the home; the one that looks holds the flock on it."""


@flow(name="night-watch", validate_parameters=True)
def night_watch(config: Path | None = None) -> State[Any]:
    """Looks after what was left behind, and tells people.

    Args:
        config: YAML file on the worker whose `notifications` say who is told; empty: CRPBOT_CONFIG, else the built-in
            defaults.
    """
    home = crpbot_home()
    make_home(home)
    with (home / LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return Cancelled(message=f"Another night-watch looks after {home} at this moment.")
        return _look(home, config)


def _look(home: Path, config: Path | None) -> State[Any]:
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
