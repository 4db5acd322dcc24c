"""The step that trains and judges one control beside a model, on this machine."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.backends import LocalBackend
from models_lib.config import ControlName
from models_lib.steps import once
from models_lib.steps.controls import on_this_machine
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import ControlRef, Prepared
from tasks import policies
from tasks.adapters.results import open_results
from tasks.gpu_slot import gpu_slot


@task(
    name="judge-control",
    task_run_name="control-{control}-{prepared.symbol}-{plan.date}",
    cache_policy=NO_CACHE,
    **policies.TRAINING,
)
def judge_control(plan: RunPlan, prepared: Prepared, control: ControlName, *, minutes_left: float) -> ControlRef:
    """What a training came to that must find nothing; never a paid one, and never a bundle."""
    config = on_this_machine(plan.config, minutes_left=minutes_left)
    with gpu_slot(config):
        return once.judge_control(
            plan, prepared, control, config=config, backend=LocalBackend(), shared=open_results(plan.config)
        )
