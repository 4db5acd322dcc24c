"""The step that writes the page of the run folder again, with what became of the candidate."""

from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps import report as step
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import Judged, PromotionRef
from tasks import policies


@task(
    name="finish-report",
    task_run_name="report-{judged.prepared.symbol}-{plan.date}",
    cache_policy=NO_CACHE,
    **policies.COMPUTE,
)
def finish_report(plan: RunPlan, judged: Judged, *, promotion: PromotionRef, seconds: dict[str, float]) -> None:
    """The page says promoted, already champion, or held and why."""
    step.finish_report(plan, judged, promotion=promotion, seconds=seconds, now=datetime.now(UTC))
