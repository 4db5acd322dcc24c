"""How the deployed models do live, as the runtime of the run's target reports it.

What does not belong here: measuring (models_lib.runtime.scoring).
"""

import json
from collections.abc import Mapping
from datetime import datetime

from models_lib.deployment.target import SshOpener
from models_lib.notifications.message import Notice
from models_lib.runtime.figures import LiveFigures
from models_lib.steps.plan import RunPlan
from models_lib.steps.release import target_of


def live_figures(plan: RunPlan, *, ssh: SshOpener) -> dict[str, LiveFigures | None]:
    """The figures of every symbol that the target's runtime serves; empty where none reports. None: nothing measured yet.

    Raises:
        DeployError, TransientError: the target does not answer.
    """
    target = target_of(plan, ssh=ssh)
    health = target.look().health if target is not None else None
    if health is None:
        return {}
    return {
        symbol: LiveFigures.model_validate_json(json.dumps(served.live)) if served.live is not None else None
        for symbol, served in health.symbols.items()
    }


def alarm_notices(figures: Mapping[str, LiveFigures | None], *, now: datetime) -> list[Notice]:
    """One for each alarm, named by when it began: it is told once, however long it stands."""
    return [
        Notice(
            event="live_alarm",
            run_id=f"live-{symbol}-{alarm.figure}-{alarm.since:%Y%m%dT%H%M}",
            symbol=symbol,
            stage="live",
            reason=alarm.sentence,
            time=now,
        )
        for symbol, live in figures.items()
        if live is not None
        for alarm in live.alarms
    ]
