"""The step that trains the network: in a subprocess of its own, or where the configuration says."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps import once
from models_lib.steps.costs import refuse_unapproved
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import Prepared, TrainedRef
from tasks import policies
from tasks.adapters.backends import open_backend
from tasks.adapters.results import open_results
from tasks.gpu_slot import gpu_slot
from tasks.ui.progress import training_in_the_ui


@task(
    name="train-model", task_run_name="train-{prepared.symbol}-{plan.date}", cache_policy=NO_CACHE, **policies.TRAINING
)
def train_model(plan: RunPlan, prepared: Prepared) -> TrainedRef:
    """Weights of the best epoch by validation NLL after temperature."""
    refuse_unapproved(plan)
    with gpu_slot(plan.config), training_in_the_ui(prepared.symbol):
        return once.train_model(plan, prepared, backend=open_backend(plan), shared=open_results(plan.config))
