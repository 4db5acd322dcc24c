"""After an outage several runs of one schedule are due at once; only the latest of each deployment is carried out.

Without this the worker takes them all at once, and the one that comes first has the others refused; that need not be the
present night. Runs that a person asked for are never touched.

What does not belong here: how late a run may be (train-all decides that for itself).
"""

from collections import defaultdict
from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled

SUPERSEDED = "A later run of the same schedule was due as well; only the latest is carried out."
_PAGE = 200


async def cancel_superseded(client: PrefectClient, pool: str, *, now: datetime | None = None) -> list[FlowRun]:
    """Cancels what the latest due run of its deployment makes needless; returns the cancelled ones."""
    due = await _due_runs(client, pool, now or datetime.now(UTC))
    by_deployment: dict[UUID, list[FlowRun]] = defaultdict(list)
    for run in due:
        # One that has run before goes on after a pause: it holds what a person answered.
        if run.auto_scheduled and run.run_count == 0 and run.deployment_id is not None:
            by_deployment[run.deployment_id].append(run)
    superseded = [run for runs in by_deployment.values() for run in runs[:-1]]
    for run in superseded:
        await client.set_flow_run_state(run.id, Cancelled(message=SUPERSEDED))
    return superseded


async def _due_runs(client: PrefectClient, pool: str, now: datetime) -> list[FlowRun]:
    """Those that should have begun, oldest first."""
    found: list[FlowRun] = []
    while True:
        page = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
                next_scheduled_start_time=FlowRunFilterNextScheduledStartTime(before_=now),
            ),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
            sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC,
            limit=_PAGE,
            offset=len(found),
        )
        found += page
        if len(page) < _PAGE:
            return found
