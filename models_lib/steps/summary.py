"""The summary of a run: `summary.json` for machines, `summary.md` for people, written once, at the end."""

import os
from typing import Any

from models_lib.files import write_json, write_text
from models_lib.reports.changed_settings import changed_settings
from models_lib.reports.summary import summary_markdown
from models_lib.steps.outcome import SymbolOutcome
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import FileRef, Reference

_BEST = "best_possible_accuracy"
_FIGURES = (
    "accuracy",
    "mechanical_rule_accuracy",
    _BEST,
    "nll",
    "driftless_rule_nll",
    "ece",
    "edge_after_costs_bp",
)


class RunSummary(Reference):
    """Where the summary lies and what it says in one line."""

    run_id: str
    file: FileRef
    headline: str
    any_failed: bool
    content: dict[str, Any]


def parallel_symbols(plan: RunPlan) -> int:
    """Symbols worked on at once: the configured number, or one a core, and no more than there are."""
    cores = len(os.sched_getaffinity(0))
    return min(plan.config.training.max_parallel or cores, len(plan.symbols))


def write_summary(plan: RunPlan, outcomes: dict[str, SymbolOutcome]) -> RunSummary:
    """Writes `summary.json` and `summary.md` into the run folder."""
    content: dict[str, Any] = {
        "run_id": plan.run_id,
        "symbols": {symbol: outcome.summary_entry() for symbol, outcome in outcomes.items()},
    }
    changed = changed_settings(plan.config.gates, plan.config.evaluation)
    path = plan.folder / "summary.json"
    write_json(path, content)
    write_text(plan.folder / "summary.md", summary_markdown(content, changed))
    return RunSummary(
        run_id=plan.run_id,
        file=FileRef.of(path),
        headline=headline(outcomes),
        any_failed=any(outcome.outcome == "failed" for outcome in outcomes.values()),
        content=content,
    )


def headline(outcomes: dict[str, SymbolOutcome]) -> str:
    """One line: how many were promoted, and which were held or failed."""
    by_kind = {
        kind: [symbol for symbol, outcome in outcomes.items() if outcome.outcome == kind]
        for kind in ("promoted", "held", "failed")
    }
    parts = [f"{len(by_kind['promoted'])} of {len(outcomes)} promoted"]
    parts += [f"{kind}: {', '.join(by_kind[kind])}" for kind in ("held", "failed") if by_kind[kind]]
    return "; ".join(parts)


def table_rows(summary: RunSummary) -> list[dict[str, Any]]:
    """One row a symbol for people: the verdict, and the accuracy beside what a one-line rule gets.

    The best possible accuracy is a column where some symbol has one: that of the planted market.
    """
    symbols = summary.content["symbols"]
    known = any(_test_metrics(entry).get(_BEST) is not None for entry in symbols.values())
    figures = tuple(name for name in _FIGURES if name != _BEST or known)
    return [_table_row(symbol, entry, figures) for symbol, entry in symbols.items()]


def _test_metrics(entry: dict[str, Any]) -> dict[str, Any]:
    """The figures of the test rows; empty for a symbol that failed."""
    metrics: dict[str, Any] = (entry["metrics"] or {"test": {}})["test"]
    return metrics


def _table_row(symbol: str, entry: dict[str, Any], figures: tuple[str, ...]) -> dict[str, Any]:
    test = _test_metrics(entry)
    return {
        "symbol": symbol,
        "verdict": entry["outcome"],
        **{name: test.get(name) for name in figures},
        "reason": entry["reason"],
        "seconds": round(sum(entry["seconds"].values()), 1),
        "bundle": (entry["bundle"] or "")[:12],
    }
