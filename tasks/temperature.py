"""The step that fits the temperature and sweeps others beside it."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps import once
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import Prepared, TemperatureRef, TrainedRef
from tasks import policies
from tasks.adapters.results import open_results


@task(
    name="tune-temperature",
    task_run_name="temperature-{prepared.symbol}-{plan.date}",
    cache_policy=NO_CACHE,
    **policies.COMPUTE,
)
def tune_temperature(plan: RunPlan, prepared: Prepared, trained: TrainedRef) -> TemperatureRef:
    """The temperature with the smallest validation NLL."""
    return once.tune_temperature(plan, prepared, trained, shared=open_results(plan.config))
