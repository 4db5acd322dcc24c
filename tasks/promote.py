"""The step that makes the candidate the champion, by compare-and-set against the one it was judged against."""

from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps import promote as step
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import Judged, PromotionRef
from tasks import policies
from tasks.adapters.stores import registry_of


@task(
    name="promote-bundle",
    task_run_name="promote-{judged.prepared.symbol}-{plan.date}",
    cache_policy=NO_CACHE,
    **policies.REGISTRY,
)
def promote_bundle(plan: RunPlan, judged: Judged) -> PromotionRef:
    """What the registry answered."""
    return step.promote_candidate(plan, judged, registry=registry_of(plan), now=datetime.now(UTC))
