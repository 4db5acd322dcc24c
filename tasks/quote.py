"""The step that asks what the paid trainings of a run may cost."""

from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps.payment import Quote
from models_lib.steps.plan import RunPlan
from tasks import policies
from tasks.adapters.payment import quote_of


@task(name="quote", task_run_name="quote-{plan.date}", cache_policy=NO_CACHE, **policies.NETWORK)
def quote_run(plan: RunPlan) -> Quote:
    """What the jobs of the run may cost: usual, at their time limits, and by which price."""
    return quote_of(plan, now=datetime.now(UTC))
