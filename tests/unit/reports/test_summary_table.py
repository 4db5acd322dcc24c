"""The table of a whole run, and the page of a run with a hundred symbols."""

from typing import Any

import pytest

from models_lib.reports.summary import MOST_IN_FULL, summary_markdown
from models_lib.reports.summary_table import summary_table

CHAMPION = {
    "bundle": "c4" * 32,
    "measured_on": "same_rows",
    "rows": 10_400,
    "accuracy": 0.7389,
    "nll": 0.6012,
    "candidate_accuracy": 0.741,
    "candidate_nll": 0.588,
}
OWN_RUN = CHAMPION | {"measured_on": "own_run", "rows": None, "candidate_accuracy": None, "candidate_nll": None}


def entry(
    outcome: str, *, reason: str = "", champion: Any = None, deployment: str = "not_configured"
) -> dict[str, Any]:
    figures = {"accuracy": 0.741, "mechanical_rule_accuracy": 0.736, "nll": 0.588, "ece": 0.017}
    judged = outcome != "failed"
    return {
        "outcome": outcome,
        "bundle": "9b1f" * 16 if judged else None,
        "reason": reason,
        "words": ["no edge after costs measured"] if judged else [],
        "gates": [],
        "metrics": {"test": {**figures, "edge_after_costs_bp": -9.8}} if judged else None,
        "rows": {"train": 47_880, "validation": 10_496, "test": 10_400} if judged else None,
        "champion": champion,
        "deployment": {"target": None, "outcome": deployment, "release": None},
        "report": None,
        "data": None,
        "seconds": {"train": 41.7, "judge": 1.0} if judged else {},
    }


def row(**told: Any) -> dict[str, str]:
    (only,) = summary_table({"run_id": "r1", "symbols": {"BTC-USD": entry(**told)}}, {})
    return only


def test_row_puts_old_beside_new_and_the_rule_beside_both() -> None:
    summary = {"run_id": "r1", "symbols": {"BTC-USD": entry("promoted", champion=CHAMPION)}}
    assert summary_table(summary, {"BTC-USD": "http://ui/runs/1"}) == [
        {
            "symbol": "BTC-USD",
            "verdict": "**promoted**",
            "decision": "new champion",
            "link": "[run](http://ui/runs/1)",
            "accuracy": "74.1 %",
            "old": "73.9 %",
            "rule": "73.6 %",
            "NLL": "0.588",
            "old NLL": "0.601",
            "old on": "the same rows",
            "ECE": "1.7 %",
            "edge after costs": "-9.8 bp",
            "time": "42.7 s",
            "reason": "no edge after costs measured",
        }
    ]


@pytest.mark.parametrize(
    ("champion", "old", "rows"),
    [
        (None, "\N{EN DASH}", "no champion"),
        (OWN_RUN, "73.9 %", "other rows: its own run"),
        (OWN_RUN | {"measured_on": None, "accuracy": None}, "not measured", "not measured"),
        (CHAMPION | {"rows": 1_200}, "73.9 %", "the newest 1,200 rows; new there: 74.1 %, 0.588"),
    ],
)
def test_old_figure_says_on_which_rows_it_was_measured(champion: Any, old: str, rows: str) -> None:
    held = row(outcome="held", reason="held by accuracy", champion=champion)
    assert (held["old"], held["old on"]) == (old, rows)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"outcome": "promoted"}, "first champion"),
        ({"outcome": "promoted", "champion": CHAMPION, "deployment": "deployed"}, "new champion; deployed"),
        ({"outcome": "promoted", "champion": CHAMPION, "reason": "already champion"}, "already champion"),
        ({"outcome": "held"}, "no champion yet"),
        (
            {"outcome": "held", "champion": CHAMPION, "reason": "deployment", "deployment": "rolled_back"},
            "champion stays; rolled back",
        ),
        ({"outcome": "failed", "reason": "no rows"}, "nothing changed"),
    ],
)
def test_decision_says_what_the_run_changed(told: dict[str, Any], said: str) -> None:
    assert row(**told)["decision"] == said


def test_failed_symbol_has_no_figures_and_its_reason_stays_text_on_one_line() -> None:
    failed = row(outcome="failed", reason="close > 0\n<b>*x*</b> [a](b) in beats_mechanical_rule " + "y" * 300)
    assert {failed[name] for name in ("accuracy", "old", "old on", "rule", "NLL", "ECE", "time", "link")} == {
        "\N{EN DASH}"
    }
    assert failed["reason"].startswith(r"close > 0 &lt;b>\*x\*&lt;/b> \[a\](b) in beats_mechanical_rule yyy")
    assert failed["reason"].endswith("y ...")
    assert len(failed["reason"]) < 220


@pytest.mark.parametrize("reason", ["- x", "# x", "+ x", "> x"])
def test_reason_is_neither_list_nor_heading(reason: str) -> None:
    assert row(outcome="failed", reason=reason)["reason"] == f"\\{reason}"


def test_what_went_wrong_stands_first() -> None:
    kinds = {"A-USD": "promoted", "B-USD": "held", "C-USD": "failed", "D-USD": "promoted", "E-USD": "failed"}
    rows = summary_table({"run_id": "r1", "symbols": {name: entry(kind) for name, kind in kinds.items()}}, {})
    assert [line["symbol"] for line in rows] == ["C-USD", "E-USD", "B-USD", "A-USD", "D-USD"]


def test_page_of_a_hundred_symbols_is_counts_failures_and_reasons() -> None:
    symbols = {f"S{i:03d}-USD": entry("promoted") for i in range(100)}
    symbols["S007-USD"] = entry("failed", reason="S007-USD: there is no file | at all")
    for i in range(20, 32):
        symbols[f"S{i:03d}-USD"] = entry("held", reason="held by accuracy")
    symbols["S050-USD"] = entry("held", reason="held by finite")
    page = summary_markdown({"run_id": "r1", "symbols": symbols}, ())
    for line in (
        "| failed | 1 |",
        "| held | 13 |",
        "| promoted | 86 |",
        "| together | 100 |",
        "| S007-USD | S007-USD: there is no file \\| at all |",
        "| held by finite | 1 | S050-USD |",
    ):
        assert line in page, line
    accuracy = next(line for line in page.splitlines() if line.startswith("| held by accuracy | 12 |"))
    assert accuracy.endswith("S029-USD and 2 more |")
    assert len(page.splitlines()) < 30
    few = {name: symbols[name] for name in list(symbols)[:MOST_IN_FULL]}
    assert "## Figures" in summary_markdown(
        {"run_id": "r1", "symbols": {n: e | {"temperature": 1.0} for n, e in few.items()}}, ()
    )
