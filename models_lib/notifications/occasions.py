"""Notices of what is no symbol's verdict: a switch that was settled, a champion that expires, a question to a person.

What does not belong here: verdicts (verdicts.py) and when these notices are told (flows).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from models_lib.config import NoticeEvent
from models_lib.notifications.message import Notice
from models_lib.status import ExpiryWarning
from models_lib.steps.outcome import SymbolOutcome
from models_lib.steps.payment import Quote
from models_lib.steps.plan import RunPlan
from models_lib.steps.release import Settled

_EVENTS: dict[str, NoticeEvent] = {"finished": "promoted", "undone": "undone", "unsettled": "failed"}
"""The killed run could not tell of its promotion; where it had changed nothing there is nothing to tell."""


def settled_notices(settled: Iterable[Settled], *, now: datetime) -> list[Notice]:
    """One for each switch that a killed run left and that changed something: the run that is named is the killed one."""
    return [
        Notice(
            event=_EVENTS[each.what],
            run_id=each.run_id,
            symbol=each.symbol,
            stage="deploy",
            reason=each.sentence,
            time=now,
        )
        for each in settled
        if each.what in _EVENTS
    ]


def expiry_notices(warnings: Iterable[ExpiryWarning], *, now: datetime) -> list[Notice]:
    """One a day for each champion whose days are counted."""
    return [
        Notice(
            event="expiring",
            run_id=f"expiring-{warning.symbol}-{now:%Y-%m-%d}",
            symbol=warning.symbol,
            reason=warning.sentence(),
            link=warning.report,
            time=now,
        )
        for warning in warnings
    ]


def approval_notice(plan: RunPlan, waiting: Mapping[str, SymbolOutcome], link: str | None, *, now: datetime) -> Notice:
    """The question whether the waiting candidates shall be promoted."""
    hours = plan.config.approval.time_limit_hours
    return Notice(
        event="approval_needed",
        run_id=plan.run_id,
        reason=f"{', '.join(waiting)}: passed every blocking gate; promote? Without an answer within {hours:g} hours "
        f"they are held. Answer in the UI, or with `crpbot approve`.",
        link=link,
        time=now,
    )


def payment_notice(plan: RunPlan, quote: Quote, link: str | None, *, now: datetime) -> Notice:
    """The question whether the jobs of the run may be paid."""
    hours = plan.config.approval.time_limit_hours
    return Notice(
        event="approval_needed",
        run_id=plan.run_id,
        stage="payment",
        reason=f"{quote.sentence()}; pay? Without an answer within {hours:g} hours the run ends and nothing is billed. "
        f"Answer in the UI, or with `crpbot approve`.",
        link=link,
        time=now,
    )


def preflight_notice(plan: RunPlan, reason: str, link: str | None, *, now: datetime) -> Notice:
    """Why no job of the run was submitted."""
    return Notice(event="preflight_failed", run_id=plan.run_id, stage="preflight", reason=reason, link=link, time=now)
