"""The step that puts the champion to use at the deployment target, or says that none is configured."""

from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps import release as step
from models_lib.steps.candles import read_candles
from models_lib.steps.outcome import Deployment
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import Judged
from tasks import policies
from tasks.adapters.links import open_ssh
from tasks.adapters.stores import registry_of


@task(
    name="deploy-bundle",
    task_run_name="deploy-{judged.prepared.symbol}-{plan.date}",
    cache_policy=NO_CACHE,
    **policies.NETWORK,
)
def deploy_bundle(plan: RunPlan, judged: Judged) -> Deployment:
    """The deployment's outcome: `not_configured` while the configuration names no target."""
    return step.deploy(
        plan,
        judged.prepared.symbol,
        judged.stored,
        registry=registry_of(plan),
        candles=partial(read_candles, judged.prepared.candles),
        ssh=open_ssh,
    )
