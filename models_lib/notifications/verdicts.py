"""The notices of a finished run: one or two a symbol and one for the run, or one digest where there are many symbols.

What does not belong here: sending them, and what happened outside of the steps (a crashed run, an expiring champion).
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from models_lib.config import NoticeEvent
from models_lib.notifications.message import Figure, Notice, cut
from models_lib.reports.controls import control_lines
from models_lib.reports.summary import told
from models_lib.steps.outcome import SymbolOutcome
from models_lib.steps.plan import RunPlan
from models_lib.steps.summary import headline

FIRST_IN_A_DIGEST = 5
"""Symbols that a digest names; the summary has all of them."""
LONGEST_NOTE = 300
_GRAVEST_FIRST: tuple[NoticeEvent, ...] = (
    "failed",
    "rolled_back",
    "held",
    "control_alarm",
    "data_alarm",
    "promoted",
    "deployed",
    "completed",
)
_TROUBLES = _GRAVEST_FIRST[:5]
_STAGE = "deploy"


def notices_of(
    plan: RunPlan, outcomes: Mapping[str, SymbolOutcome], link: str | None, *, now: datetime
) -> list[Notice]:
    """What to tell about a finished run, of the events that the plan's configuration wants told.

    Args:
        plan: the run.
        outcomes: what became of each symbol.
        link: the run in the UI; without one a symbol's notice names its report.
        now: when the run ended, aware.
    """
    section = plan.config.notifications
    every = [notice for outcome in outcomes.values() for notice in _of_symbol(plan, outcome, link, now)]
    every.append(Notice(event="completed", run_id=plan.run_id, reason=_end(outcomes), link=link, time=now))
    wanted = [notice for notice in every if notice.event in section.events]
    if len(outcomes) <= section.digest_symbols or not wanted:
        return wanted
    return [_digest(plan, wanted, num_symbols=len(outcomes), link=link, now=now)]


def _of_symbol(plan: RunPlan, outcome: SymbolOutcome, link: str | None, now: datetime) -> list[Notice]:
    def notice(event: NoticeEvent, reason: str, stage: str | None = None, figures: tuple[Figure, ...] = ()) -> Notice:
        return Notice(
            event=event,
            run_id=plan.run_id,
            symbol=outcome.symbol,
            stage=stage,
            reason=reason,
            figures=figures,
            link=link or outcome.report,
            time=now,
        )

    notices = []
    if not _changed_nothing(outcome):
        reason = "\n".join((told(outcome.summary_entry()), *_control_lines(outcome)))
        notices.append(notice(outcome.outcome, reason, figures=_failed_figures(outcome)))
    if found := [control["alarm"] for control in outcome.controls if control["alarm"]]:
        words = "\n".join(alarm["words"] for alarm in found)
        notices.append(notice("control_alarm", words, "controls", tuple(map(_figure, found))))
    if alarms := (outcome.data or {}).get("alarms"):
        words = "\n".join(alarm["words"] for alarm in alarms)
        notices.append(notice("data_alarm", words, "candles", tuple(map(_figure, alarms))))
    if deployed := _deployed(outcome):
        notices.append(notice(*deployed, _STAGE))
    return notices


def _control_lines(outcome: SymbolOutcome) -> list[str]:
    """The model beside its controls, a line each; none where none was asked for."""
    return control_lines((outcome.metrics or {}).get("test", {}), outcome.controls)


def _deployed(outcome: SymbolOutcome) -> tuple[NoticeEvent, str] | None:
    """Event and reason of what the deployment came to; None where there was none."""
    target = outcome.deployment.target or "the target"
    match outcome.deployment.outcome:
        case "deployed":
            return "deployed", f"{target} runs release {outcome.deployment.release}"
        case "rolled_back":
            return "rolled_back", f"{target} runs the earlier release again: {outcome.reason}"
        case "failed" if outcome.deployment.unhealthy:
            return "failed", f"LOOK AT {target} NOW: {outcome.reason}"
        case "failed":
            return "failed", f"the deployment to {target} failed: {outcome.reason}"
        case "not_configured":
            return None


def _changed_nothing(outcome: SymbolOutcome) -> bool:
    """A candidate equal to the champion; the run's own notice names it."""
    return outcome.outcome == "promoted" and outcome.reason == "already champion"


def _failed_figures(outcome: SymbolOutcome) -> tuple[Figure, ...]:
    """What every blocking gate that was not passed measured."""
    failed = [gate for gate in outcome.gates if gate["severity"] == "blocking" and not gate["passed"]]
    return tuple(_figure(gate) for gate in failed)


def _figure(gate: Mapping[str, Any]) -> Figure:
    note = " ".join(str(gate.get("note") or "").split())
    return Figure(name=gate["name"], value=gate["value"], limit=gate["limit"], note=cut(note, LONGEST_NOTE))


def _end(outcomes: Mapping[str, SymbolOutcome]) -> str:
    """The run's headline, and who was champion already."""
    unchanged = [outcome.symbol for outcome in outcomes.values() if _changed_nothing(outcome)]
    rest = f"\nalready champion: {', '.join(unchanged)}" if unchanged else ""
    return headline(dict(outcomes)) + rest


def _digest(plan: RunPlan, notices: list[Notice], *, num_symbols: int, link: str | None, now: datetime) -> Notice:
    """One notice for all: how many of each kind, and the first of the gravest; its event is the gravest one."""
    ordered = sorted(notices, key=lambda notice: _GRAVEST_FIRST.index(notice.event))
    counts = Counter(notice.event for notice in ordered if notice.symbol is not None)
    told_counts = ", ".join(f"{count:,} {event.replace('_', ' ')}" for event, count in counts.items())
    troubles = [notice for notice in ordered if notice.event in _TROUBLES]
    lines = [f"{num_symbols:,} symbols: {told_counts or 'no news'}"]
    lines += [f"- {notice.title()}" for notice in troubles[:FIRST_IN_A_DIGEST]]
    if len(troubles) > FIRST_IN_A_DIGEST:
        lines.append(f"and {len(troubles) - FIRST_IN_A_DIGEST:,} more; the summary has them all")
    return Notice(
        event=ordered[0].event,
        run_id=plan.run_id,
        stage="digest",
        reason="\n".join(lines),
        link=link or str(plan.folder / "summary.md"),
        time=now,
    )
