"""What a run pays as a table in the Prefect UI."""

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from models_lib.steps.payment import Payment, cost_rows
from models_lib.steps.plan import RunPlan
from tasks import policies


@task(name="show-costs", task_run_name="costs-{plan.run_id}", cache_policy=NO_CACHE, **policies.FOR_THE_EYE)
def publish_costs(plan: RunPlan, payment: Payment) -> None:
    """One row a symbol under the key `retrain-costs`: estimate, ceiling, what was billed."""
    rows = cost_rows(plan.run_id, payment, home=plan.home)
    create_table_artifact(key="retrain-costs", table=rows, description=f"run {plan.run_id}: {payment.quote.sentence()}")
