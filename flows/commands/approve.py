"""`crpbot approve`: the answer to a run that waits for a person, as the UI's form would give it."""

import argparse

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import FlowPauseTimeout, NotPausedError
from prefect.flow_runs import resume_flow_run

from flows.home import operator
from models_lib.errors import ConfigError, CrpbotError


def execute(arguments: argparse.Namespace) -> int:
    """Lists what waits, or answers it; 1 when the answer came too late."""
    with get_client(sync_client=True) as client:
        waiting = waiting_runs(client)
        if arguments.run is None:
            print("\n".join(f"{run.name}  {run.id}" for run in waiting) or "no run waits for approval")
            return 0
        run = the_one(waiting, arguments.run)
    decision = "hold" if arguments.hold else "promote"
    answer = {
        "decision": decision,
        "symbols": list(arguments.symbols),
        "by": arguments.by or operator(),
        "note": arguments.note,
    }
    try:
        resume_flow_run(run.id, run_input=answer)
    except (FlowPauseTimeout, NotPausedError) as error:
        raise CrpbotError(f"{run.name} waits no longer: {error} Its candidates are held; start a new run.") from error
    print(f"{run.name}: {decision}, by {answer['by']}; the run goes on when a worker takes it")
    return 0


def waiting_runs(client: SyncPrefectClient) -> list[FlowRun]:
    """The suspended runs of train-all, the oldest first."""
    suspended = FlowRunFilter.model_validate({"state": {"type": {"any_": ["PAUSED"]}}})
    runs = client.read_flow_runs(flow_run_filter=suspended, sort=FlowRunSort.START_TIME_ASC)
    return [run for run in runs if run.name.startswith("train-all")]


def the_one(waiting: list[FlowRun], name: str) -> FlowRun:
    """The waiting run of that name or id.

    Raises:
        ConfigError: none, or several.
    """
    found = [run for run in waiting if name in (run.name, str(run.id))]
    if len(found) != 1:
        known = ", ".join(f"{run.name} ({run.id})" for run in waiting) or "none"
        raise ConfigError(f"{name!r} names {len(found)} of the runs that wait for approval; they are: {known}.")
    return found[0]
