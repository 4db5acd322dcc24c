"""The step that writes the page of the run folder again, with what became of the candidate."""

from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps import report as step
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import Fitted, JudgementRef, Prepared, PromotionRef, StoredRef
from tasks import policies


@task(
    name="finish-report",
    task_run_name="report-{prepared.symbol}-{plan.date}",
    cache_policy=NO_CACHE,
    **policies.COMPUTE,
)
def finish_report(
    plan: RunPlan,
    prepared: Prepared,
    fitted: Fitted,
    judgement: JudgementRef,
    stored: StoredRef,
    *,
    promotion: PromotionRef,
    seconds: dict[str, float],
) -> None:
    """The page says promoted, already champion, or held and why."""
    now = datetime.now(UTC)
    step.finish_report(plan, prepared, fitted, judgement, stored, promotion=promotion, seconds=seconds, now=now)
