"""The step before a paid training: everything that it would fail at."""

from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.preflight import Preflight
from models_lib.steps.plan import RunPlan
from tasks import policies
from tasks.adapters.payment import preflight_of


@task(name="preflight", task_run_name="preflight-{plan.date}", cache_policy=NO_CACHE, **policies.NETWORK)
def check_run(plan: RunPlan) -> Preflight:
    """The findings for every symbol of the run; one that failed is an answer."""
    return preflight_of(plan, now=datetime.now(UTC))
