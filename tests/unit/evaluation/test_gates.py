"""The gates: the edge of every limit, and two laws over all of them: unmeasured has failed, NaN never passes."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_lib.config import GatesSection
from models_lib.evaluation.bootstrap import Interval
from models_lib.evaluation.gates import FeatureDrift, GateResult, Measurements, epoch_gates, judge, logit_figures

GATES = GatesSection()
F = 4


def interval(low: float, high: float) -> Interval:
    return Interval(low, high, blocks=43, effective_rows=1_500.0)


GOOD = Measurements(
    scaler_mean=np.zeros(F, np.float32),
    scaler_scale=np.ones(F, np.float32),
    train_moments=(np.full(F, 1e-6), np.full(F, 1.0)),
    validation_moments=(np.full(F, 0.05), np.full(F, 0.97)),
    num_non_finite={"features": 0, "logits": 0, "probabilities": 0, "weights": 0},
    max_abs_logit=8.5,
    share_over_99=0.07,
    share_over_90=0.21,
    share_50_90=0.72,
    mean_confidence=0.71,
    class_shares=(0.34, 0.31, 0.35),
    ece=0.016,
    accuracy=0.741,
    lift=0.004,
    nll_improvement=0.034,
    nll_improvement_interval=interval(0.02, 0.05),
    driftless_improvement=0.004,
    driftless_improvement_interval=interval(0.001, 0.007),
    edge_after_costs_bp=0.5,
    drift=FeatureDrift(("a", "b"), np.array([0.2, 0.6]), np.array([0.25, 0.7]), 5),
    has_champion=True,
    champion_difference=0.001,
    champion_difference_interval=interval(-0.002, 0.004),
)
ALL_GATES = [
    "scaler_present",
    "feature_normalisation",
    "logit_range",
    "overconfidence",
    "class_balance",
    "finite",
    "calibration_error",
    "accuracy",
    "beats_mechanical_rule",
    "beats_driftless_rule",
    "not_worse_than_champion",
    "confidence_band",
    "edge_after_costs",
    "feature_drift",
]
MEASURED_BY = {
    "scaler_mean": "scaler_present",
    "scaler_scale": "scaler_present",
    "train_moments": "feature_normalisation",
    "num_non_finite": "finite",
    "max_abs_logit": "logit_range",
    "share_over_99": "overconfidence",
    "class_shares": "class_balance",
    "ece": "calibration_error",
    "accuracy": "accuracy",
    "lift": "beats_mechanical_rule",
    "nll_improvement": "beats_mechanical_rule",
    "nll_improvement_interval": "beats_mechanical_rule",
    "driftless_improvement": "beats_driftless_rule",
    "driftless_improvement_interval": "beats_driftless_rule",
    "mean_confidence": "confidence_band",
    "share_50_90": "confidence_band",
    "edge_after_costs_bp": "edge_after_costs",
    "drift": "feature_drift",
    "champion_difference": "not_worse_than_champion",
    "champion_difference_interval": "not_worse_than_champion",
}
POISONED: dict[str, Any] = {
    "scaler_mean": np.array([0.0, np.nan, 0.0, 0.0]),
    "scaler_scale": np.array([1.0, np.nan, 1.0, 1.0]),
    "train_moments": (np.zeros(F), np.array([1.0, np.nan, 1.0, 1.0])),
    "num_non_finite": {"features": math.nan},
    "class_shares": (0.4, math.nan, 0.3),
    "nll_improvement_interval": interval(math.nan, math.nan),
    "driftless_improvement_interval": interval(math.nan, math.nan),
    "champion_difference_interval": interval(math.nan, math.nan),
    "drift": FeatureDrift(("a", "b"), np.array([0.1, math.nan]), np.array([0.25, 0.25]), 5),
}


def result(name: str, split: str | None = None, gates: GatesSection = GATES, **changes: Any) -> GateResult:
    found = [r for r in judge(replace(GOOD, **changes), gates) if r.name == name and split in {None, r.split}]
    return found[0]


def test_a_good_candidate_passes_every_gate() -> None:
    results = judge(GOOD, GATES)
    assert sorted({r.name for r in results}) == sorted(ALL_GATES)
    assert sorted(ALL_GATES) == sorted(GatesSection.model_fields)
    assert [r.name for r in results if not r.passed] == []


def test_severity_comes_from_the_configuration() -> None:
    severities = {r.name: r.severity for r in judge(GOOD, GATES) if r.split != "validation"}
    advisory = {"beats_driftless_rule", "confidence_band", "edge_after_costs", "feature_drift"}
    assert severities == {name: "advisory" if name in advisory else "blocking" for name in ALL_GATES}
    stricter = GATES.model_copy(
        update={"edge_after_costs": GATES.edge_after_costs.model_copy(update={"severity": "blocking"})}
    )
    assert result("edge_after_costs", gates=stricter, edge_after_costs_bp=-9.0).blocks
    assert not result("edge_after_costs", edge_after_costs_bp=-9.0).blocks


def test_without_a_champion_there_is_no_champion_gate() -> None:
    results = judge(
        replace(GOOD, has_champion=False, champion_difference=None, champion_difference_interval=None), GATES
    )
    assert "not_worse_than_champion" not in {r.name for r in results}


@pytest.mark.parametrize(("field", "gate"), MEASURED_BY.items())
def test_what_was_not_measured_has_failed(field: str, gate: str) -> None:
    judged = result(gate, **{field: None})
    assert not judged.passed
    assert judged.value is None
    assert judged.limit is not None
    assert [r.name for r in judge(replace(GOOD, **{field: None}), GATES) if not r.passed] == [gate]


@pytest.mark.parametrize(("field", "gate"), MEASURED_BY.items())
def test_nan_never_passes(field: str, gate: str) -> None:
    judged = result(gate, **{field: POISONED.get(field, math.nan)})
    assert not judged.passed
    json.dumps(judged.to_json(), allow_nan=False)


@given(
    number=st.sampled_from([math.nan, math.inf, -math.inf]),
    fields=st.sets(
        st.sampled_from([f for f in MEASURED_BY if isinstance(getattr(GOOD, f), float) and f != "champion_difference"]),
        min_size=1,
    ),
)
def test_no_figure_that_is_not_finite_passes_in_any_combination(number: float, fields: set[str]) -> None:
    results = judge(replace(GOOD, **dict.fromkeys(fields, number)), GATES)
    by_name = {r.name: r.passed for r in results if r.split != "validation"}
    assert not any(by_name[MEASURED_BY[field]] for field in fields)


@pytest.mark.parametrize(
    ("gate", "changes", "passes"),
    [
        ("feature_normalisation", {"train_moments": (np.array([0.0999]), np.array([1.0]))}, True),
        ("feature_normalisation", {"train_moments": (np.array([-0.1]), np.array([1.0]))}, False),
        ("feature_normalisation", {"train_moments": (np.array([0.0]), np.array([0.89]))}, False),
        ("logit_range", {"max_abs_logit": 14.999}, True),
        ("logit_range", {"max_abs_logit": 15.0}, False),
        ("logit_range", {"clamped_share": 0.0}, True),
        ("logit_range", {"clamped_share": 0.01}, True),
        ("logit_range", {"clamped_share": 0.0101}, False),
        ("logit_range", {"clamped_share": math.nan}, False),
        ("logit_range", {"clamped_share": 0.0, "max_abs_logit": 15.0}, False),
        ("overconfidence", {"share_over_99": 0.0999}, True),
        ("overconfidence", {"share_over_99": 0.10}, False),
        ("class_balance", {"class_shares": (0.15, 0.25, 0.60)}, True),
        ("class_balance", {"class_shares": (0.149, 0.251, 0.60)}, False),
        ("class_balance", {"class_shares": (0.2, 0.19, 0.61)}, False),
        ("finite", {"num_non_finite": {"features": 0, "weights": 1}}, False),
        ("calibration_error", {"ece": 0.0499}, True),
        ("calibration_error", {"ece": 0.05}, False),
        ("accuracy", {"accuracy": 0.68}, True),
        ("accuracy", {"accuracy": 0.6799}, False),
        ("beats_mechanical_rule", {"lift": -0.01}, True),
        ("beats_mechanical_rule", {"lift": -0.0101}, False),
        ("beats_mechanical_rule", {"nll_improvement_interval": interval(0.0, 0.05)}, False),
        ("beats_mechanical_rule", {"nll_improvement_interval": interval(1e-4, 0.05)}, True),
        ("beats_mechanical_rule", {"nll_improvement": -0.01}, False),
        ("beats_driftless_rule", {"driftless_improvement_interval": interval(-1e-4, 0.01)}, False),
        ("beats_driftless_rule", {"driftless_improvement_interval": interval(7e-12, 8e-10)}, False),  # a tie
        ("not_worse_than_champion", {"champion_difference_interval": interval(-0.02, -1e-4)}, False),
        ("not_worse_than_champion", {"champion_difference_interval": interval(-0.02, 0.0)}, True),
        ("confidence_band", {"mean_confidence": 0.60}, True),
        ("confidence_band", {"mean_confidence": 0.599}, False),
        ("confidence_band", {"mean_confidence": 0.851}, False),
        ("confidence_band", {"share_50_90": 0.69}, False),
        ("confidence_band", {"share_50_90": 0.81}, False),
        ("edge_after_costs", {"edge_after_costs_bp": 0.0}, False),
        ("edge_after_costs", {"edge_after_costs_bp": 0.01}, True),
        ("feature_drift", {"drift": FeatureDrift(("a", "b"), np.array([0.26, 0.1]), np.array([0.25, 0.7]), 5)}, False),
        ("feature_drift", {"drift": FeatureDrift(("a",), np.array([0.25]), np.array([0.25]), 5)}, True),
        ("scaler_present", {"scaler_scale": np.array([1.0, 1.0, 1.0, 0.0])}, False),
        ("scaler_present", {"scaler_scale": np.array([1.0, 1.0, 1.0, -1.0])}, False),
        ("scaler_present", {"scaler_scale": np.ones(F - 1)}, False),
        ("scaler_present", {"scaler_mean": np.array([0.0, np.inf, 0.0, 0.0])}, False),
    ],
)
def test_each_gate_at_its_limit(gate: str, changes: dict[str, Any], passes: bool) -> None:
    assert result(gate, **changes).passed is passes


def test_validation_normalisation_is_reported_and_never_blocks() -> None:
    judged = result("feature_normalisation", "validation", validation_moments=(np.full(F, 3.0), np.full(F, 9.0)))
    assert (judged.passed, judged.severity, judged.value) == (False, "advisory", 8.0)


def test_two_sided_gates_carry_two_sided_figures() -> None:
    balance = result("class_balance").to_json()
    assert (balance["value"], balance["limit"]) == ([0.31, 0.35], [0.15, 0.60])
    band = result("confidence_band").to_json()
    assert (band["value"], band["limit"]) == ([0.71, 0.71], [0.60, 0.85])
    assert "between 0.5 and 0.9: 72.0% (wanted 70%-80%)" in band["note"]


def test_drift_names_the_worst_feature_against_its_own_limit() -> None:
    judged = result("feature_drift")
    assert (judged.value, judged.limit) == (0.6, 0.7)
    assert "worst is b" in judged.note


def epoch(logits: np.ndarray, **changes: Any) -> dict[str, GateResult]:
    settings: dict[str, Any] = {
        "scaler_mean": np.zeros(F),
        "scaler_scale": np.ones(F),
        "num_non_finite_weights": 0,
        "gates": GATES,
    }
    return {r.name: r for r in epoch_gates(logits=logit_figures(logits), **(settings | changes))}


HEALTHY = np.random.default_rng(0).normal(size=(3_000, 3)) * 2


def test_epoch_gates_pass_a_healthy_network() -> None:
    results = epoch(HEALTHY)
    assert list(results) == ["scaler_present", "logit_range", "overconfidence", "class_balance", "finite"]
    assert all(r.passed for r in results.values())


def test_epoch_gates_catch_the_raw_price_fault() -> None:
    """V6 on raw prices: logits of tens of thousands, every prediction certain and DOWN, no scaler."""
    logits = np.stack([np.full(500, 33_503.0), np.zeros(500), np.full(500, -9_475.0)], axis=1)
    results = epoch(logits, scaler_mean=None, scaler_scale=None)
    assert [name for name, r in results.items() if r.blocks] == [
        "scaler_present",
        "logit_range",
        "overconfidence",
        "class_balance",
    ]


def test_epoch_gates_fail_on_logits_that_are_not_finite() -> None:
    broken = HEALTHY.copy()
    broken[7, 1] = np.nan
    results = epoch(broken)
    assert [name for name, r in results.items() if not r.passed] == [
        "logit_range",
        "overconfidence",
        "class_balance",
        "finite",
    ]
    assert results["finite"].value == 1.0
    assert not epoch(HEALTHY, num_non_finite_weights=3)["finite"].passed
    assert not epoch(np.empty((0, 3)))["logit_range"].passed
