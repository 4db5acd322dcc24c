"""The step that tells the dead-man switch outside that this night's run came to its end."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.errors import CrpbotError
from models_lib.steps.plan import RunPlan
from tasks import policies
from tasks.adapters import dead_man

log = logging.getLogger("models_lib.notifications")


@task(name="ping-dead-man", task_run_name="ping-dead-man-{plan.date}", cache_policy=NO_CACHE, **policies.FOR_THE_EYE)
def ping_dead_man(plan: RunPlan) -> bool:
    """Whether it was told; a switch that cannot be reached is a warning, and its own alarm does the rest."""
    try:
        return dead_man.ping(plan.config.notifications.timeout_seconds)
    except CrpbotError as error:
        log.warning("the dead-man switch was not told: %s", error)
        return False
