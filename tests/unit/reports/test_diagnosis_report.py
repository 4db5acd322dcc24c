"""A diagnosis says the same on the screen, in JSON and on its page."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from models_lib.config import GatesSection
from models_lib.evaluation.gates import GateResult
from models_lib.files import canonical_json
from models_lib.legacy.causes import Examined, Limits, ModelFacts, likely_causes, remedy_for
from models_lib.legacy.diagnosis import FirstLayer, examine_answers, examine_layer
from models_lib.reports.diagnosis import Diagnosis, ExaminedRows
from models_lib.reports.diagnosis_page import render_diagnosis

NOW = datetime(2026, 1, 5, tzinfo=UTC)
NAMES = tuple(f"feature_{number}" for number in range(1, 73))
LOGITS = np.array([[33_503.0, 12.5, -9_475.0], [52_011.0, 0.0, -20_000.0], [-1.0, 2.0, 0.5]])


def gate(name: str, value: float | None, *, passed: bool, severity: Any = "blocking") -> GateResult:
    return GateResult(name, "test", value, 15.0, severity, passed=passed)


def diagnosis(**changes: Any) -> Diagnosis:
    """A file of 72 raw inputs of 1..72 times 1,000, all with the weight 0.16."""
    facts = ModelFacts(
        reference="V6.pt",
        source="file",
        family="v6",
        symbol="BTC-USD",
        identity="0123456789abcdef" * 4,
        feature_set="raw72",
        has_batch_norm=False,
        has_scaler=False,
        temperature=None,
        notes=("a remark <of> the reader",),
    )
    layer = FirstLayer(weight=np.full((2, 72), 0.16), bias=np.zeros(2), mean=None, scale=None, clip=np.full(72, np.inf))
    features = (1_000.0 * np.arange(1, 73) * np.ones((3, 1))).astype(np.float32)
    examined = Examined(
        model=facts,
        layer=examine_layer(layer, features, NAMES),
        answers=examine_answers(LOGITS),
        skill=None,
        clamped_share=None,
        limits=Limits(ece=0.05, over_99=0.1, min_lift=-0.01, clamped_share=0.01),
    )
    causes = likely_causes(examined)
    known: dict[str, Any] = {
        "examined": examined,
        "causes": causes,
        "remedy": remedy_for(facts, causes, failed=("logit_range",), candles=None),
        "written_at": NOW,
        "label": "trend(60, 15)",
        "origin": "CANDLES/BTC-USD.parquet",
        "simulated_market": None,
        "rows": ExaminedRows(used=3, first=NOW, last=NOW, seen=None),
        "gates": (
            gate("finite", 0.0, passed=True),
            gate("logit_range", 52_011.0, passed=False),
            gate("accuracy", None, passed=False),
            gate("edge_after_costs", None, passed=False, severity="advisory"),
        ),
        "gates_section": GatesSection(),
        "metrics": None,
        "words": (),
        "logits": LOGITS,
        "reliability": None,
    }
    return Diagnosis(**(known | changes))


def test_the_headline_counts_the_blocking_gates_that_failed() -> None:
    assert diagnosis().headline() == "BTC-USD FAILED: 2 of 3 blocking gates failed (v6 file V6.pt, 0123456789ab)"
    passed = diagnosis(gates=(gate("finite", 0.0, passed=True), gate("edge", None, passed=False, severity="advisory")))
    assert passed.headline() == "BTC-USD PASSED: all 1 blocking gates passed (v6 file V6.pt, 0123456789ab)"
    assert replace(passed, causes=()).cause_lines() == ("nothing wrong found",)
    assert diagnosis(causes=()).cause_lines() == ("no known fault found; logit_range, accuracy failed all the same",)


def test_json_carries_every_feature_and_the_same_figures() -> None:
    document = json.loads(canonical_json(diagnosis().to_json()))
    assert document["cause"] == (
        "no scaler: feature 72, feature_72, reaches 72,000 and layer 1 answers with 11,520; 72 of 72 features reach more "
        "than 10"
    )
    assert document["verdict"] == "failed"
    assert document["failed_blocking"] == ["logit_range", "accuracy"]
    features = document["layer_1"]["features"]
    assert [feature["number"] for feature in features] == list(range(1, 73))
    assert [feature["largest_activation"] for feature in features] == pytest.approx([160.0 * n for n in range(1, 73)])
    # Every unit sums them all: 160 x 72 x 73 / 2.
    assert document["layer_1"]["largest_activation"] == pytest.approx(160 * 72 * 73 / 2)
    assert document["layer_1"]["worst_features"][:2] == ["feature_72", "feature_71"]
    assert document["logits"]["mean"] == pytest.approx({"DOWN": 85_513 / 3, "NEUTRAL": 14.5 / 3, "UP": -29_474.5 / 3})
    assert document["logits"]["largest"] == 52_011
    assert document["class_shares"] == pytest.approx({"DOWN": 2 / 3, "NEUTRAL": 1 / 3, "UP": 0})
    assert [line["name"] for line in document["gates"]] == ["finite", "logit_range", "accuracy", "edge_after_costs"]
    assert document["gates"][2]["value"] is None
    assert document["gates"][2]["passed"] is False
    assert document["skill"] is document["metrics"] is None


def test_the_table_shows_what_was_not_measured_as_failed() -> None:
    header, lines = diagnosis().gate_table()
    assert header == ("gate", "result", "measured", "limit", "rows", "severity")
    by_name = {line[0]: line for line in lines}
    assert by_name["accuracy"][1:3] == ("FAIL", "not measured")
    assert by_name["logit_range"] == ("logit_range", "FAIL", "52,011", "below 15", "test", "blocking")
    assert [line[5] for line in lines] == ["blocking"] * 3 + ["advisory"]
    assert ("skill", "accuracy, ECE, NLL not measured") in diagnosis().figure_lines()
    assert diagnosis().output_table()[1][0] == ("DOWN", "-1", "28,504", "52,011", "66.7 %")


def test_the_page_says_what_the_json_says() -> None:
    page = render_diagnosis(diagnosis()).replace("\N{NO-BREAK SPACE}", " ")
    for said in (
        "BTC-USD <b>FAILED</b>",
        "no scaler: feature 72, feature_72, reaches 72,000 and layer 1 answers with 11,520",
        "crpbot repair V6.pt --symbol BTC-USD --candles CANDLES",
        "it may have been trained on these rows",
        "a remark &lt;of&gt; the reader",
        "28,504",
        "Blocking: one failure holds the model back (1 of 3 passed)",
    ):
        assert said in page, said
    table = page[page.index("Features, the worst first") :]
    assert re.findall(r'scope="row">(\d+) feature_', table) == [str(number) for number in range(72, 0, -1)]
    assert page.count("<svg") == 3  # reliability needs labels
    assert "Simulated market" not in page


def test_the_page_asks_for_nothing_and_runs_nothing() -> None:
    page = render_diagnosis(diagnosis(simulated_market="default"))
    assert "default-src 'none'" in page
    assert not re.search(r"<script|<link|<img|https?://(?!www\.w3\.org)", page)
    assert "Simulated market" in page


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"seen": None}, "The file names no training span: it may have been trained on these rows"),
        ({"seen": 0}, "all after the model's validation end, so out of sample."),
        ({"seen": 500}, "500 of them (50.0 %) lie before its validation end, so they are NOT out of sample."),
        ({"seen": None, "why_unlabelled": "12 rows are too few."}, "1,000 rows without labels"),
    ],
)
def test_the_rows_say_whether_the_model_may_know_them(rows: dict[str, Any], said: str) -> None:
    assert said in ExaminedRows(used=1_000, first=NOW, last=NOW, **rows).sentence()


def test_numbers_that_json_cannot_say_become_null() -> None:
    broken = diagnosis()
    layer = replace(broken.examined.layer, largest=np.inf, median=np.nan)
    document = diagnosis(examined=replace(broken.examined, layer=layer)).to_json()
    assert document["layer_1"]["largest_activation"] is document["layer_1"]["median_activation"] is None
    canonical_json(document)


def test_answers_that_are_not_finite_leave_their_charts_out() -> None:
    nothing = diagnosis(logits=np.full((3, 3), np.nan))
    examined = replace(nothing.examined, answers=examine_answers(nothing.logits))
    page = render_diagnosis(diagnosis(examined=examined, logits=nothing.logits))
    assert page.count("<svg") == 1
    assert "not measured" in page
