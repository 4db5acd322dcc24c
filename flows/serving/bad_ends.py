"""Runs that ended without a word of ours, and children that a killed parent left behind, as Prefect's API tells them.

A run that comes to a verdict tells people itself. What is told here is everything else: crashed runs, errors outside of
the symbols, runs that were refused or cancelled by a rule. Only runs without a parent: a child is its parent's business.

What does not belong here: delivering (tasks/notify.py), and noticing that a run is dead (automations.py).
"""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterParentTaskRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled, Cancelling
from prefect.utilities.urls import url_for

from flows.serving.automations import NO_WORKER, OUR_FLOWS
from flows.serving.late_runs import SUPERSEDED
from models_lib.config import NoticeEvent
from models_lib.notifications import Notice
from models_lib.running import running_runs
from models_lib.steps.admission import running_retrain
from models_lib.steps.plan import token_of
from tasks.ui.runs import NOT_DEPLOYED, PREFLIGHT_FAILED, REFUSED, TOO_LATE

LOOK_BACK = timedelta(days=3)
"""Longer than a weekend without a worker; a notice that was posted is not posted again."""
_VERDICT = re.compile(r"\d+ of \d+ promoted")
"""How the message of a run begins that came to a verdict for every symbol (models_lib.steps.summary)."""
_LIMIT = "Deployment concurrency limit reached."
"""What Prefect says where an operator gave a deployment a limit."""
_CANCELLED_BY_RULE = (_LIMIT, SUPERSEDED, NO_WORKER)
_ORPHANED = "The run that started this one has ended."
_PAGE = 200


def bad_ends(client: SyncPrefectClient, home: Path, now: datetime) -> list[Notice]:
    """One notice for each run of the last days that ended badly and could not say so itself.

    Not of one that is called crashed and lives: it tells its verdict itself.
    """
    ended = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=OUR_FLOWS)),
        flow_run_filter=FlowRunFilter(
            state=_states(StateType.CRASHED, StateType.FAILED, StateType.CANCELLED),
            end_time=FlowRunFilterEndTime(after_=now - LOOK_BACK),
            parent_task_run_id=FlowRunFilterParentTaskRunId(is_null_=True),
        ),
        sort=FlowRunSort.END_TIME_DESC,
        limit=_PAGE,
    )
    untold = [run for run in reversed(ended) if run.state and told_by_nobody(run.state) and not lives(run, home)]
    return [_notice(run, run.state) for run in untold if run.state]


def told_by_nobody(state: State) -> bool:
    """Whether a run that ended in this state told neither a verdict nor its deployment, and was not stopped by a person."""
    message = state.message or ""
    match state.type:
        case StateType.CRASHED:
            return True
        case StateType.FAILED:
            return state.name not in {NOT_DEPLOYED, PREFLIGHT_FAILED} and not _VERDICT.match(message)
        case StateType.CANCELLED:
            return state.name in {REFUSED, TOO_LATE} or message in _CANCELLED_BY_RULE
        case _:
            return False


def _notice(run: FlowRun, state: State) -> Notice:
    event: NoticeEvent = "crashed" if state.is_crashed() else "failed"
    return Notice(
        event=event,
        run_id=str(run.id),
        reason=f"{run.name} {state.name.lower() if state.name else event}: {state.message or 'no reason is known'}",
        link=url_for("flow-run", run.id),
        time=state.timestamp or datetime.now(UTC),
    )


def lives(parent: FlowRun, home: Path) -> bool:
    """Whether a process works on the run, whatever the server says: after an outage it calls living runs crashed.

    The run folder's lock is shared by its children on a pool, so a run of a deployment must hold the home's retrain lock,
    too. The children of one without a deployment are left to end by themselves.
    """
    if not any(folder.name.endswith(f"-{token_of(str(parent.id))}") for folder in running_runs(home)):
        return False
    return parent.deployment_id is None or running_retrain(home) == parent.name


def cancel_left_behind(client: SyncPrefectClient, home: Path) -> list[str]:
    """Cancels children whose parent has ended, as it does when it is killed; gives their names."""
    children = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=OUR_FLOWS)),
        flow_run_filter=FlowRunFilter(
            state=_states(StateType.RUNNING, StateType.PENDING, StateType.SCHEDULED),
            parent_task_run_id=FlowRunFilterParentTaskRunId(is_null_=False),
        ),
        limit=_PAGE,
    )
    left = [child for child in children if _parent_has_ended(client, home, child)]
    for child in left:
        # Another process works on it, and its worker ends that process; one that never began needs no worker.
        elsewhere = child.infrastructure_pid is not None
        state: State[None] = Cancelling(message=_ORPHANED) if elsewhere else Cancelled(message=_ORPHANED)
        client.set_flow_run_state(child.id, state, force=not elsewhere)
    return [child.name for child in left]


def _parent_has_ended(client: SyncPrefectClient, home: Path, child: FlowRun) -> bool:
    if child.parent_task_run_id is None:
        return False
    launched_by = client.read_task_run(child.parent_task_run_id).flow_run_id
    if launched_by is None:
        return False
    parent = client.read_flow_run(launched_by)
    return parent.state is not None and parent.state.is_final() and not lives(parent, home)


def _states(*types: StateType) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))
