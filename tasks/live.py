"""The step that shows how the deployed models do live, and tells people when one does worse than its test promised."""

from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.reports.live import live_piece
from models_lib.steps import live as step
from models_lib.steps.plan import RunPlan
from tasks import policies
from tasks.adapters.links import open_ssh
from tasks.notify import tell_now
from tasks.ui.publish import publish


@task(name="show-live", task_run_name="live-{plan.date}", cache_policy=NO_CACHE, **policies.FOR_THE_EYE)
def show_live(plan: RunPlan) -> None:
    """One artifact for all symbols; nothing where no runtime reports."""
    figures = step.live_figures(plan, ssh=open_ssh)
    if figures:
        publish(live_piece(figures))
        tell_now(plan.home, plan.config.notifications, step.alarm_notices(figures, now=datetime.now(UTC)))
