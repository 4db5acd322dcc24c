"""The words with which a run ends: one line a symbol, and `summary.md`, both from the run's summary.

The same honesty as on the page: an accuracy never stands without the rule's, unmeasured is said, and the verdict of a
model without direction or edge carries the words for it.

What does not belong here: making the summary, printing, and anything that needs a drawing library.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from models_lib.reports import wording
from models_lib.reports.changed_settings import ChangedSetting
from models_lib.reports.controls import control_table
from models_lib.reports.wording import Say

MOST_IN_FULL = 20
"""Symbols that a person reads one by one; the page of more is a page of counts and of what went wrong."""
_BEST = "best_possible_accuracy"
"""Known of the planted market alone."""


def outcome_lines(summary: Mapping[str, Any]) -> list[str]:
    """One line a symbol: promoted, held (which gates) or failed (why), in the summary's order."""
    symbols: Mapping[str, Mapping[str, Any]] = summary["symbols"]
    width = max((len(symbol) for symbol in symbols), default=0)
    return [
        f"{symbol:<{width}}  {entry['outcome']:<8}  {' '.join(told(entry).removeprefix(f'{symbol}: ').split())}"
        for symbol, entry in symbols.items()
    ]


def data_lines(summary: Mapping[str, Any]) -> list[str]:
    """One line for each symbol whose candles end long ago, and for each alarm about them; of many only the first."""
    lines = [f"{symbol}: {words}" for symbol, words in _data_troubles(summary["symbols"])]
    rest = len(lines) - MOST_IN_FULL
    return [*lines[:MOST_IN_FULL], f"and {rest:,} more; summary.md has them all"] if rest > 0 else lines


def summary_markdown(
    summary: Mapping[str, Any], changed: Sequence[ChangedSetting], costs: Sequence[Mapping[str, str]] = ()
) -> str:
    """The run as a Markdown page: outcomes, figures beside what needs no model, gates not met, time by step.

    Of more symbols than a person reads one by one, only how many came to what, and what went wrong.

    Args:
        summary: the content of `summary.json`.
        changed: what the run's configuration changed about judging, against the shipped one.
        costs: a row a symbol where jobs on rented machines were paid.
    """
    symbols: Mapping[str, Mapping[str, Any]] = summary["symbols"]
    title = f"# Run {_cell(summary['run_id'])}"
    if len(symbols) > MOST_IN_FULL:
        parts = [title, _counts(symbols), _failures(symbols), _held_together(symbols), _troubles(symbols)]
        parts.append(_control_alarms(symbols))
        parts += [_changed(changed), _costs(costs)]
        parts.append("Everything about every symbol stands in `summary.json`, and on the page in its folder.")
        return "\n\n".join(part for part in parts if part) + "\n"
    parts = [
        title,
        _outcomes(symbols),
        _changed(changed),
        _figures(symbols),
        _controls(symbols),
        _gates(symbols),
        _data(symbols),
        _costs(costs),
        _steps(symbols),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def told(entry: Mapping[str, Any]) -> str:
    """What one symbol's line says after its outcome: gates, reason, figures beside the rule's, words of the verdict."""
    metrics = _test_metrics(entry)
    if entry["outcome"] == "failed" or metrics is None:
        return str(entry["reason"])
    reason = str(entry["reason"] or "")
    words = [word for word in entry["words"] if word not in reason]
    beside = f"rule {wording.percent(metrics['mechanical_rule_accuracy'])}"
    if metrics.get(_BEST) is not None:
        beside += f", best possible {wording.percent(metrics[_BEST])}"
    figures = (
        f"accuracy {wording.percent(metrics['accuracy'])} ({beside}), "
        f"NLL {wording.decimal(metrics['nll'])} (rule {wording.decimal(metrics['mechanical_rule_nll'])}, "
        f"driftless {wording.decimal(metrics['driftless_rule_nll'])})"
    )
    why = reason.removeprefix(f"{entry['outcome']} ")
    return "; ".join(part for part in (_held_by(entry), why, figures, *words) if part)


def _held_by(entry: Mapping[str, Any]) -> str:
    """`gates: accuracy, finite`, leaving out what the reason names already."""
    reason = str(entry["reason"] or "")
    names = [gate["name"] for gate in entry["gates"] if gate["severity"] == "blocking" and not gate["passed"]]
    missing = [name for name in names if name not in reason]
    return f"gates: {', '.join(names)}" if entry["outcome"] == "held" and missing else ""


def _test_metrics(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    metrics = entry["metrics"]
    return None if metrics is None else metrics["test"]


def _outcomes(symbols: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for symbol, entry in symbols.items():
        why = "; ".join(part for part in (_held_by(entry), str(entry["reason"] or ""), *entry["words"]) if part)
        rows.append(
            [symbol, f"**{entry['outcome']}**", why, (entry["bundle"] or "none")[:12], entry["report"] or "none"]
        )
    return _table(["symbol", "outcome", "why", "bundle", "report"], rows)


def _counts(symbols: Mapping[str, Mapping[str, Any]]) -> str:
    found = Counter(entry["outcome"] for entry in symbols.values())
    rows = [[outcome, wording.whole(found[outcome])] for outcome in ("failed", "held", "promoted")]
    return _table(["outcome", "symbols"], [*rows, ["together", wording.whole(len(symbols))]])


def _failures(symbols: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [[symbol, str(entry["reason"])] for symbol, entry in symbols.items() if entry["outcome"] == "failed"]
    return f"## Failed\n\n{_table(['symbol', 'why'], rows)}" if rows else ""


def _held_together(symbols: Mapping[str, Mapping[str, Any]]) -> str:
    """The held ones by their reason, the most frequent first."""
    by_reason: dict[str, list[str]] = {}
    for symbol, entry in symbols.items():
        if entry["outcome"] == "held":
            by_reason.setdefault(_held_by(entry) or str(entry["reason"]), []).append(symbol)
    rows = [
        [reason, wording.whole(len(names)), wording.listed(names, most=10)]
        for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1]))
    ]
    return f"## Held\n\n{_table(['why', 'symbols', 'which'], rows)}" if rows else ""


def _changed(changed: Sequence[ChangedSetting]) -> str:
    if not changed:
        return ""
    table = _table(["setting", "here", "shipped"], [[change.name, change.value, change.shipped] for change in changed])
    return f"## Judged otherwise than shipped\n\n{table}"


_FIGURES: tuple[tuple[str, str, Say], ...] = (
    ("accuracy", "accuracy", wording.percent),
    ("of the majority class", "majority_accuracy", wording.percent),
    ("of the one-line rule", "mechanical_rule_accuracy", wording.percent),
    ("of the best possible (planted market)", _BEST, wording.percent),
    ("accuracy over the rule (lift)", "lift", wording.signed_points),
    ("NLL", "nll", wording.decimal),
    ("of the calibrated rule", "mechanical_rule_nll", wording.decimal),
    ("of the driftless rule", "driftless_rule_nll", wording.decimal),
    ("NLL gained on the calibrated rule", "nll_improvement", wording.signed),
    ("directional accuracy (a coin: 50 %)", "directional_accuracy", wording.percent),
    ("return UP minus DOWN calls", "edge_bp", wording.basis_points),
    ("return of its calls after costs", "edge_after_costs_bp", wording.basis_points),
    ("ECE", "ece", wording.percent),
    ("mean confidence", "mean_confidence", wording.percent),
    ("largest logit", "max_abs_logit", wording.number),
    ("effective test rows", "effective_rows", wording.whole),
)


def _figures(symbols: Mapping[str, Mapping[str, Any]]) -> str:
    judged = {symbol: metrics for symbol, entry in symbols.items() if (metrics := _test_metrics(entry)) is not None}
    if not judged:
        return ""
    rows = [
        [title, *(_with_interval(metrics, key, say) for metrics in judged.values())]
        for title, key, say in _FIGURES
        if key != _BEST or any(metrics.get(_BEST) is not None for metrics in judged.values())
    ]
    rows += [
        [f"{part} rows", *(wording.whole((symbols[symbol]["rows"] or {}).get(part)) for symbol in judged)]
        for part in ("train", "validation", "test")
    ]
    rows.append(["temperature", *(wording.decimal(symbols[symbol]["temperature"]) for symbol in judged)])
    table = _table(["test rows", *judged], rows)
    return f"## Figures\n\nIn brackets: 95 % intervals by moving blocks.\n\n{table}"


def _controls(symbols: Mapping[str, Mapping[str, Any]]) -> str:
    """Each model beside its trainings that must find nothing, and what is said of them."""
    tables = {
        symbol: table
        for symbol, entry in symbols.items()
        if (table := control_table(_test_metrics(entry) or {}, entry.get("controls", ()))) is not None
    }
    if not tables:
        return ""
    rows = [[symbol, *row.values()] for symbol, table in tables.items() for row in table.rows]
    head = ["symbol", *next(iter(tables.values())).rows[0]]
    words = [f"- {symbol}: {_cell(one.text)}" for symbol, table in tables.items() for one in table.words]
    return "\n\n".join(("## Controls", _table(head, rows), "\n".join(words)))


def _control_alarms(symbols: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [symbol, control["alarm"]["words"]]
        for symbol, entry in symbols.items()
        for control in entry.get("controls", ())
        if control["alarm"]
    ]
    return f"## Control alarms\n\n{_table(['symbol', 'alarm'], rows)}" if rows else ""


def _with_interval(metrics: Mapping[str, Any], key: str, say: Say) -> str:
    value, bounds = metrics.get(key), metrics.get(f"{key}_interval")
    if f"{key}_interval" not in metrics or value is None:
        return say(value)
    return (
        f"{say(value)} ({'interval not measured' if bounds is None else wording.interval((bounds[0], bounds[1]), say)})"
    )


def _gates(symbols: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [
            symbol,
            gate["name"],
            gate["severity"],
            gate["split"],
            *map(_bounds, (gate["value"], gate["limit"])),
            gate["note"],
        ]
        for symbol, entry in symbols.items()
        for gate in entry["gates"] or ()
        if not gate["passed"]
    ]
    judged = any(entry["gates"] for entry in symbols.values())
    if not judged:
        return ""
    table = _table(["symbol", "gate", "severity", "on", "measured", "limit", "beside it"], rows) if rows else "None."
    return f"## Gates not met\n\n{table}"


def _bounds(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence):
        return f"{wording.number(value[0])} to {wording.number(value[1])}"
    return wording.number(value)


def _data(symbols: Mapping[str, Mapping[str, Any]]) -> str:
    """Where each symbol's candles are from and end, what is missing and why, and every warning about them."""
    known = {symbol: entry["data"] for symbol, entry in symbols.items() if entry["data"] is not None}
    if not known:
        return ""
    rows = [
        [
            symbol,
            data["origin"],
            data["first"],
            data["last"],
            *(wording.whole(data[f"{what}_minutes"]) for what in ("missing", "filled")),
            _by_cause(data["holes_by_cause"]),
        ]
        for symbol, data in known.items()
    ]
    table = _table(["symbol", "candles from", "first", "newest", "missing", "filled", "holes by cause"], rows)
    warnings = [f"- {symbol}: {_cell(words)}" for symbol, data in known.items() for words in data["warnings"]]
    return "\n\n".join(part for part in ("## Data", table, "\n".join(warnings)) if part)


def _by_cause(holes: Mapping[str, Mapping[str, int]] | None) -> str:
    if holes is None:
        return "not known"
    told = [
        f"{cause}: {wording.whole(found['minutes'])} min in {wording.plural(found['holes'], 'hole')}"
        for cause, found in holes.items()
    ]
    return ", ".join(told) or "none"


def _data_troubles(symbols: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Symbol and words of what nobody should overlook."""
    known = {symbol: entry["data"] for symbol, entry in symbols.items() if entry["data"] is not None}
    return [
        (symbol, words)
        for symbol, data in known.items()
        for words in (*filter(None, [data["stale"]]), *(alarm["words"] for alarm in data["alarms"]))
    ]


def _troubles(symbols: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [[symbol, words] for symbol, words in _data_troubles(symbols)]
    return f"## Data\n\n{_table(['symbol', 'warning'], rows)}" if rows else ""


def _costs(costs: Sequence[Mapping[str, str]]) -> str:
    return f"## Costs\n\n{_table(list(costs[0]), [list(row.values()) for row in costs])}" if costs else ""


def _steps(symbols: Mapping[str, Mapping[str, Any]]) -> str:
    steps = list(dict.fromkeys(step for entry in symbols.values() for step in entry["seconds"] or {}))
    if not steps:
        return ""
    rows = []
    for symbol, entry in symbols.items():
        seconds: Mapping[str, float] = entry["seconds"] or {}
        cells = [wording.duration(seconds[step]) if step in seconds else "-" for step in steps]
        rows.append([symbol, *cells, wording.duration(sum(seconds.values()))])
    return f"## Time by step\n\n{_table(['symbol', *steps, 'together'], rows)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    """One table cell: a pipe or a line break inside a reason must not break the table, nor HTML act."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
