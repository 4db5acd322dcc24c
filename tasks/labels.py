"""The step that labels the rows and splits them."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps import once
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import CandlesRef, LabelsRef
from tasks import policies
from tasks.adapters.results import open_results


@task(name="label-rows", task_run_name="labels-{candles.symbol}-{plan.date}", cache_policy=NO_CACHE, **policies.COMPUTE)
def label_rows(plan: RunPlan, candles: CandlesRef) -> LabelsRef:
    """Labels and splits of the symbol's candles."""
    return once.label_rows(plan, candles, shared=open_results(plan.config))
