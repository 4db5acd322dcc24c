"""The step that fits the scaler."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps import once
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import CandlesRef, FeaturesRef, LabelsRef, ScalerRef
from tasks import policies
from tasks.adapters.results import open_results


@task(name="fit-scaler", task_run_name="scaler-{candles.symbol}-{plan.date}", cache_policy=NO_CACHE, **policies.COMPUTE)
def fit_feature_scaler(plan: RunPlan, candles: CandlesRef, features: FeaturesRef, labels: LabelsRef) -> ScalerRef:
    """The scaler of the training rows."""
    return once.fit_scaler(plan, candles, features, labels, shared=open_results(plan.config))
