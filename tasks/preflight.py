"""The steps before a paid training: what it would fail at, what it may cost, and both as tables in the Prefect UI."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from models_lib.preflight import Preflight
from models_lib.reports import wording
from models_lib.steps.payment import Payment, Quote, cost_rows
from models_lib.steps.plan import RunPlan
from tasks import policies

if TYPE_CHECKING:
    from tasks.adapters.aws.clients import Aws


@task(name="preflight", task_run_name="preflight-{plan.date}", cache_policy=NO_CACHE, **policies.NETWORK)
def check_run(plan: RunPlan) -> Preflight:
    """The findings for every symbol of the run; one that failed is an answer."""
    from tasks.adapters.sagemaker.checks import preflight  # noqa: PLC0415 - boto3 only where it is used

    now = datetime.now(UTC)
    return preflight(plan.config, home=plan.home, symbols=plan.symbols, aws=_aws(plan), now=now, run_id=plan.run_id)


@task(name="quote", task_run_name="quote-{plan.date}", cache_policy=NO_CACHE, **policies.NETWORK)
def quote_run(plan: RunPlan) -> Quote:
    """What the jobs of the run may cost."""
    from tasks.adapters.sagemaker.quote import quote_for  # noqa: PLC0415 - boto3 only where it is used

    return quote_for(plan.config, home=plan.home, symbols=plan.symbols, aws=_aws(plan), now=datetime.now(UTC))


@task(name="publish-preflight", task_run_name="preflight-{plan.run_id}", cache_policy=NO_CACHE, **policies.FOR_THE_EYE)
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


@task(name="publish-costs", task_run_name="costs-{plan.run_id}", cache_policy=NO_CACHE, **policies.FOR_THE_EYE)
def publish_costs(plan: RunPlan, payment: Payment) -> None:
    """One row a symbol under the key `retrain-costs`: estimate, ceiling, what was billed."""
    rows = cost_rows(plan.run_id, payment, home=plan.home)
    create_table_artifact(key="retrain-costs", table=rows, description=f"run {plan.run_id}: {payment.quote.sentence()}")


def _aws(plan: RunPlan) -> "Aws":
    from tasks.adapters.aws.clients import Aws  # noqa: PLC0415 - boto3 only where it is used

    assert plan.config.aws.region is not None, "the configuration sees to it"
    return Aws(plan.config.aws.region)
