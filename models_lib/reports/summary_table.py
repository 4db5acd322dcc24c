"""The table of a whole run for people: one row a symbol, what went wrong first, every figure in words.

Old stands beside new, and says on which rows the old figure was measured: only on the same rows is it a comparison.
The cells are Markdown, which is what the Prefect UI makes of them.

What does not belong here: publishing the table, and the page and lines of a run (summary.py).
"""

from collections.abc import Mapping
from typing import Any

from models_lib.reports import wording
from models_lib.reports.wording import NOT_MEASURED, Say

_ORDER = ("failed", "held", "promoted")
_LONGEST_REASON = 200
"""The UI does not wrap a cell; the whole reason stands in the state of the symbol's run and in `summary.json`."""
_NOTHING = "\N{EN DASH}"
"""Where there is no model, candidate or champion, that something could be measured of; a hyphen would be drawn as a list."""
_BEST = "best_possible_accuracy"


def summary_table(summary: Mapping[str, Any], links: Mapping[str, str]) -> list[dict[str, str]]:
    """The rows: failed ones, then held, then promoted, each kind in the order of the summary.

    Args:
        summary: the content of `summary.json`.
        links: symbol -> address of its run in the UI; a symbol without one has no link.
    """
    symbols: Mapping[str, Mapping[str, Any]] = summary["symbols"]
    judged = [entry["metrics"]["test"] for entry in symbols.values() if entry["metrics"] is not None]
    with_best = any(metrics.get(_BEST) is not None for metrics in judged)
    ordered = sorted(symbols.items(), key=lambda item: _ORDER.index(item[1]["outcome"]))
    return [_row(symbol, entry, links.get(symbol), with_best=with_best) for symbol, entry in ordered]


def decision(entry: Mapping[str, Any]) -> str:
    """What the run changed: `new champion`, `champion stays`, `first champion; deployed`."""
    match entry["outcome"]:
        case "failed":
            made = "nothing changed"
        case "held":
            made = "no champion yet" if entry["champion"] is None else "champion stays"
        case _ if entry["reason"]:
            made = str(entry["reason"])
        case _:
            made = "first champion" if entry["champion"] is None else "new champion"
    deployment = str(entry["deployment"]["outcome"])
    return made if deployment == "not_configured" else f"{made}; {deployment.replace('_', ' ')}"


def old_rows(entry: Mapping[str, Any]) -> str:
    """On which rows the champion's figures were measured; the candidate's beside it where they are not all of its own."""
    champion = entry["champion"]
    if entry["outcome"] == "failed":
        return _NOTHING
    if champion is None:
        return "no champion"
    if champion["measured_on"] is None:
        return NOT_MEASURED
    if champion["measured_on"] == "own_run":
        return "other rows: its own run"
    if champion["rows"] == (entry["rows"] or {}).get("test"):
        return "the same rows"
    new = f"{wording.percent(champion['candidate_accuracy'])}, {wording.decimal(champion['candidate_nll'])}"
    return f"the newest {wording.whole(champion['rows'])} rows; new there: {new}"


def _row(symbol: str, entry: Mapping[str, Any], link: str | None, *, with_best: bool) -> dict[str, str]:
    test, champion = None if entry["metrics"] is None else entry["metrics"]["test"], entry["champion"]
    best = {"best possible": _said(test, _BEST, wording.percent)} if with_best else {}
    reason = "" if entry["outcome"] == "promoted" else str(entry["reason"] or "")
    return {
        "symbol": symbol,
        "verdict": f"**{entry['outcome']}**",
        "decision": decision(entry),
        "link": f"[run]({link})" if link else _NOTHING,
        "accuracy": _said(test, "accuracy", wording.percent),
        "old": _said(champion, "accuracy", wording.percent),
        "rule": _said(test, "mechanical_rule_accuracy", wording.percent),
        **best,
        "NLL": _said(test, "nll", wording.decimal),
        "old NLL": _said(champion, "nll", wording.decimal),
        "old on": old_rows(entry),
        "ECE": _said(test, "ece", wording.percent),
        "edge after costs": _said(test, "edge_after_costs_bp", wording.basis_points),
        "time": wording.duration(sum(entry["seconds"].values())) if entry["seconds"] else _NOTHING,
        "reason": _short("; ".join(part for part in (reason, *entry["words"]) if part)),
    }


def _said(figures: Mapping[str, Any] | None, name: str, say: Say) -> str:
    """The figure in words; a dash where there is no model that it could be of."""
    return _NOTHING if figures is None else say(figures.get(name))


def _short(words: str) -> str:
    """Foreign text as one line of a cell."""
    line = " ".join(words.split())
    return wording.inert_markdown(line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 4]} ...")
