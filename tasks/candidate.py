"""The step that writes the candidate bundle."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps import once
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import CandidateRef, Fitted, Prepared
from tasks import policies
from tasks.adapters.results import open_results


@task(
    name="build-candidate",
    task_run_name="candidate-{prepared.symbol}-{plan.date}",
    cache_policy=NO_CACHE,
    **policies.COMPUTE,
)
def build_candidate(plan: RunPlan, prepared: Prepared, fitted: Fitted) -> CandidateRef:
    """A complete bundle folder with golden vectors."""
    return once.build_candidate(plan, prepared, fitted, shared=open_results(plan.config))
