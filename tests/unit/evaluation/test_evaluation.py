"""The honest account: figures by hand, models of known skill get the verdict they deserve, broken ones get none."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models_lib.calibration import softmax
from models_lib.candles.schema import epoch_ms
from models_lib.config import EvaluationSection, GatesSection, LabelSection, SplitsSection
from models_lib.evaluation.baselines import fit_driftless_rule
from models_lib.evaluation.blocks import block_bars
from models_lib.evaluation.bootstrap import block_interval
from models_lib.evaluation.champion import compare_with_champion
from models_lib.evaluation.evaluation import (
    NO_BETTER_THAN_A_COIN,
    NO_DIRECTION,
    NO_EDGE,
    EvaluationInputs,
    evaluate,
    evaluate_without_labels,
    measurements_of,
    verdict_words,
)
from models_lib.evaluation.gates import judge
from models_lib.evaluation.volatility import volatility_inputs
from models_lib.labels import fit_threshold, label_classes, label_values, thresholds_of_rows
from models_lib.splits import split_rows

SUMMARY_KEYS = {
    "accuracy",
    "ece",
    "nll",
    "mean_confidence",
    "share_over_90",
    "share_over_99",
    "share_50_90",
    "max_abs_logit",
    "class_shares",
    "mechanical_rule_accuracy",
    "mechanical_rule_nll",
    "majority_accuracy",
    "lift",
    "lift_interval",
    "nll_improvement",
    "nll_improvement_interval",
    "driftless_rule_nll",
    "directional_accuracy",
    "edge_bp",
    "edge_after_costs_bp",
    "effective_rows",
}
SECTION = EvaluationSection(bootstrap_samples=500)


def market(rows: int = 60_000, *, seed: int = 0) -> pd.DataFrame:
    """Driftless candles: a random walk whose log volatility is a slow AR(1)."""
    rng = np.random.default_rng(seed)
    log_volatility = np.zeros(rows)
    shocks = rng.normal(size=rows) * 0.03
    for t in range(1, rows):
        log_volatility[t] = 0.998 * log_volatility[t - 1] + shocks[t]
    close = 100 * np.exp(np.cumsum(5e-4 * np.exp(log_volatility) * rng.normal(size=rows)))
    opened = np.concatenate(([100.0], close[:-1]))
    stamps = pd.to_datetime(1_746_403_200_000 + 60_000 * np.arange(rows), unit="ms", utc=True)
    return pd.DataFrame(
        {
            "timestamp": stamps.astype("datetime64[ms, UTC]"),
            "open": opened,
            "high": np.maximum(opened, close) * 1.0001,
            "low": np.minimum(opened, close) * 0.9999,
            "close": close,
            "volume": 1.0,
        }
    )


def inputs_of(candles: pd.DataFrame, label: LabelSection) -> EvaluationInputs:
    """Everything but the predictions, which say nothing (all logits 0)."""
    values = label_values(candles, label)
    usable = np.isfinite(values.value) & np.isfinite(values.known_part) & np.isfinite(values.volatility)
    splits = split_rows(
        epoch_ms(candles), usable, SplitsSection(), span_minutes=15, embargo_minutes=60, symbol="BTC-USD"
    )
    threshold = fit_threshold(values, label, splits.train)
    nothing = np.zeros((splits.test.size, 3))
    return EvaluationInputs(
        candles=candles,
        label=label,
        threshold=threshold,
        values=values,
        classes=label_classes(values, label, threshold),
        splits=splits,
        logits=nothing,
        probabilities=softmax(nothing),
        section=SECTION,
    )


def predicting(inputs: EvaluationInputs, logits: np.ndarray) -> EvaluationInputs:
    return replace(inputs, logits=logits.astype(np.float32), probabilities=softmax(logits).astype(np.float32))


def driftless_logits(inputs: EvaluationInputs) -> np.ndarray:
    """What the driftless rule itself would say on the test rows."""
    values, train, test = inputs.values, inputs.splits.train, inputs.splits.test
    location = values.known_part if values.known_part_inside else np.zeros_like(values.known_part)
    theta = thresholds_of_rows(values, inputs.label, inputs.threshold)
    volatility = volatility_inputs(inputs.candles)
    rule = fit_driftless_rule(location[train], theta[train], volatility[train], inputs.classes[train])
    return rule.log_probabilities(location[test], theta[test], volatility[test])


def knowing(inputs: EvaluationInputs, strength: float) -> np.ndarray:
    """The driftless rule with the true direction of the future leaked into it."""
    test = inputs.splits.test
    forward = np.sign(inputs.values.forward_return[test])
    return driftless_logits(inputs) + strength * np.stack((-forward, np.zeros(test.size), forward), axis=1)


@pytest.fixture(scope="module")
def trend() -> EvaluationInputs:
    return inputs_of(market(), LabelSection())


def test_metrics_hold_every_key_of_the_summary_as_plain_json(trend: EvaluationInputs) -> None:
    evaluation = evaluate(predicting(trend, driftless_logits(trend)))
    assert set(evaluation.metrics) >= SUMMARY_KEYS
    text = json.dumps(evaluation.metrics, allow_nan=False)
    assert json.loads(text) == evaluation.metrics
    assert evaluation.metrics["blocks"] == trend.splits.test.size // 240
    assert evaluation.metrics["effective_rows"] < trend.splits.test.size


def test_accuracy_and_confidence_gap_come_with_the_interval_of_their_rows(trend: EvaluationInputs) -> None:
    inputs = predicting(trend, driftless_logits(trend))
    metrics = evaluate(inputs).metrics
    correct = (inputs.probabilities.argmax(axis=1) == inputs.classes[inputs.splits.test]).astype(np.float64)
    expected = block_interval(correct, block_bars=240, samples=SECTION.bootstrap_samples, seed=1, min_blocks=30)
    assert expected is not None
    assert metrics["accuracy"] == correct.mean()
    assert metrics["accuracy_interval"] == [expected.low, expected.high]
    assert metrics["confidence_gap"] == pytest.approx(metrics["mean_confidence"] - metrics["accuracy"], abs=1e-6)
    assert metrics["confidence_gap_interval"][0] < metrics["confidence_gap"] < metrics["confidence_gap_interval"][1]


def test_a_model_that_is_the_driftless_rule_shows_no_direction(trend: EvaluationInputs) -> None:
    """float32 rounding of a tie must not pass as skill, though volatility beats the mechanical rule."""
    evaluation = evaluate(predicting(trend, driftless_logits(trend)))
    assert evaluation.metrics["driftless_improvement"] == pytest.approx(0.0, abs=1e-6)
    assert evaluation.metrics["nll_improvement_interval"][0] > 0
    assert verdict_words(evaluation) == (NO_DIRECTION, NO_EDGE)
    passed = {r.name: r.passed for r in _gates(evaluation)}
    assert passed["beats_mechanical_rule"]
    assert not passed["beats_driftless_rule"]


def test_a_model_that_knows_the_direction_gets_no_such_words(trend: EvaluationInputs) -> None:
    slight = evaluate(predicting(trend, knowing(trend, 0.3)))
    assert slight.metrics["driftless_improvement_interval"][0] > 0
    assert slight.metrics["directional_accuracy_interval"][0] > 0.5
    assert slight.metrics["edge_bp_interval"][0] > 0
    cheap = replace(trend, section=SECTION.model_copy(update={"costs_bp": 0.1}))
    assert verdict_words(evaluate(predicting(cheap, knowing(trend, 0.3)))) == ()
    dear = replace(trend, section=SECTION.model_copy(update={"costs_bp": 100.0}))
    assert verdict_words(evaluate(predicting(dear, knowing(trend, 0.3)))) == (NO_EDGE,)


def test_a_model_that_beats_the_driftless_rule_while_its_calls_are_a_coin_shows_no_direction(
    trend: EvaluationInputs,
) -> None:
    """Both are needed: a better volatility alone beats the driftless rule, too. The interval of the calls is given."""
    evaluation = evaluate(predicting(trend, knowing(trend, 0.3)))
    measured = evaluation.intervals["directional_accuracy"]
    assert measured is not None
    for interval in (replace(measured, low=0.48, high=0.52), replace(measured, low=0.45, high=0.47), None):
        coin = replace(evaluation, intervals={**evaluation.intervals, "directional_accuracy": interval})
        assert NO_BETTER_THAN_A_COIN in verdict_words(coin)
        assert NO_DIRECTION not in verdict_words(coin)


def test_direction_is_judged_by_the_return_from_the_current_close_not_by_the_label(trend: EvaluationInputs) -> None:
    """Predicting the label perfectly still shows g's direction only as far as the future goes there."""
    test = trend.splits.test
    perfect = 12.0 * np.eye(3)[trend.classes[test]]
    metrics = evaluate(predicting(trend, perfect)).metrics
    forward = trend.values.forward_return[test]
    called = (trend.classes[test] != 1) & (forward != 0)
    right = (forward[called] > 0) == (trend.classes[test][called] == 2)
    assert metrics["accuracy"] == 1.0
    assert metrics["directional_accuracy"] == pytest.approx(right.mean(), abs=1e-12)
    assert metrics["directional_accuracy"] < 0.75


def test_edge_by_hand(trend: EvaluationInputs) -> None:
    test = trend.splits.test
    calls = np.arange(test.size) % 3
    metrics = evaluate(predicting(trend, 2.0 * np.eye(3)[calls])).metrics
    bp = 1e4 * trend.values.forward_return[test]
    up, down = bp[calls == 2], bp[calls == 0]
    assert metrics["edge_bp"] == pytest.approx(up.mean() - down.mean())
    assert metrics["edge_after_costs_bp"] == pytest.approx((up.sum() - down.sum()) / (up.size + down.size) - 10.0)
    moved = np.concatenate((up[up != 0] > 0, down[down != 0] < 0))
    assert metrics["directional_accuracy"] == pytest.approx(moved.mean())
    low, high = metrics["edge_bp_interval"]
    assert low < metrics["edge_bp"] < high


def test_a_model_that_never_calls_a_direction_has_no_edge_and_says_so(trend: EvaluationInputs) -> None:
    neutral = np.tile([0.0, 3.0, 0.0], (trend.splits.test.size, 1))
    evaluation = evaluate(predicting(trend, neutral))
    for name in ("directional_accuracy", "edge_bp", "edge_after_costs_bp"):
        assert evaluation.metrics[name] is None
        assert evaluation.metrics[f"{name}_interval"] is None
    assert NO_EDGE in verdict_words(evaluation)
    assert not {r.name: r.passed for r in _gates(evaluation)}["edge_after_costs"]


def test_logits_that_are_not_finite_leave_the_model_unmeasured_and_the_rules_measured(trend: EvaluationInputs) -> None:
    broken = driftless_logits(trend)
    broken[3, 0] = np.nan
    evaluation = evaluate(replace(trend, logits=broken))
    assert set(evaluation.metrics) >= SUMMARY_KEYS
    assert evaluation.metrics["accuracy"] is None
    assert evaluation.metrics["driftless_rule_nll"] > 0
    assert evaluation.classification is None
    json.dumps(evaluation.metrics, allow_nan=False)
    assert verdict_words(evaluation) == (NO_DIRECTION, NO_EDGE)
    passed = {r.name for r in _gates(evaluation) if r.passed}
    assert passed == {"scaler_present", "feature_normalisation"}


def test_shuffled_predictions_fall_below_every_rule(trend: EvaluationInputs) -> None:
    """The leak canary of the evaluation itself: with the rows shuffled, nothing is left of a good model."""
    logits = driftless_logits(trend)
    shuffled = logits[np.random.default_rng(0).permutation(len(logits))]
    metrics = evaluate(predicting(trend, shuffled)).metrics
    assert metrics["accuracy"] == pytest.approx(1 / 3, abs=0.05)
    assert metrics["nll_improvement"] < -0.3
    assert metrics["directional_accuracy"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("kind", ["forward_return", "triple_barrier"])
def test_labels_without_a_known_part_have_rules_too(kind: Any) -> None:
    inputs = inputs_of(market(40_000, seed=3), LabelSection(kind=kind))
    metrics = evaluate(inputs).metrics
    assert metrics["nll"] == pytest.approx(np.log(3))
    assert metrics["mechanical_rule_accuracy"] < 0.55
    assert metrics["driftless_rule_nll"] < np.log(3)


def test_volatility_scaled_thresholds_are_known_to_the_rules() -> None:
    """With NEUTRAL scaled by volatility, the same unit is used by the mechanical rule, so volatility gains less."""
    candles = market(40_000, seed=4)
    gains = {}
    for threshold in ("quantile", "volatility_scaled"):
        inputs = inputs_of(candles, LabelSection(threshold=threshold))  # type: ignore[arg-type]
        metrics = evaluate(inputs).metrics
        gains[threshold] = metrics["mechanical_rule_nll"] - metrics["driftless_rule_nll"]
    assert 0 < gains["volatility_scaled"] < gains["quantile"] / 2


def test_too_few_test_rows_leave_intervals_unmeasured_and_the_gate_failed() -> None:
    inputs = inputs_of(market(30_000, seed=5), LabelSection())  # 4,400 test rows, 18 blocks
    evaluation = evaluate(predicting(inputs, driftless_logits(inputs)))
    assert evaluation.metrics["nll_improvement"] > 0
    assert evaluation.metrics["nll_improvement_interval"] is None
    assert evaluation.metrics["effective_rows"] is None
    gate = next(r for r in _gates(evaluation) if r.name == "beats_mechanical_rule")
    assert gate.blocks
    assert gate.note.startswith("not measured")


def test_block_length_grows_with_the_test_part() -> None:
    assert block_bars(99_999, SECTION) == 240
    assert block_bars(100_000, SECTION) == 1_440


def test_champion_is_compared_pair_by_pair(trend: EvaluationInputs) -> None:
    test = trend.splits.test
    classes, mine = trend.classes[test], driftless_logits(trend)
    weak = mine * 0.3
    comparison = compare_with_champion(mine, weak, classes, section=SECTION)
    assert comparison.note == f"on {test.size:,} test rows after the validation ends of both"
    assert comparison.difference is not None
    assert comparison.difference > 0
    assert comparison.interval is not None
    assert comparison.interval.low > 0
    same = comparison.same_rows
    assert same is not None
    assert same.rows == test.size
    assert same.champion_accuracy == pytest.approx((weak.argmax(axis=1) == classes).mean())
    assert same.candidate_accuracy == pytest.approx((mine.argmax(axis=1) == classes).mean())
    assert same.champion_nll - same.candidate_nll == pytest.approx(comparison.difference)
    assert comparison.to_json() == {
        "nll_difference": comparison.difference,
        "nll_difference_interval": [comparison.interval.low, comparison.interval.high],
        "rows": test.size,
        "champion_accuracy": same.champion_accuracy,
        "champion_nll": same.champion_nll,
        "candidate_accuracy": same.candidate_accuracy,
        "candidate_nll": same.candidate_nll,
        "note": comparison.note,
    }


def test_champion_that_cannot_be_compared_is_not_measured(trend: EvaluationInputs) -> None:
    classes, mine = trend.classes[trend.splits.test], driftless_logits(trend)
    itself = compare_with_champion(mine, mine, classes, section=SECTION)
    assert (itself.difference, itself.interval.low, itself.interval.high) == (0.0, 0.0, 0.0)  # type: ignore[union-attr]
    late = compare_with_champion(mine[:0], mine[:0], classes[:0], section=SECTION)
    assert (late.difference, late.interval, late.same_rows) == (None, None, None)
    assert late.note.startswith("on 0 test rows")
    assert late.to_json() == dict.fromkeys(itself.to_json()) | {"note": late.note}
    few = compare_with_champion(mine[:7_000], mine[:7_000] * 0.3, classes[:7_000], section=SECTION)
    assert few.difference is not None
    assert few.interval is None
    assert few.note.endswith("too few: an interval needs 30 blocks of 240")
    broken = compare_with_champion(mine, np.full_like(mine, np.nan), classes, section=SECTION)
    assert broken.difference is None
    assert broken.note.endswith("where one of them emits logits that are not finite")


def test_without_labels_only_what_the_answers_say_themselves_is_measured(trend: EvaluationInputs) -> None:
    model = predicting(trend, driftless_logits(trend))
    labelled, bare = evaluate(model), evaluate_without_labels(model.logits, model.probabilities)
    assert set(bare.metrics) == set(labelled.metrics)
    measured = {name for name, value in bare.metrics.items() if value is not None}
    assert measured == {
        "mean_confidence",
        "share_over_90",
        "share_over_99",
        "share_50_90",
        "max_abs_logit",
        "class_shares",
    }
    assert {name: bare.metrics[name] for name in measured} == {name: labelled.metrics[name] for name in measured}
    failed = {gate.name for gate in _gates(bare) if gate.value is None}
    assert failed >= {"accuracy", "calibration_error", "beats_mechanical_rule"}
    assert {"logit_range", "overconfidence", "class_balance", "finite"}.isdisjoint(failed)
    nothing = evaluate_without_labels(model.logits[:0], model.probabilities[:0])
    assert set(nothing.metrics.values()) == {None}


def test_predictions_of_other_rows_are_refused(trend: EvaluationInputs) -> None:
    with pytest.raises(ValueError, match="one row a test row"):
        evaluate(replace(trend, logits=trend.logits[1:]))


def test_evaluation_is_the_same_twice(trend: EvaluationInputs) -> None:
    model = predicting(trend, knowing(trend, 0.2))
    assert evaluate(model).metrics == evaluate(model).metrics


def _gates(evaluation: Any) -> Any:
    ones = np.ones(3)
    return judge(
        measurements_of(
            evaluation,
            scaler_mean=np.zeros(3),
            scaler_scale=ones,
            train_moments=(np.zeros(3), ones),
            validation_moments=(np.zeros(3), ones),
            num_non_finite={"features": 0, "weights": 0},
            drift=None,
            champion=None,
        ),
        GatesSection(),
    )
