"""The lines and the table that a run ends with."""

import subprocess
import sys

import pytest

from models_lib.config import EvaluationSection, GatesSection, LimitGate
from models_lib.evaluation.evaluation import NO_DIRECTION, NO_EDGE
from models_lib.reports.changed_settings import changed_settings
from models_lib.reports.summary import MOST_IN_FULL, data_lines, outcome_lines, summary_markdown


def gate(name, value, limit, *, passed, severity="blocking", note=""):
    told = {"value": value, "limit": limit, "severity": severity, "passed": passed, "note": note}
    return {"name": name, "split": "test", **told}


def metrics(**changes):
    return {
        "accuracy": 0.741,
        "ece": 0.017,
        "nll": 0.588,
        "mean_confidence": 0.73,
        "share_over_90": 0.23,
        "share_over_99": 0.07,
        "share_50_90": 0.73,
        "max_abs_logit": 8.42,
        "class_shares": [0.34, 0.31, 0.35],
        "mechanical_rule_accuracy": 0.736,
        "mechanical_rule_nll": 0.622,
        "majority_accuracy": 0.351,
        "lift": 0.005,
        "lift_interval": [-0.003, 0.012],
        "nll_improvement": 0.034,
        "nll_improvement_interval": [0.021, 0.047],
        "driftless_rule_nll": 0.585,
        "directional_accuracy": 0.503,
        "edge_bp": 0.4,
        "edge_after_costs_bp": -9.8,
        "effective_rows": 1840.0,
        **changes,
    }


def candles(**changes):
    return {
        "origin": "coinbase BTC/USD",
        "first": "2024-11-20T00:00Z",
        "last": "2026-11-20T01:59Z",
        "rows": 1_050_000,
        "expected_minutes": 1_051_320,
        "missing_minutes": 1_320,
        "filled_minutes": 41,
        "stale": None,
        "warnings": [],
        "holes_by_cause": {"no trades": {"holes": 41, "minutes": 41}, "outage": {"holes": 2, "minutes": 1_320}},
        "alarms": [],
        **changes,
    }


OLD = "the newest bar (2026-10-01T00:00Z) is 31.0 days old at 2026-11-01T00:01Z (more than 2 is stale)"
ALARM = {"name": "jump", "value": 1_200.0, "limit": 1_000.0, "alarm": True, "words": "100 to 112 | at nine"}


@pytest.fixture
def summary():
    promoted = {
        "outcome": "promoted",
        "bundle": "9b1f" * 16,
        "reason": "first champion",
        "words": [NO_DIRECTION, NO_EDGE],
        "gates": [
            gate("accuracy", 0.741, 0.68, passed=True),
            gate("class_balance", [0.31, 0.35], [0.15, 0.6], passed=True),
            gate("beats_driftless_rule", -0.009, 0.0, passed=False, severity="advisory"),
        ],
        "metrics": {"test": metrics()},
        "temperature": 0.947,
        "rows": {"train": 47_880, "validation": 10_496, "test": 10_400},
        "deployment": {"target": None, "outcome": "not_configured", "release": None},
        "report": "runs/r1/BTC-USD.html",
        "data": candles(),
        "seconds": {"fetch": 0.3, "train": 41.7},
    }
    held = promoted | {
        "outcome": "held",
        "reason": "",
        "words": [],
        "gates": [
            gate("accuracy", 0.412, 0.68, passed=False),
            gate("class_balance", None, [0.15, 0.6], passed=False, note="UP 70 %"),
            gate("beats_driftless_rule", 0.002, 0.0, passed=True, severity="advisory"),
        ],
        "metrics": {
            "test": metrics(accuracy=0.412, nll_improvement_interval=None, effective_rows=None, edge_after_costs_bp=1.5)
        },
        "data": candles(
            origin="candles/ETH-USD.parquet",
            holes_by_cause=None,
            stale=OLD,
            warnings=["1 hole", OLD, ALARM["words"]],
            alarms=[ALARM],
        ),
        "seconds": {"fetch": 0.3, "train": 187.0, "gates": 6.0},
    }
    failed = {
        "outcome": "failed",
        "words": [],
        "bundle": None,
        "reason": "SOL-USD: close must be above 0 | row 17\nFetch the window again.",
        "gates": [],
        "metrics": None,
        "temperature": None,
        "rows": None,
        "deployment": {"target": None, "outcome": "not_configured", "release": None},
        "report": None,
        "data": None,
        "seconds": {},
    }
    return {"run_id": "r1", "symbols": {"BTC-USD": promoted, "ETH-USD": held, "SOL-USD": failed}}


def test_one_line_a_symbol_says_what_became_of_it_and_what_the_rules_get(summary):
    btc, eth, sol = outcome_lines(summary)
    assert btc == (
        "BTC-USD  promoted  first champion; accuracy 74.1 % (rule 73.6 %), NLL 0.588 (rule 0.622, driftless 0.585); "
        "calibrated volatility; no directional skill shown; no edge after costs measured"
    )
    assert eth == (
        "ETH-USD  held      gates: accuracy, class_balance; accuracy 41.2 % (rule 73.6 %), "
        "NLL 0.588 (rule 0.622, driftless 0.585)"
    )
    assert sol == "SOL-USD  failed    close must be above 0 | row 17 Fetch the window again."


def test_a_reason_that_names_the_gates_is_not_repeated(summary):
    summary["symbols"]["ETH-USD"]["reason"] = "held by accuracy, class_balance"
    assert outcome_lines(summary)[1].startswith("ETH-USD  held      by accuracy, class_balance; accuracy 41.2 %")


def test_words_of_the_entry_stand_behind_the_figures_and_only_once(summary):
    summary["symbols"]["ETH-USD"] |= {"words": [NO_EDGE], "reason": NO_EDGE}
    assert outcome_lines(summary)[1].count(NO_EDGE) == 1
    summary["symbols"]["ETH-USD"]["reason"] = ""
    assert outcome_lines(summary)[1].endswith(f"; {NO_EDGE}")


def test_markdown_holds_figures_beside_the_rules_and_the_gates_not_met(summary):
    page = summary_markdown(summary, ())
    assert page.startswith("# Run r1\n")
    for line in (
        "| accuracy | 74.1 % | 41.2 % |",
        "| of the one-line rule | 73.6 % | 73.6 % |",
        "| of the majority class | 35.1 % | 35.1 % |",
        "| NLL gained on the calibrated rule | +0.0340 (+0.0210 to +0.0470) | +0.0340 (interval not measured) |",
        "| effective test rows | 1,840 | not measured |",
        "| ETH-USD | class_balance | blocking | test | not measured | 0.15 to 0.6 | UP 70 % |",
        "| BTC-USD | beats_driftless_rule | advisory | test | -0.009 | 0 |",
        "| ETH-USD | 0.30 s | 3 min 07 s | 6.00 s | 3 min 13 s |",
        "| SOL-USD | - | - | - | 0.00 s |",
    ):
        assert line in page, line


def test_markdown_says_where_the_candles_end_and_every_warning_about_them(summary):
    page = summary_markdown(summary, ())
    section = page.partition("## Data\n\n")[2].partition("\n\n##")[0].splitlines()
    window = "2024-11-20T00:00Z | 2026-11-20T01:59Z | 1,320 | 41"
    assert section[2:] == [
        f"| BTC-USD | coinbase BTC/USD | {window} | no trades: 41 min in 41 holes, outage: 1,320 min in 2 holes |",
        f"| ETH-USD | candles/ETH-USD.parquet | {window} | not known |",
        "",
        "- ETH-USD: 1 hole",
        f"- ETH-USD: {OLD}",
        "- ETH-USD: 100 to 112 \\| at nine",
    ]


def test_data_lines_are_old_candles_and_alarms_alone(summary):
    assert data_lines(summary) == [f"ETH-USD: {OLD}", "ETH-USD: 100 to 112 | at nine"]
    summary["symbols"] = {"BTC-USD": summary["symbols"]["BTC-USD"]}
    assert data_lines(summary) == []


def test_data_lines_of_many_symbols_are_the_first_and_a_count(summary):
    stale = summary["symbols"]["BTC-USD"] | {"data": candles(stale=OLD)}
    summary["symbols"] = {f"S{i:03d}-USD": stale for i in range(300)}
    lines = data_lines(summary)
    assert lines[0] == f"S000-USD: {OLD}"
    assert lines[MOST_IN_FULL:] == ["and 280 more; summary.md has them all"]
    assert f"| S299-USD | {OLD} |" in summary_markdown(summary, ())


def test_markdown_points_out_what_was_judged_otherwise_than_shipped(summary):
    changed = changed_settings(
        GatesSection(accuracy=LimitGate(limit=0.4)), EvaluationSection(costs_bp=0.0, bootstrap_seed=9)
    )
    page = summary_markdown(summary, changed)
    section = page.partition("## Judged otherwise than shipped\n\n")[2].partition("\n\n")[0]
    assert section.splitlines()[2:] == ["| gates.accuracy.limit | 0.4 | 0.68 |", "| evaluation.costs_bp | 0 | 10 |"]
    assert "Judged otherwise" not in summary_markdown(summary, ())


def test_best_possible_accuracy_stands_beside_the_rule_where_it_is_known(summary):
    assert "best possible" not in summary_markdown(summary, ())
    assert "best possible" not in outcome_lines(summary)[0]
    summary["symbols"]["BTC-USD"]["metrics"]["test"]["best_possible_accuracy"] = 0.7512
    summary["symbols"]["ETH-USD"]["metrics"]["test"]["best_possible_accuracy"] = None
    assert "| of the best possible (planted market) | 75.1 % | not measured |" in summary_markdown(summary, ())
    btc, eth, _ = outcome_lines(summary)
    assert "accuracy 74.1 % (rule 73.6 %, best possible 75.1 %), NLL" in btc
    assert "best possible" not in eth


def test_markdown_table_survives_a_reason_with_pipes_and_line_breaks(summary):
    lines = summary_markdown(summary, ()).splitlines()
    (sol,) = [line for line in lines if line.startswith("| SOL-USD | **failed**")]
    assert "close must be above 0 \\| row 17 Fetch the window again." in sol
    assert sol.replace("\\|", "").count("|") == 6


def test_markdown_of_a_run_in_which_everything_failed_has_no_empty_tables(summary):
    summary["symbols"] = {"SOL-USD": summary["symbols"]["SOL-USD"]}
    page = summary_markdown(summary, ())
    assert "Figures" not in page
    assert "Gates not met" not in page


def test_summary_needs_no_drawing_library():
    code = "import sys, models_lib.reports.summary; print('matplotlib' in sys.modules, 'jinja2' in sys.modules, 'torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False", "False"]
