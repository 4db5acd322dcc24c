"""The step that removes what is old when the night's work is done."""

from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps import housekeeping as step
from models_lib.steps.plan import RunPlan
from tasks import policies
from tasks.adapters.links import open_ssh
from tasks.adapters.results import leavings
from tasks.adapters.stores import open_store


@task(name="clean-home", task_run_name="clean-{plan.date}", cache_policy=NO_CACHE, **policies.FOR_THE_EYE)
def clean_home(plan: RunPlan) -> None:
    """Old runs, results of steps and bundles go; the run's verdicts stand whatever comes of it."""
    store = open_store(plan.home, plan.config.storage, plan.config.aws)
    step.clean_up(plan, store=store, elsewhere=leavings(plan.config), now=datetime.now(UTC), ssh=open_ssh)
