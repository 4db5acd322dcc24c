"""The comparison of three models: page, table and JSON are one value, and say the same."""

import dataclasses
import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from models_lib.config import EvaluationSection, GatesSection
from models_lib.evaluation.comparison import ComparedRows, compare_models, reliability_of
from models_lib.evaluation.decision import MODELS, PAIRS, decide
from models_lib.evaluation.gates import GateResult
from models_lib.evaluation.pool import fit_pool
from models_lib.reports import wording
from models_lib.reports.pieces import Link, Table, Text
from models_lib.reports.three_models import COLUMNS, ComparedModel, Stretch, ThreeModels, render_comparison
from models_lib.reports.three_models_pieces import comparison_pieces
from tests.comparison_page import Figures, at, expected_figures
from tests.pooled import pooled_logits

T0 = datetime(2026, 5, 1, tzinfo=UTC)
TITLES = {"repaired": "the repaired V6", "v8": "V8", "ensemble": "the ensemble"}
SECTION = EvaluationSection(bootstrap_samples=300)
ROWS = 12_000


def gates(accuracy: float, *, edge: float) -> tuple[GateResult, ...]:
    return (
        GateResult("scaler_present", "saved_file", 0.01, 0.0, "blocking", passed=True),
        GateResult("feature_normalisation", "train", 0.0, 0.1, "blocking", passed=True),
        GateResult("class_balance", "test", (0.2, 0.5), (0.15, 0.6), "blocking", passed=True),
        GateResult("accuracy", "test", accuracy, 0.5, "blocking", passed=accuracy >= 0.5),
        GateResult("finite", "test", None, 0.0, "blocking", passed=False, note="<b>not</b> measured & noted"),
        GateResult("feature_normalisation", "validation", 0.2, 0.1, "advisory", passed=False),
        GateResult("edge_after_costs", "test", edge, 0.0, "advisory", passed=edge > 0),
    )


def study_of(*, high_volatility: bool = True, rows: int = ROWS) -> ThreeModels:
    random = np.random.default_rng(4)
    classes = random.integers(0, 3, rows).astype(np.int8)
    compared = ComparedRows(
        times_ms=1_780_000_020_000 + 60_000 * np.arange(rows),
        classes=classes,
        forward_return=random.normal(0, 1e-3, rows),
        log_volatility=np.cumsum(random.normal(0, 0.01, rows)) if high_volatility else np.zeros(rows),
    )
    members = [random.normal(size=(rows, 3)) + skill * np.eye(3)[classes] for skill in (0.6, 1.0)]
    pool = fit_pool(*members, classes)
    logits = dict(zip(MODELS, (*members, pooled_logits(*members, pool)), strict=True))
    row_sets = compare_models(compared, logits, PAIRS, SECTION)
    judged = {name: gates(row_sets[0].figures[name].accuracy, edge=-9.5) for name in MODELS}
    models = {
        name: ComparedModel(
            name=name,
            title=TITLES[name],
            family={"repaired": "v6-repaired", "v8": "v8", "ensemble": "ensemble"}[name],
            bundle=digit * 64,
            folder=f"store/bundles/{digit * 64}",
            features="raw72",
            temperature=1.25,
            gates=judged[name],
            words=("no edge after costs measured",),
            reliability=reliability_of(logits[name], classes, SECTION),
        )
        for name, digit in zip(MODELS, "abc", strict=True)
    }
    failed = {name: models[name].failed for name in MODELS}
    return ThreeModels(
        symbol="BTC-USD",
        label="trend(60, 15)",
        label_meaning="UP: the mean of the next 15 minutes lies clearly above the mean of the last 60.",
        origin="candles <of> a test",
        simulated_market=None,
        models=models,
        pool=pool,
        validation=Stretch(9_000, T0, T0 + timedelta(days=7)),
        test=Stretch(rows, T0 + timedelta(days=8), T0 + timedelta(days=16)),
        clear_minutes=75,
        row_sets=row_sets,
        decision=decide(failed, row_sets[0], titles={name: TITLES[name] for name in MODELS}, sole=None),
        evaluation=SECTION,
        gates=GatesSection(),
        seconds=12.34,
    )


@pytest.fixture(scope="module")
def study() -> ThreeModels:
    return study_of()


def test_page_and_json_say_the_same_figures_everywhere(study: ThreeModels) -> None:
    document = json.loads(json.dumps(study.to_json(), allow_nan=False))
    shown = Figures(render_comparison(study)).figures
    assert shown == expected_figures(document)
    # 4 row sets with 3 models of 10 figures and 3 pairs of 2 values, 2 intervals and the effective rows; and the seconds.
    assert len(shown) == 4 * (3 * 10 + 3 * 5) + 1
    assert list(document["row_sets"]) == ["test", "sample", "newest_week", "high_volatility"]


def test_page_and_json_say_the_same_verdict_of_every_gate(study: ThreeModels) -> None:
    document = json.loads(json.dumps(study.to_json()))
    shown = Figures(render_comparison(study)).gates
    told = {
        f"{model}/{gate['name']}/{gate['split'].replace('_', ' ')}": gate["passed"]
        for model, judged in document["models"].items()
        for gate in judged["gates"]
    }
    assert {place: text.strip()[0] == "✓" for place, text in shown.items()} == told
    assert len(told) == 3 * 7
    assert shown["v8/accuracy/test"].strip() == f"✓ {wording.percent(document['models']['v8']['gates'][3]['value'])}"
    assert document["models"]["v8"]["failed_blocking"] == ["finite"]
    assert document["models"]["repaired"]["passed"] is False


def test_table_and_json_say_the_same(study: ThreeModels) -> None:
    document = study.to_json()
    header, lines = study.table()
    assert header[:3] == ("rows", "model", "accuracy")
    assert len(lines) == 12
    assert lines[0][:2] == ("Test (12,000)", "repaired V6")
    said = [
        tuple(say(at(document, f"row_sets/{name}/models/{model}/{key}")) for _, key, say in COLUMNS)
        for name, one in document["row_sets"].items()
        for model in one["models"]
    ]
    assert [line[2:] for line in lines] == said
    _, pairs = study.differences_table()
    assert [line[1] for line in pairs[:3]] == ["repaired V6 - V8", "V8 - ensemble", "repaired V6 - ensemble"]
    first = document["row_sets"]["test"]["differences"]["repaired - v8"]["nll"]
    assert pairs[0][2:4] == (wording.signed(first["value"]), wording.interval(tuple(first["interval"]), wording.signed))
    assert pairs[0][6] == wording.whole(first["effective_rows"])
    assert pairs[0][7] == "50 of 240 bars"
    assert pairs[-1][7].startswith("50 of 240 bars, rows in ")


def test_choice_reason_and_weights_are_on_the_page_and_in_the_json(study: ThreeModels) -> None:
    document, page = study.to_json(), render_comparison(study)
    assert document["decision"] == {"winner": None, "reason": study.decision.reason}
    assert "The repaired V6 fails" in study.decision.reason
    weights = document["ensemble"]["weights"]
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-12)
    assert f"Ensemble: {weights['repaired']:.3f} of the repaired V6 and {weights['v8']:.3f} of V8, then T = " in page
    assert "12,000 rows, 2026-05-09 00:00 UTC" in page.replace("\N{NO-BREAK SPACE}", " ")
    assert "at least 75 minutes after both validations&#39; end" in page.replace("\N{NO-BREAK SPACE}", " ")


def test_page_is_self_contained_and_foreign_words_are_inert(study: ThreeModels) -> None:
    page = render_comparison(study)
    assert "://" not in page
    assert "<script" not in page
    assert "candles &lt;of&gt; a test" in page
    assert "&lt;b&gt;not&lt;/b&gt; measured &amp; noted" in page


def test_empty_set_and_too_few_blocks_are_said(study: ThreeModels) -> None:
    few = study_of(high_volatility=False, rows=2_000)
    document, page = json.loads(json.dumps(few.to_json(), allow_nan=False)), render_comparison(few)
    assert document["row_sets"]["high_volatility"]["models"] == {}
    assert "No row of the test part belongs to this set." in page
    assert document["row_sets"]["test"]["differences"]["v8 - ensemble"]["nll"]["interval"] is None
    assert Figures(page).figures == expected_figures(document)
    assert Figures(page).figures["row_sets/test/differences/v8 - ensemble/nll/interval"] == wording.NOT_MEASURED
    assert "8 blocks of 240 bars. An interval needs 30 of them." in page.replace("\N{NO-BREAK SPACE}", " ")


def test_one_member_with_all_the_weight_is_said(study: ThreeModels) -> None:
    alone = dataclasses.replace(study, pool=dataclasses.replace(study.pool, weights=(0.0, 1.0), sole=1))
    assert alone.to_json()["ensemble"]["sole_member"] == "v8"
    assert any("all the weight goes to V8" in sentence for sentence in alone.sentences())


def test_pieces_say_what_the_page_says(study: ThreeModels) -> None:
    text, figures, differences, link = comparison_pieces(study, Path("/runs/three.html"))
    assert isinstance(text, Text)
    assert isinstance(figures, Table)
    assert isinstance(differences, Table)
    assert isinstance(link, Link)
    assert [piece.key for piece in (text, figures, differences, link)] == [
        "comparison-btc-usd",
        "comparison-figures-btc-usd",
        "comparison-differences-btc-usd",
        "comparison-page-btc-usd",
    ]
    assert text.markdown.startswith("## BTC-USD: none of them\n")
    assert figures.rows[1]["NLL"] == study.table()[1][1][4]
    assert list(differences.rows[0])[3:6] == ["95 % interval", "accuracy", "95 % interval (accuracy)"]
    assert link.address == "file:///runs/three.html"
    assert math.isclose(float(figures.rows[0]["NLL"]), study.row_sets[0].figures["repaired"].nll, abs_tol=1e-4)
