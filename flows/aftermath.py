"""What follows a verdict: people are told, the dead-man switch is pinged, old files go. Nothing here changes a verdict.

What does not belong here: verdicts, and what is told about them (models_lib.notifications).
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from prefect.runtime import deployment, flow_run

from models_lib.notifications.occasions import approval_notice, settled_notices
from models_lib.notifications.verdicts import notices_of
from models_lib.steps.outcome import SymbolOutcome
from models_lib.steps.plan import RunPlan
from models_lib.steps.release import Settled
from tasks.clean import clean_home
from tasks.dead_man import ping_dead_man
from tasks.live import show_live
from tasks.notify import tell
from tasks.tell_verdicts import tell_verdicts
from tasks.ui.publish import harmless
from tasks.ui.runs import NIGHTLY


def link_of_run() -> str | None:
    """The run in the UI; None for a run whose server ends with it."""
    return flow_run.ui_url if deployment.id is not None else None


def tell_settled(plan: RunPlan, settled: Iterable[Settled]) -> None:
    """Tells what was done about switches that killed runs left."""
    if notices := settled_notices(settled, now=datetime.now(UTC)):
        harmless(tell, plan, notices)


def tell_question(plan: RunPlan, outcomes: Mapping[str, SymbolOutcome], waiting: Mapping[str, SymbolOutcome]) -> None:
    """Tells that the run waits for a person, and what became of the symbols that do not: nobody may ever answer.

    A run without a deployment does not wait.
    """
    if deployment.id is None:
        return
    now, link = datetime.now(UTC), link_of_run()
    decided = {symbol: outcome for symbol, outcome in outcomes.items() if symbol not in waiting}
    of_symbols = [notice for notice in notices_of(plan, decided, link, now=now) if notice.symbol is not None]
    harmless(tell, plan, [*of_symbols, approval_notice(plan, waiting, link, now=now)])
    ping_after_a_night(plan)


def after_the_verdicts(plan: RunPlan, outcomes: Mapping[str, SymbolOutcome]) -> None:
    """Tells the verdicts and which champions expire soon; a run of a deployment also shows the live figures and cleans up."""
    harmless(tell_verdicts, plan, dict(outcomes), link_of_run())
    ping_after_a_night(plan)
    if deployment.id is not None:
        harmless(show_live, plan)
        harmless(clean_home, plan)


def ping_after_a_night(plan: RunPlan) -> None:
    """Tells the dead-man switch that the night's work is done; it is not told of other runs."""
    if NIGHTLY in flow_run.tags:
        harmless(ping_dead_man, plan)
