"""The findings before a paid training as a table in the Prefect UI."""

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from models_lib.preflight import Preflight
from models_lib.reports import wording
from models_lib.steps.plan import RunPlan
from tasks import policies


@task(name="show-preflight", task_run_name="preflight-{plan.run_id}", cache_policy=NO_CACHE, **policies.FOR_THE_EYE)
def publish_preflight(plan: RunPlan, found: Preflight) -> None:
    """One row a finding under the key `preflight`, what failed first."""
    order = ("fail", "unknown", "pass")
    rows = [
        {
            "check": each.check,
            "symbol": each.symbol or "",
            "answer": "**fail**" if each.answer == "fail" else each.answer,
            "fact": wording.inert_markdown(each.fact),
            "remedy": wording.inert_markdown(each.remedy),
        }
        for each in sorted(found.findings, key=lambda each: order.index(each.answer))
    ]
    failed = f"{len(found.failed)} of {len(found.findings)} checks failed"
    create_table_artifact(key="preflight", table=rows, description=f"run {plan.run_id}: {failed}")
