"""What the Prefect UI shows of one symbol, without Prefect."""

import base64
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from models_lib.reports.pieces import Image, Link, Table, Text, gate_rows, piece_key, symbol_pieces, verdict_markdown
from tests.unit.reports.conftest import good_report, held_report

PAGE = Path("/home/operator/.crpbot/runs/r1/BTC-USD/report.html")


@pytest.fixture(scope="module")
def pieces():
    return {piece.key: piece for piece in symbol_pieces(good_report(), PAGE)}


def test_keys_are_such_as_prefect_takes_and_name_kind_and_symbol(pieces):
    assert set(pieces) == {
        "verdict-btc-usd",
        "gates-btc-usd",
        "drift-btc-usd",
        "reliability-btc-usd",
        "confidence-btc-usd",
        "training-btc-usd",
        "page-btc-usd",
    }
    assert all(re.fullmatch("[a-z0-9-]+", key) for key in pieces)
    assert piece_key("gates", "1000SHIB-USDT") == "gates-1000shib-usdt"
    assert all(piece.description.startswith("BTC-USD PROMOTED, run 20261121T020000Z-4f1c") for piece in pieces.values())


def test_gate_table_has_every_gate_in_words_with_what_failed_first():
    rows = gate_rows(held_report())
    assert {tuple(row) for row in rows} == {("gate", "split", "value", "limit", "severity", "passed", "beside it")}
    assert len(rows) == len(held_report().gates)
    severities = [row["severity"] for row in rows]
    assert severities == sorted(severities, reverse=True), "blocking before advisory"
    passed = [row["passed"] for row in rows if row["severity"] == "blocking"]
    assert passed == sorted(passed), "**no** before yes"
    assert "**no**" in passed
    accuracy = next(row for row in gate_rows(good_report()) if row["gate"] == "accuracy")
    assert accuracy | {"beside it": ""} == {
        "gate": "accuracy",
        "split": "test",
        "value": "74.1 %",
        "limit": "at least 68 %",
        "severity": "blocking",
        "passed": "yes",
        "beside it": "",
    }


def test_drift_table_has_every_feature_with_the_worst_first(pieces):
    table = pieces["drift-btc-usd"]
    assert isinstance(table, Table)
    assert len(table.rows) == 72
    assert table.rows[:2] == [
        {"feature": "feature_00", "PSI": "0.36", "limit": "0.25", "share of limit": "144 %", "within": "**no**"},
        {"feature": "feature_01", "PSI": "0.18", "limit": "0.25", "share of limit": "72 %", "within": "yes"},
    ]
    assert table.description.endswith("limits from 6 weeks before it")
    assert "drift-btc-usd" not in {piece.key for piece in symbol_pieces(replace(good_report(), drift=None), PAGE)}


@pytest.mark.parametrize(("value", "said"), [(None, "not measured"), (float("nan"), "not a finite number (nan)")])
def test_unmeasured_and_nan_are_words(value, said):
    report = good_report()
    broken = tuple(
        replace(gate, value=value, passed=False) if gate.name == "accuracy" else gate for gate in report.gates
    )
    row = next(row for row in gate_rows(replace(report, gates=broken, outcome="held")) if row["gate"] == "accuracy")
    assert (row["value"], row["passed"]) == (said, "**no**")


def test_verdict_never_shows_an_accuracy_without_the_rule_s(pieces):
    text = pieces["verdict-btc-usd"].markdown
    assert isinstance(pieces["verdict-btc-usd"], Text)
    for line in (
        "## BTC-USD: PROMOTED",
        "| One-line rule | 73.6 % | 0.622 |",
        "| Driftless rule | 74.2 % | 0.585 |",
        "| **This model** | 74.1 % | 0.588 |",
        "ECE 1.7 %, mean confidence 73.1 %, edge after costs -9.8 bp a call.",
        "- **Does it know direction? No skill shown.**",
        f"page `{PAGE}`",
    ):
        assert line in text, line


def test_confusion_is_shares_of_what_came_true():
    table = np.array([[70, 20, 10], [0, 0, 0], [1, 1, 2]])
    text = verdict_markdown(replace(good_report(), confusion=table), PAGE)
    assert "| DOWN | 70.0 % | 20.0 % | 10.0 % |" in text
    assert "| NEUTRAL | not measured | not measured | not measured |" in text
    assert "said DOWN" not in verdict_markdown(replace(good_report(), confusion=None), PAGE)


def test_foreign_text_in_the_verdict_is_inert():
    report = replace(good_report(), data_origin="<script>alert(1)</script> [here](http://evil) | *x*")
    text = verdict_markdown(report, PAGE)
    assert "<script" not in text
    assert r"\[here\](http://evil) \| \*x\*" in text


def test_images_are_svg_files_of_their_own_in_the_page_s_colours(pieces):
    images = [piece for piece in pieces.values() if isinstance(piece, Image)]
    assert len(images) == 3
    for image in images:
        head, _, content = image.address.partition(",")
        assert head == "data:image/svg+xml;base64"
        svg = base64.b64decode(content).decode()
        root = ET.fromstring(svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert (root.get("width"), root.get("height")) == ("720", "475")
        used = set(re.findall(r"var\((--[a-z]+)\)", svg))
        assert used
        assert all(f"{name}:" in svg for name in used), "every colour has its value in the file"
        assert "http" not in svg.replace("http://www.w3.org/", "")


def test_nothing_is_drawn_of_what_was_not_measured():
    report = replace(good_report(), reliability=None, probabilities=np.empty((0, 3), np.float32))
    assert {piece.key for piece in symbol_pieces(report, PAGE)}.isdisjoint(
        {"reliability-btc-usd", "confidence-btc-usd"}
    )


def test_link_names_the_page_of_the_run(pieces):
    link = pieces["page-btc-usd"]
    assert isinstance(link, Link)
    assert link.address == f"file://{PAGE}"
    assert str(PAGE) in link.description
    assert isinstance(pieces["gates-btc-usd"], Table)
