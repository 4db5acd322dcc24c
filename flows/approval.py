"""Waiting for a person before promotion and deployment, with Prefect's own suspension and typed input.

The run is suspended: its process ends, nothing is held open for hours, and when a person answers, in the UI or with
`crpbot approve`, Prefect schedules the same run again. It finds what it had finished and goes on behind the judgement.
When nobody answers in time Prefect fails the run ("never resumed"); the candidates are held and the champions stay, which
the summary says already before the wait.

A run without a deployment, such as `crpbot run`, cannot be suspended and asks nobody: its candidates are held, and the
same command with --yes promotes them at once, because the finished steps are kept.

What does not belong here: what an approval changes (models_lib.steps.outcome).
"""

from collections.abc import Mapping
from typing import Literal

from prefect import suspend_flow_run
from prefect.events import emit_event
from prefect.exceptions import Pause
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from pydantic import Field, create_model
from pydantic.config import JsonDict

from models_lib.reports.summary import told
from models_lib.steps.outcome import SymbolOutcome
from models_lib.steps.plan import Approval, RunPlan

PAUSE_KEY = "approval"
"""A run asks once: with the same key Prefect hands the earlier answer to a run that is run again."""
_SYMBOLS_TOLD = "Symbols to promote; the others are held."


class Answer(RunInput):
    """What a person answers; shown as a form. Prefect's server refuses an answer that breaks its schema."""

    decision: Literal["promote", "hold"] = Field(
        description="promote: the symbols named below become champions and are deployed. hold: none does."
    )
    symbols: list[str] = Field(min_length=1, description=_SYMBOLS_TOLD)
    by: str = Field(min_length=1, max_length=80, description="Your name, for the ledger.")
    note: str = Field(default="", max_length=500, description="A remark, for the ledger.")


def ask_person(plan: RunPlan, waiting: Mapping[str, SymbolOutcome]) -> dict[str, Approval]:
    """What a person decides about each waiting symbol; empty when nobody can be asked.

    Suspends the flow run the first time: then it does not return, and the run comes here again when it is resumed.
    """
    if deployment.id is None:
        return {}
    limit_seconds = int(plan.config.approval.time_limit_hours * 3600)
    try:
        answer = suspend_flow_run(wait_for_input=answer_form(plan, waiting), timeout=limit_seconds, key=PAUSE_KEY)
    except Pause:
        say_that_silence_is_right()
        raise
    return approvals_of(answer, waiting)


def answer_form(plan: RunPlan, waiting: Mapping[str, SymbolOutcome]) -> type[Answer]:
    """The form for this run: only what waits can be named, and all of it is unless the person says otherwise."""
    symbols = sorted(waiting)
    named: JsonDict = {"items": {"type": "string", "enum": [*symbols]}, "uniqueItems": True}
    field = Field(default=symbols, min_length=1, description=_SYMBOLS_TOLD, json_schema_extra=named)
    form = create_model("Answer", __base__=Answer, symbols=(list[str], field))
    return form.with_initial_data(description=question(plan, waiting))


def say_that_silence_is_right() -> None:
    """Makes something else than a heartbeat the last sign of a suspended run.

    A heartbeat that was under way would be the last one otherwise, and the server takes a run that is silent after a
    heartbeat for dead (flows/serving/automations.py).
    """
    emit_event("prefect.flow-run.waits-for-approval", {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}"})


def approvals_of(answer: Answer, waiting: Mapping[str, SymbolOutcome]) -> dict[str, Approval]:
    """One approval for each waiting symbol: what is not named is held."""
    chosen = set(answer.symbols) if answer.decision == "promote" else set()
    return {
        symbol: Approval(
            decision="promote" if symbol in chosen else "hold",
            bundle=outcome.bundle or "",
            by=answer.by,
            note=answer.note,
        )
        for symbol, outcome in waiting.items()
    }


def question(plan: RunPlan, waiting: Mapping[str, SymbolOutcome]) -> str:
    """What the person sees above the form, as Markdown."""
    lines = [f"- **{symbol}**: {told(outcome.summary_entry())}" for symbol, outcome in waiting.items()]
    hours = plan.config.approval.time_limit_hours
    target = plan.config.deployment.target
    goes = f" and deployed to `{target}`" if target else ""
    return "\n".join(
        [
            f"Run `{plan.run_id}`: {len(waiting)} of {len(plan.symbols)} candidates passed every blocking gate.",
            f"Approved ones are promoted{goes}. Without an answer within {hours:g} hours all are held.",
            "",
            *lines,
        ]
    )
