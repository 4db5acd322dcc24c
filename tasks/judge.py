"""The step that measures the candidate as it was saved, and judges it by every gate."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps import once
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import CandidateRef, Fitted, JudgementRef, Prepared
from tasks import policies
from tasks.adapters.results import open_results
from tasks.adapters.stores import registry_of


@task(
    name="judge-candidate",
    task_run_name="judge-{prepared.symbol}-{plan.date}",
    cache_policy=NO_CACHE,
    **policies.NETWORK,
)
def judge_candidate(plan: RunPlan, prepared: Prepared, fitted: Fitted, candidate: CandidateRef) -> JudgementRef:
    """Metrics and gates on the untouched test rows; a gate that says no is a result."""
    return once.judge_candidate(
        plan, prepared, fitted, candidate, registry=registry_of(plan), shared=open_results(plan.config)
    )
