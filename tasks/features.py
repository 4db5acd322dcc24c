"""The step that computes the 72 features."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps import once
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import CandlesRef, FeaturesRef
from tasks import policies
from tasks.adapters.results import open_results


@task(
    name="compute-features",
    task_run_name="features-{candles.symbol}-{plan.date}",
    cache_policy=NO_CACHE,
    **policies.COMPUTE,
)
def compute_feature_matrix(plan: RunPlan, candles: CandlesRef) -> FeaturesRef:
    """The feature matrix of the symbol's candles."""
    return once.compute_features(plan, candles, shared=open_results(plan.config))
