"""The step that writes the report and puts the judged candidate into the store, held or not."""

from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps import store as step
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import CandidateRef, ControlRef, Fitted, JudgementRef, Prepared, StoredRef
from tasks import policies
from tasks.adapters.stores import registry_of


@task(
    name="store-candidate",
    task_run_name="store-{prepared.symbol}-{plan.date}",
    cache_policy=NO_CACHE,
    **policies.NETWORK,
)
def store_candidate(
    plan: RunPlan,
    prepared: Prepared,
    fitted: Fitted,
    candidate: CandidateRef,
    judgement: JudgementRef,
    *,
    controls: tuple[ControlRef, ...],
    seconds: dict[str, float],
) -> StoredRef:
    """The bundle in the store, with the facts of its run and its report beside it."""
    return step.store_candidate(
        plan,
        prepared,
        fitted,
        candidate,
        judgement,
        registry=registry_of(plan),
        controls=controls,
        seconds=seconds,
        now=datetime.now(UTC),
    )
