"""The step that tells what became of a run, and which champions expire soon."""

from collections.abc import Mapping
from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.notifications import DeliveryReport
from models_lib.notifications.occasions import expiry_notices
from models_lib.notifications.verdicts import notices_of
from models_lib.status import expiring
from models_lib.steps.outcome import SymbolOutcome
from models_lib.steps.plan import RunPlan
from tasks import policies
from tasks.adapters.stores import registry_to_look_at
from tasks.notify import tell_now


@task(name="tell-verdicts", task_run_name="tell-verdicts-{plan.date}", cache_policy=NO_CACHE, **policies.FOR_THE_EYE)
def tell_verdicts(plan: RunPlan, outcomes: Mapping[str, SymbolOutcome], link: str | None) -> DeliveryReport:
    """Posts the notices and delivers what is due."""
    now = datetime.now(UTC)
    warnings = expiring(plan.home, plan.symbols, registry=registry_to_look_at(plan.home, plan.config), now=now)
    notices = [*notices_of(plan, outcomes, link, now=now), *expiry_notices(warnings, now=now)]
    return tell_now(plan.home, plan.config.notifications, notices)
