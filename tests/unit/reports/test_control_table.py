"""The model beside its controls: on the page, in the UI, in the summary and in a message."""

import dataclasses
from pathlib import Path

import pytest

from models_lib.reports.controls import control_alarm_lines, control_lines, control_table
from models_lib.reports.pieces import Table, Text, symbol_pieces
from models_lib.reports.summary import MOST_IN_FULL, summary_markdown
from models_lib.reports.writer import render_report
from tests.unit.reports.test_report_page import words

MODEL = {
    "accuracy": 0.741,
    "mechanical_rule_accuracy": 0.736,
    "majority_accuracy": 0.35,
    "lift": 0.005,
    "lift_interval": [-0.003, 0.012],
    "nll": 0.588,
    "ece": 0.017,
    "directional_accuracy": 0.503,
    "directional_accuracy_interval": [0.48, 0.526],
}
ALARM = {
    "name": "directional_accuracy",
    "value": 0.52,
    "limit": 0.5,
    "words": "control signflip: signs of the returns are coin tosses there, and 56.0 % of its calls have the right one.",
}


def control(name, *, alarm=None, reason="", seconds=12.3, **changes):
    metrics = {
        **MODEL,
        "accuracy": 0.352,
        "accuracy_interval": [0.33, 0.37],
        "lift": -0.384,
        "lift_interval": [-0.42, -0.35],
        "nll": 1.097,
        **changes,
    }
    return {
        "name": name,
        "metrics": None if reason else metrics,
        "alarm": alarm,
        "device": None if reason else "cpu",
        "seconds": None if reason else seconds,
        "reason": reason,
    }


BOTH = (control("shuffled"), control("signflip"))


def test_table_has_the_model_first_and_a_row_for_each_control():
    table = control_table(MODEL, BOTH)
    assert [row["training"] for row in table.rows] == ["model", "shuffled labels", "flipped signs"]
    assert table.rows[1] == {
        "training": "shuffled labels",
        "accuracy": "35.2 %",
        "one-line rule": "73.6 %",
        "lift": "-38.4 points (-42.0 to -35.0 points)",
        "NLL": "1.097",
        "ECE": "1.7 %",
        "right direction (a coin: 50 %)": "50.3 % (48.0 to 52.6 %)",
        "time": "12.3 s",
    }
    assert table.alarms == ()
    assert table.where == "Trained on this machine (cpu)."
    assert "No test label was known to it" in table.words[0].text
    assert "No feature knows the future" in table.words[1].text
    assert not any(one.alarm for one in table.words)


def test_no_control_is_no_table():
    assert control_table(MODEL, ()) is None
    assert control_lines(MODEL, ()) == []


def test_controls_of_a_paid_training_say_that_they_are_not():
    assert "and not, as the model was, as a job that is paid for" in control_table(MODEL, BOTH, unpaid=True).where


def test_alarm_is_said_in_its_own_words():
    table = control_table(MODEL, (control("shuffled"), control("signflip", alarm=ALARM)))
    assert table.alarms == ("signflip",)
    assert (table.words[1].text, table.words[1].alarm) == (ALARM["words"], True)


def test_control_that_failed_says_why_and_that_the_verdict_stands():
    table = control_table(MODEL, (control("signflip", reason="BTC-USD: the training was stopped after 1 minutes."),))
    assert table.words[0].text.startswith("control signflip came to nothing: BTC-USD: the training was stopped")
    assert "The model's verdict does not depend on it" in table.words[0].text
    assert table.rows[1]["accuracy"] == "not measured"
    assert table.where == "Trained on this machine (no training ended)."


def test_control_without_interval_shows_nothing():
    few = control("shuffled", accuracy_interval=None)
    assert "too few test rows for an interval, so it shows nothing" in control_table(MODEL, (few,)).words[0].text


def test_shuffled_is_not_praised_where_it_can_show_next_to_nothing():
    """Of `forward_return` all test rows among the training rows raised no alarm, so its silence is no good news."""
    blind = control("shuffled", accuracy=0.42, mechanical_rule_accuracy=0.347, majority_accuracy=0.33)
    (said,) = control_table(MODEL, (blind,)).words
    assert "this control shows next to nothing" in said.text
    assert "No test label was known" not in said.text


def test_control_that_calls_no_direction_says_so_and_not_that_rows_are_few():
    silent = control("signflip", directional_accuracy=None, directional_accuracy_interval=None)
    (said,) = control_table(MODEL, (silent,)).words
    assert "it called no direction, so it shows nothing" in said.text
    assert "too few test rows" not in said.text
    assert "not measured of its calls" not in said.text


@pytest.mark.parametrize(
    ("controls", "said"),
    [
        (BOTH, "No control found anything."),
        ((control("shuffled"), control("signflip", reason="out of memory.")), "Not measured: signflip."),
        ((control("shuffled", accuracy_interval=None), control("signflip")), "Not measured: shuffled."),
        ((control("signflip", directional_accuracy_interval=None),), "Not measured: signflip."),
        ((control("shuffled", reason="out of memory."), control("signflip", alarm=ALARM)), "CONTROL ALARM: signflip."),
    ],
)
def test_caption_says_that_nothing_was_found_only_where_all_was_measured(samples, controls, said):
    report = dataclasses.replace(samples["good"], controls=control_table(MODEL, controls))
    pieces = {piece.key: piece for piece in symbol_pieces(report, Path("/runs/report.html"))}
    caption = pieces[f"controls-{report.symbol.lower()}"].description
    assert said in caption
    assert ("No control found anything" in caption) == (controls is BOTH)


def test_lines_of_a_message_name_every_figure():
    lines = control_lines(MODEL, BOTH)
    assert lines[0].startswith(
        "model: accuracy 74.1 %, one-line rule 73.6 %, lift +0.5 points (-0.3 to +1.2 points), NLL"
    )
    assert [line.partition(":")[0] for line in lines] == ["model", "shuffled labels", "flipped signs"]


@pytest.fixture(scope="module")
def alarmed(samples):
    table = control_table(MODEL, (control("shuffled"), control("signflip", alarm=ALARM)))
    return dataclasses.replace(samples["good"], controls=table)


def test_page_names_the_alarm_beside_the_verdict_and_shows_the_table(samples, alarmed):
    shown = words(render_report(alarmed))
    assert shown.index("control alarm: signflip") < shown.index("Is it sound?")
    assert "shuffled labels 35.2 % 73.6 % -38.4 points (-42.0 to -35.0 points) 1.097 1.7 %" in shown
    assert ALARM["words"] in shown
    assert "No verdict depends on them" in shown
    assert "Trained on this machine (cpu)." in shown
    quiet = words(render_report(dataclasses.replace(samples["good"], controls=control_table(MODEL, BOTH))))
    assert "control alarm" not in quiet
    assert "flipped signs" in quiet
    assert "Controls" not in words(render_report(samples["good"]))


def test_wide_table_is_scrolled_by_itself_and_its_caption_stays(alarmed):
    """Eight columns need 540 pixels: on a telephone they must not make the whole page wider."""
    page = render_report(alarmed)
    section = page[page.index('<section id="controls">') :]
    section = section[: section.index("</section>")]
    before, table = section.split('<div class="wide"')
    assert "intervals in brackets" in before
    assert table.index("<table") < table.index("</table>") < table.index("</div>")
    assert 'tabindex="0"' in table[: table.index("<table")], "whoever has no pointer scrolls it by keys"
    assert ".wide { overflow-x: auto" in page


def test_pieces_hold_the_table_and_the_words(samples, alarmed):
    pieces = {piece.key: piece for piece in symbol_pieces(alarmed, Path("/runs/report.html"))}
    key = f"controls-{alarmed.symbol.lower()}"
    table, verdict = pieces[key], pieces[f"verdict-{alarmed.symbol.lower()}"]
    assert isinstance(table, Table)
    assert table.rows == list(alarmed.controls.rows)
    assert "CONTROL ALARM: signflip" in table.description
    assert isinstance(verdict, Text)
    assert "- **alarm** control signflip: signs of the returns" in verdict.markdown
    plain = {piece.key for piece in symbol_pieces(samples["good"], Path("/runs/report.html"))}
    assert not any(name.startswith("controls") for name in plain)


def entry(controls):
    return {
        "outcome": "held",
        "bundle": "ab" * 32,
        "reason": "held by accuracy",
        "gates": [],
        "metrics": {"test": {**MODEL, "mechanical_rule_nll": 0.6, "driftless_rule_nll": 0.6}},
        "words": [],
        "temperature": 1.0,
        "rows": None,
        "report": None,
        "seconds": {"controls": 25.0},
        "data": None,
        "controls": list(controls),
    }


def test_summary_holds_a_table_of_every_symbol_and_the_words():
    page = summary_markdown({"run_id": "r1", "symbols": {"A-USD": entry(BOTH), "B-USD": entry(())}}, ())
    assert "| A-USD | shuffled labels | 35.2 % | 73.6 % | -38.4 points (-42.0 to -35.0 points) | 1.097 |" in page
    assert "- A-USD: control signflip: on random signs" in page
    assert "| B-USD | model" not in page
    assert "## Controls" not in summary_markdown({"run_id": "r1", "symbols": {"B-USD": entry(())}}, ())


def test_page_of_many_symbols_names_those_with_an_alarm():
    symbols = {f"S{i:03d}-USD": entry(BOTH) for i in range(MOST_IN_FULL + 1)}
    summary = {"run_id": "r1", "symbols": symbols}
    assert "Control alarms" not in summary_markdown(summary, ())
    symbols["S003-USD"] = entry((control("signflip", alarm=ALARM),))
    page = summary_markdown(summary, ())
    assert f"| S003-USD | {ALARM['words']} |" in page
    assert control_alarm_lines(summary) == [f"S003-USD: {ALARM['words']}"]
