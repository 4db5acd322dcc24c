"""What became of one symbol: promoted, held by which gates, or failed and why; the entry of `summary.json`.

What does not belong here: deciding. The gates decide (evaluation), the registry promotes.
"""

import errno
import json
import logging
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from models_lib.errors import BundleError, CrpbotError, DataError, RolledBackError, UnhealthyError
from models_lib.files import write_text
from models_lib.steps.clock import StepClock
from models_lib.steps.data_facts import data_facts
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import Judged, PromotionRef, Reference

Outcome = Literal["promoted", "held", "failed"]
OUTCOME_NAME = "outcome.json"
_JUDGED_NAME = "judged.json"
_log = logging.getLogger(__name__)
Kept = TypeVar("Kept", bound=Reference)


class Deployment(Reference):
    """What the deployment step answered."""

    target: str | None
    outcome: Literal["deployed", "rolled_back", "failed", "not_configured"]
    release: str | None
    unhealthy: bool = False
    """The host does not answer for what it runs: the loudest of all."""


NOT_CONFIGURED = Deployment(target=None, outcome="not_configured", release=None)


class SymbolOutcome(Reference):
    """One symbol's entry of the summary; `metrics` is None only when the symbol failed."""

    symbol: str
    outcome: Outcome
    bundle: str | None
    reason: str
    gates: list[dict[str, Any]]
    metrics: dict[str, Any] | None
    words: list[str]
    champion: dict[str, Any] | None
    """What the champion reached that it was judged against, and on which rows; None where there was none."""
    temperature: float | None
    rows: dict[str, int] | None
    deployment: Deployment
    report: str | None
    seconds: dict[str, float]
    peak_rss_mb: dict[str, float] = Field(default_factory=dict)
    """Of each step, MiB (models_lib.steps.clock); empty where the symbol failed, and in what was written before it was measured."""
    data: dict[str, Any] | None = None
    """What is known of the candles; None where the symbol failed before they were judged."""
    controls: list[dict[str, Any]] = Field(default_factory=list)
    """What trainings that must find nothing came to, beside the model; empty where none was asked for."""
    awaits_approval: bool = False
    """Held for no other reason than that nobody has approved it yet."""

    def line(self) -> str:
        """One line for people."""
        return f"{self.symbol}: {self.outcome}, {self.reason}" if self.reason else f"{self.symbol}: {self.outcome}"

    def summary_entry(self) -> dict[str, Any]:
        """The entry under this symbol in `summary.json`."""
        return self.model_dump(
            mode="json", exclude={"symbol": True, "awaits_approval": True, "deployment": {"unhealthy"}}
        )


def keep_outcome(plan: RunPlan, outcome: SymbolOutcome) -> None:
    """Writes the outcome into the symbol's folder: what was decided is known there, whatever becomes of Prefect."""
    write_text(plan.symbol_folder(outcome.symbol) / OUTCOME_NAME, outcome.model_dump_json(indent=2) + "\n")


def keep_judged(plan: RunPlan, judged: Judged) -> None:
    """Writes down that this run's candidate is judged and stored: what follows may come hours later."""
    write_text(plan.symbol_folder(judged.prepared.symbol) / _JUDGED_NAME, judged.model_dump_json(indent=2) + "\n")


def kept_judged(plan: RunPlan, symbol: str) -> Judged | None:
    """This run's judged candidate, so that a run judges once; None when there is none or its files are gone."""
    judged = _kept(plan.symbol_folder(symbol) / _JUDGED_NAME, Judged)
    if judged is None:
        return None
    try:
        judged.check_files()
    except (DataError, BundleError) as error:
        _log.warning("%s", error, extra={"symbol": symbol})
        return None
    return judged


def kept_outcome(plan: RunPlan, symbol: str) -> SymbolOutcome | None:
    """The outcome that the symbol's steps came to; None when they came to none."""
    return _kept(plan.symbol_folder(symbol) / OUTCOME_NAME, SymbolOutcome)


def _kept(path: Path, kind: type[Kept]) -> Kept | None:
    """The value in the file; None without one, and, with a warning, when it cannot be read."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        _log.warning("%s cannot be read and counts for nothing: %s", path, error)
        return None


def failed_outcome(symbol: str, failure: object, *, data: dict[str, Any] | None = None) -> SymbolOutcome:
    """The outcome of a symbol whose steps raised.

    Args:
        symbol: which.
        failure: the exception that ended it.
        data: what was known of its candles by then.
    """
    return SymbolOutcome(
        symbol=symbol,
        outcome="failed",
        bundle=None,
        reason=_reason(symbol, failure),
        gates=[],
        metrics=None,
        words=[],
        champion=None,
        temperature=None,
        rows=None,
        deployment=NOT_CONFIGURED,
        report=None,
        seconds={},
        data=data,
    )


def _reason(symbol: str, failure: object) -> str:
    match failure:
        case CrpbotError():  # a note says what else went wrong, such as a paid job that could not be told to stop
            return "\n".join([str(failure), *getattr(failure, "__notes__", ())])
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG):
            return (
                f"{symbol}: a file could not be written ({failure}). Free space on the disk of CRPBOT_HOME, `crpbot clean` "
                f"helps, then run again: what was finished is kept."
            )
        case _:
            return f"{type(failure).__name__}: {failure}"


def held_outcome(judged: Judged, clock: StepClock) -> SymbolOutcome:
    """The outcome of a candidate that a blocking gate refused."""
    refused = PromotionRef(outcome="held", reason=f"held by {', '.join(judged.judgement.failed_blocking)}")
    return settled_outcome(judged, promotion=refused, deployment=NOT_CONFIGURED, clock=clock)


def not_deployed(target: str | None, failure: CrpbotError) -> tuple[PromotionRef, Deployment]:
    """What a failed deployment makes of a candidate: held, because its promotion was taken back."""
    refused = PromotionRef(outcome="held", reason=f"held by deployment: {failure}")
    outcome: Literal["rolled_back", "failed"] = "rolled_back" if isinstance(failure, RolledBackError) else "failed"
    return refused, Deployment(
        target=target, outcome=outcome, release=None, unhealthy=isinstance(failure, UnhealthyError)
    )


def unapproved(plan: RunPlan, judged: Judged) -> PromotionRef | None:
    """Why a candidate that passed its gates is held all the same: nobody approved it; None when it may be promoted."""
    if not plan.asks_a_person:
        return None
    approval = plan.approvals.get(judged.prepared.symbol)
    if approval is None:
        reason = "held by approval: nobody has approved it yet; answer the run's form, or run again with --yes"
        return PromotionRef(outcome="held", reason=reason, awaits_approval=True)
    if approval.decision == "hold":
        note = f": {approval.note}" if approval.note else ""
        return PromotionRef(outcome="held", reason=f"held by approval: {approval.by} refused it{note}")
    if approval.bundle != judged.stored.bundle:
        seen = f"{approval.by} approved {approval.bundle[:12]}, and this is {judged.stored.bundle[:12]}"
        return PromotionRef(outcome="held", reason=f"held by approval: {seen}; start a new run")
    return None


def settled_outcome(
    judged: Judged, *, promotion: PromotionRef, deployment: Deployment, clock: StepClock
) -> SymbolOutcome:
    """The outcome of a judged candidate, as registry and target answered."""
    measured = json.loads(judged.judgement.judgement.checked().read_text())
    rows = judged.prepared.labels
    return SymbolOutcome(
        symbol=judged.prepared.symbol,
        outcome=promotion.outcome,
        bundle=judged.stored.bundle,
        reason=promotion.reason,
        gates=measured["gates"],
        metrics={"test": measured["metrics"]},
        words=measured["words"],
        champion=measured["champion_figures"],
        temperature=judged.fitted.temperature.temperature,
        rows={"train": rows.train_rows, "validation": rows.validation_rows, "test": rows.test_rows},
        deployment=deployment,
        report=str(judged.stored.report),
        seconds=dict(clock.seconds),
        peak_rss_mb=dict(clock.peak_rss_mb),
        data=data_facts(json.loads(judged.prepared.candles.report.checked().read_text())),
        controls=[control.model_dump(mode="json") for control in judged.controls],
        awaits_approval=promotion.awaits_approval,
    )
