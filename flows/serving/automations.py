"""What Prefect's server does by itself, without a worker: four rules for flow runs that went wrong.

    fell silent       no heartbeat for `silent_seconds` while it works: its process and its worker are gone -> Crashed
    never started     handed to a worker and not running after minutes -> Crashed, so that it occupies no place
    came too late     of a schedule, and no worker took it until the next one is near -> Cancelled
    ended badly       a run of ours failed, crashed or was not admitted -> `night-watch` at once, which tells people

Names are fixed: the ensure-script knows by them what stands on the server.

What does not belong here: talking to the server (ensure.py).
"""

from datetime import timedelta
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from tasks.ui.runs import REFUSED, TOO_LATE

OUR_FLOWS = ["train-all", "train-symbol", "deploy", "compare"]
_PENDING_MINUTES = 15
_LATE_HOURS = 20.0
_WATCH_LATE_HOURS = 0.5

_PENDING = "prefect.flow-run.Pending"
_EACH_RUN = {"prefect.resource.id"}
_ANY_RUN = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})
# Every event of the run: its states carry names of our own (Promoted, Held), and a suspended run is silent by right.
_ANY_SIGN = {"prefect.flow-run.*"}
# Only the states, where those are enough: each event that counts is a write to the server's database.
_MOVED_ON = {
    f"prefect.flow-run.{name}" for name in ("Pending", "Running", "Completed", "Failed", "Cancelled", "Crashed")
}

NO_WORKER = "No worker took this scheduled run until the next one was near; that one takes its place."


def our_automations(night_watch: UUID, *, silent_seconds: int) -> list[AutomationCore]:
    """The four rules.

    Args:
        night_watch: id of the deployment that tells people.
        silent_seconds: without a sign of life for so long, a run is taken for dead; several heartbeats of 30 seconds.
    """
    silent, pending = timedelta(seconds=silent_seconds), timedelta(minutes=_PENDING_MINUTES)
    return [
        AutomationCore(
            name="crpbot: a run fell silent",
            description=f"No heartbeat for {silent_seconds} seconds: the process and its worker are gone.",
            trigger=_absence("prefect.flow-run.heartbeat", _ANY_SIGN, silent, _related_flow(OUR_FLOWS)),
            actions=[
                _crashed(f"No sign of life for {silent_seconds} seconds: its process was killed. Start it again.")
            ],
        ),
        AutomationCore(
            name="crpbot: a run never started",
            description=f"A worker took it and it was not running after {_PENDING_MINUTES} minutes.",
            trigger=_absence(_PENDING, _MOVED_ON - {_PENDING}, pending, _related_flow([*OUR_FLOWS, "night-watch"])),
            actions=[_crashed(f"A worker took it, and {_PENDING_MINUTES} minutes later it was not running.")],
        ),
        _too_late("nightly", _LATE_HOURS),
        _too_late("every-10-minutes", _WATCH_LATE_HOURS),
        AutomationCore(
            name="crpbot: a run ended badly",
            description="The night-watch looks at once, and tells people.",
            trigger=EventTrigger(
                expect={f"prefect.flow-run.{name}" for name in ("Failed", "Crashed", "TimedOut", REFUSED, TOO_LATE)},
                match=_ANY_RUN,
                match_related=_related_flow(OUR_FLOWS),
                for_each=_EACH_RUN,
                posture=Posture.Reactive,
                threshold=1,
                within=timedelta(0),
            ),
            actions=[RunDeployment(source="selected", deployment_id=night_watch, parameters={})],
        ),
    ]


def _too_late(deployment: str, hours: float) -> AutomationCore:
    return AutomationCore(
        name=f"crpbot: {deployment} came too late",
        description=f"Late for {hours:g} hours.",
        trigger=_absence(
            "prefect.flow-run.Late",
            _MOVED_ON,
            timedelta(hours=hours),
            ResourceSpecification({"prefect.resource.role": "deployment", "prefect.resource.name": deployment}),
        ),
        actions=[ChangeFlowRunState(state=StateType.CANCELLED, message=NO_WORKER)],
    )


def _absence(after: str, expect: set[str], within: timedelta, related: ResourceSpecification) -> EventTrigger:
    """Fires when a run gave one event and then, for so long, none of the expected ones."""
    return EventTrigger(
        after={after},
        expect=expect,
        match=_ANY_RUN,
        match_related=related,
        for_each=_EACH_RUN,
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def _related_flow(names: list[str]) -> ResourceSpecification:
    return ResourceSpecification({"prefect.resource.role": "flow", "prefect.resource.name": names})


def _crashed(message: str) -> ActionTypes:
    return ChangeFlowRunState(state=StateType.CRASHED, message=message)
