"""The step that ships the champion to the trading host. No target can be configured yet, and it says so."""

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models_lib.steps.outcome import NOT_CONFIGURED, Deployment
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import Prepared, PromotionRef
from tasks import policies


@task(
    name="deploy-bundle",
    task_run_name="deploy-{prepared.symbol}-{plan.date}",
    cache_policy=NO_CACHE,
    **policies.COMPUTE,
)
def deploy_bundle(plan: RunPlan, prepared: Prepared, promotion: PromotionRef) -> Deployment:
    """The deployment's outcome: `not_configured` while the configuration names no target."""
    if plan.config.deployment.target is None:
        get_run_logger().info("%s: %s; no target configured, nothing deployed", prepared.symbol, promotion.outcome)
    return NOT_CONFIGURED
