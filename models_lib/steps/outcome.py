"""What became of one symbol: promoted, held by which gates, or failed and why; the entry of `summary.json`.

What does not belong here: deciding. The gates decide (evaluation), the registry promotes.
"""

import json
from typing import Any, Literal

from models_lib.errors import CrpbotError
from models_lib.files import write_text
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import Fitted, JudgementRef, Prepared, PromotionRef, Reference, StoredRef

Outcome = Literal["promoted", "held", "failed"]
OUTCOME_NAME = "outcome.json"


class Deployment(Reference):
    """What the deployment step answered."""

    target: str | None
    outcome: Literal["deployed", "rolled_back", "failed", "not_configured"]
    release: str | None


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
    temperature: float | None
    rows: dict[str, int] | None
    deployment: Deployment
    report: str | None
    seconds: dict[str, float]

    def line(self) -> str:
        """One line for people."""
        return f"{self.symbol}: {self.outcome}, {self.reason}" if self.reason else f"{self.symbol}: {self.outcome}"

    def summary_entry(self) -> dict[str, Any]:
        """The entry under this symbol in `summary.json`."""
        return self.model_dump(mode="json", exclude={"symbol"})


def keep_outcome(plan: RunPlan, outcome: SymbolOutcome) -> None:
    """Writes the outcome into the symbol's folder: what was decided is known there, whatever becomes of Prefect."""
    write_text(plan.symbol_folder(outcome.symbol) / OUTCOME_NAME, outcome.model_dump_json(indent=2) + "\n")


def kept_outcome(plan: RunPlan, symbol: str) -> SymbolOutcome | None:
    """The outcome that the symbol's steps came to; None when they came to none."""
    path = plan.symbol_folder(symbol) / OUTCOME_NAME
    return SymbolOutcome.model_validate_json(path.read_bytes()) if path.is_file() else None


def failed_outcome(symbol: str, failure: object) -> SymbolOutcome:
    """The outcome of a symbol whose steps raised; `failure` is the exception that ended it."""
    reason = str(failure) if isinstance(failure, CrpbotError) else f"{type(failure).__name__}: {failure}"
    return SymbolOutcome(
        symbol=symbol,
        outcome="failed",
        bundle=None,
        reason=reason,
        gates=[],
        metrics=None,
        words=[],
        temperature=None,
        rows=None,
        deployment=NOT_CONFIGURED,
        report=None,
        seconds={},
    )


def held_outcome(
    prepared: Prepared, fitted: Fitted, judgement: JudgementRef, stored: StoredRef, seconds: dict[str, float]
) -> SymbolOutcome:
    """The outcome of a candidate that a blocking gate refused."""
    refused = PromotionRef(outcome="held", reason=f"held by {', '.join(judgement.failed_blocking)}")
    return settled_outcome(
        prepared, fitted, judgement, stored, promotion=refused, deployment=NOT_CONFIGURED, seconds=seconds
    )


def settled_outcome(
    prepared: Prepared,
    fitted: Fitted,
    judgement: JudgementRef,
    stored: StoredRef,
    *,
    promotion: PromotionRef,
    deployment: Deployment,
    seconds: dict[str, float],
) -> SymbolOutcome:
    """The outcome of a judged candidate, as the registry answered."""
    measured = json.loads(judgement.judgement.checked().read_text())
    rows = prepared.labels
    return SymbolOutcome(
        symbol=prepared.symbol,
        outcome=promotion.outcome,
        bundle=stored.bundle,
        reason=promotion.reason,
        gates=measured["gates"],
        metrics={"test": measured["metrics"]},
        words=measured["words"],
        temperature=fitted.temperature.temperature,
        rows={"train": rows.train_rows, "validation": rows.validation_rows, "test": rows.test_rows},
        deployment=deployment,
        report=str(stored.report),
        seconds=dict(seconds),
    )
