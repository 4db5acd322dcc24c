"""What follows a verdict: people are told, the dead-man switch is pinged, old files go. Nothing here changes a verdict.

What does not belong here: verdicts, and what is told about them (models_lib.notifications).
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from prefect.runtime import deployment, flow_run

from models_lib.notifications.occasions import approval_notice, expiry_notices, settled_notices
from models_lib.notifications.verdicts import notices_of
from models_lib.status import expiring
from models_lib.steps.outcome import SymbolOutcome
from models_lib.steps.plan import RunPlan
from models_lib.steps.release import Settled
from tasks.clean import clean_home
from tasks.dead_man import ping_dead_man
from tasks.notify import tell
from tasks.ui.publish import harmless
from tasks.ui.runs import NIGHTLY


def link_of_run() -> str | None:
    """The run in the UI; None for a run whose server ends with it."""
    return flow_run.ui_url if deployment.id is not None else None


def tell_settled(plan: RunPlan, settled: Iterable[Settled]) -> None:
    """Tells what was done about switches that killed runs left."""
    if notices := settled_notices(settled, now=datetime.now(UTC)):
        harmless(tell, plan, notices)


def tell_question(plan: RunPlan, waiting: Mapping[str, SymbolOutcome]) -> None:
    """Tells that the run waits for a person; a run without a deployment does not wait."""
    if deployment.id is not None:
        harmless(tell, plan, [approval_notice(plan, waiting, link_of_run(), now=datetime.now(UTC))])


def after_the_verdicts(plan: RunPlan, outcomes: Mapping[str, SymbolOutcome]) -> None:
    """Tells the verdicts and which champions expire soon; a run of a deployment also cleans up."""
    now = datetime.now(UTC)
    warnings = expiring(plan.home, plan.symbols, now=now)
    harmless(tell, plan, [*notices_of(plan, outcomes, link_of_run(), now=now), *expiry_notices(warnings, now=now)])
    if NIGHTLY in flow_run.tags:
        harmless(ping_dead_man, plan)
    if deployment.id is not None:
        harmless(clean_home, plan)
