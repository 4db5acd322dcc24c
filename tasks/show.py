"""The step that shows a judged symbol in the Prefect UI: verdict, gates, charts, where its page lies."""

from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps import show as step
from models_lib.steps.outcome import SymbolOutcome
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import Judged
from tasks import policies
from tasks.ui.publish import publish


@task(
    name="show-symbol",
    task_run_name="show-{outcome.symbol}-{plan.date}",
    cache_policy=NO_CACHE,
    **policies.FOR_THE_EYE,
)
def show_symbol(plan: RunPlan, judged: Judged, outcome: SymbolOutcome) -> None:
    """One artifact a piece, under keys that name the symbol."""
    for piece in step.pieces_of(plan, judged, outcome, now=datetime.now(UTC)):
        publish(piece)
