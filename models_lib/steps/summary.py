"""The summary of a run: `summary.json` for machines, `summary.md` for people, written once, at the end."""

import os
from collections.abc import Mapping
from typing import Any

from models_lib.config import TrainingSection
from models_lib.files import write_json, write_text
from models_lib.reports import wording
from models_lib.reports.changed_settings import changed_settings
from models_lib.reports.summary import summary_markdown
from models_lib.reports.summary_table import summary_table
from models_lib.steps.outcome import SymbolOutcome
from models_lib.steps.payment import cost_rows
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import FileRef, Reference


class RunSummary(Reference):
    """Where the summary lies and what it says in one line."""

    run_id: str
    file: FileRef
    headline: str
    any_failed: bool
    content: dict[str, Any]

    @property
    def state_name(self) -> str:
        """The run in one word, the worst that became of a symbol: Failed, Held or Promoted."""
        found = {entry["outcome"] for entry in self.content["symbols"].values()}
        return next(kind.capitalize() for kind in ("failed", "held", "promoted") if kind in found)


def parallel_symbols(plan: RunPlan) -> int:
    """Symbols worked on at once: the configured number, or one a core, and no more than there are."""
    return symbols_at_once(plan.config.training, len(plan.symbols))


def symbols_at_once(training: TrainingSection, num_symbols: int) -> int:
    """As many of so many symbols as are worked on at once."""
    return min(training.max_parallel or len(os.sched_getaffinity(0)), num_symbols)


def write_summary(plan: RunPlan, outcomes: dict[str, SymbolOutcome]) -> RunSummary:
    """Writes `summary.json` and `summary.md` into the run folder."""
    content: dict[str, Any] = {
        "run_id": plan.run_id,
        "symbols": {symbol: outcome.summary_entry() for symbol, outcome in outcomes.items()},
    }
    changed = changed_settings(plan.config.gates, plan.config.evaluation)
    path = plan.folder / "summary.json"
    write_json(path, content)
    costs = cost_rows(plan.run_id, plan.payment, home=plan.home) if plan.payment else []
    write_text(plan.folder / "summary.md", summary_markdown(content, changed, costs))
    return RunSummary(
        run_id=plan.run_id,
        file=FileRef.of(path),
        headline=headline(outcomes),
        any_failed=any(outcome.outcome == "failed" for outcome in outcomes.values()),
        content=content,
    )


def headline(outcomes: dict[str, SymbolOutcome]) -> str:
    """One line: how many were promoted, and which were held or failed; of many only the first."""
    by_kind = {
        kind: [symbol for symbol, outcome in outcomes.items() if outcome.outcome == kind]
        for kind in ("promoted", "held", "failed")
    }
    parts = [f"{len(by_kind['promoted'])} of {len(outcomes)} promoted"]
    parts += [f"{kind}: {wording.listed(by_kind[kind], most=10)}" for kind in ("held", "failed") if by_kind[kind]]
    return "; ".join(parts)


def table_rows(summary: RunSummary, links: Mapping[str, str] | None = None) -> list[dict[str, str]]:
    """One row a symbol for people, what went wrong first.

    Args:
        summary: the run's.
        links: symbol -> address of its run in the UI, where there is one.
    """
    return summary_table(summary.content, links or {})
