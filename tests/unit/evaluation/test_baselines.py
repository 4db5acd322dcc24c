"""The rules: exhaustive search, scikit-learn and finite differences as oracles; real candles give the known numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from models_lib.candles.schema import epoch_ms
from models_lib.config import LabelSection, SplitsSection
from models_lib.evaluation.baselines import (
    _probit,
    fit_calibrated_rule,
    fit_driftless_rule,
    fit_mechanical_rule,
)
from models_lib.evaluation.volatility import volatility_inputs
from models_lib.labels import fit_threshold, label_classes, label_values, thresholds_of_rows
from models_lib.splits import split_rows
from tests.unit.evaluation.whole_array_rules import calibrated_rule, driftless_rule


def probit_world(rows: int, *, sign: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """g, one volatility input, and classes of g + s * noise with log s = -7.5 + 0.4 * input and theta = 8e-4."""
    rng = np.random.default_rng(seed)
    g, inputs = rng.normal(size=rows) * 1e-3, rng.normal(size=(rows, 1))
    value = sign * g + np.exp(-7.5 + 0.4 * inputs[:, 0]) * rng.normal(size=rows)
    classes = np.where(value > 8e-4, 2, np.where(value < -8e-4, 0, 1)).astype(np.int8)
    return g, inputs, classes


@pytest.mark.parametrize("seed", range(5))
def test_mechanical_rule_is_the_best_of_all_cuts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    g = np.round(rng.normal(size=200), 1)  # many ties
    classes = rng.integers(0, 3, 200).astype(np.int8)
    rule = fit_mechanical_rule(g, classes)
    best = np.bincount(classes, minlength=3).max() / 200
    for sign in (1, -1):
        for cut in [-1.0, *np.unique(np.abs(g))]:
            outside = np.abs(g) > cut
            called = np.where(outside, np.where(sign * g >= 0, 2, 0), 1)
            best = max(best, np.mean(called == classes))
    assert rule.train_accuracy == pytest.approx(best)
    assert np.mean(rule.predict(g) == classes) == pytest.approx(best)


def test_mechanical_rule_finds_the_side_and_the_cut() -> None:
    for sign, kind in ((1.0, "g"), (-1.0, "minus_g")):
        g, _, classes = probit_world(40_000, sign=sign)
        rule = fit_mechanical_rule(g, classes)
        assert rule.kind == kind
        assert rule.cut == pytest.approx(8e-4, rel=0.15)


def test_mechanical_rule_falls_back_to_the_majority_and_scores_it_on_other_rows() -> None:
    classes = np.array([1] * 90 + [0, 2] * 5, dtype=np.int8)
    rule = fit_mechanical_rule(np.random.default_rng(0).normal(size=100), classes)
    assert (rule.majority_class, rule.train_accuracy) == (1, pytest.approx(0.9, abs=0.02))
    certain = fit_mechanical_rule(np.zeros(3), np.array([0, 0, 0], dtype=np.int8))
    assert certain.kind == "majority"
    assert (certain.predict(np.array([5.0, -5.0])) == 0).all()


def test_calibrated_rule_agrees_with_scikit_learn() -> None:
    g, _, classes = probit_world(20_000)
    rule = fit_calibrated_rule(g, classes)
    both = np.stack((g, np.abs(g)), axis=1)
    both = (both - both.mean(axis=0)) / both.std(axis=0)
    theirs = LogisticRegression(C=1e10, tol=1e-10, max_iter=1_000).fit(both, classes)
    np.testing.assert_allclose(np.exp(rule.log_probabilities(g[:2_000])), theirs.predict_proba(both[:2_000]), atol=2e-5)


def test_driftless_rule_finds_the_planted_scale() -> None:
    g, inputs, classes = probit_world(60_000)
    rule = fit_driftless_rule(g, np.full(g.size, 8e-4), inputs, classes)
    slope = rule.weights[1] / rule.scale[0]
    constant = rule.weights[0] - slope * rule.mean[0]
    assert slope == pytest.approx(0.4, abs=0.02)
    assert constant == pytest.approx(-7.5, abs=0.02)


def test_driftless_rule_states_the_probit_probabilities() -> None:
    g, inputs, classes = probit_world(5_000)
    theta = np.full(g.size, 8e-4)
    rule = fit_driftless_rule(g, theta, inputs, classes)
    scale = np.exp(rule.weights[0] + rule.weights[1] * (inputs[:, 0] - rule.mean[0]) / rule.scale[0])
    p = np.exp(rule.log_probabilities(g, theta, inputs))
    np.testing.assert_allclose(p[:, 2], norm.cdf((g - theta) / scale), atol=1e-11)
    np.testing.assert_allclose(p[:, 0], norm.cdf((-g - theta) / scale), atol=1e-11)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-10)


def test_driftless_rule_knows_no_direction_where_the_label_does_not_hold_g() -> None:
    _, inputs, classes = probit_world(5_000)
    zeros, theta = np.zeros(5_000), np.full(5_000, 8e-4)
    log_p = fit_driftless_rule(zeros, theta, inputs, classes).log_probabilities(zeros, theta, inputs)
    np.testing.assert_allclose(log_p[:, 0], log_p[:, 2], rtol=1e-12)


def test_driftless_rule_drops_inputs_that_do_not_vary() -> None:
    g, inputs, classes = probit_world(20_000)
    theta = np.full(g.size, 8e-4)
    alone = fit_driftless_rule(g, theta, inputs, classes).log_probabilities(g, theta, inputs)
    more = np.concatenate((inputs, np.full((g.size, 2), 3.0)), axis=1)
    np.testing.assert_allclose(
        fit_driftless_rule(g, theta, more, classes).log_probabilities(g, theta, more), alone, atol=1e-6
    )


def test_probit_slopes_are_the_derivatives_far_into_both_tails() -> None:
    location = np.array([0.0, 1e-4, -1e-3, 3e-3, -2e-2, 5e-2])
    theta, log_scale = np.full(6, 8e-4), np.array([-7.0, -6.0, -8.0, -7.0, -7.5, -6.5])
    step = 1e-6
    up, down = _probit(location, theta, log_scale + step)[0], _probit(location, theta, log_scale - step)[0]
    log_p, slopes = _probit(location, theta, log_scale)
    assert np.isfinite(log_p).all()
    np.testing.assert_allclose(slopes, (up - down) / (2 * step), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("rows", [3_000, 1_024 * 5, 20_001])  # with and without a last block that is not full
@pytest.mark.parametrize("seed", range(3))
def test_rules_fitted_in_blocks_are_those_of_all_rows_at_once(rows: int, seed: int) -> None:
    """Sums of blocks round otherwise: 1e-12 is a hundred times what that does to these rows."""
    g, inputs, classes = probit_world(rows, seed=seed)
    theta = np.full(g.size, 8e-4)
    calibrated, whole = fit_calibrated_rule(g, classes), calibrated_rule(g, classes)
    np.testing.assert_allclose(calibrated.log_probabilities(g), whole.log_probabilities(g), rtol=0.0, atol=1e-12)
    driftless, at_once = fit_driftless_rule(g, theta, inputs, classes), driftless_rule(g, theta, inputs, classes)
    np.testing.assert_allclose(
        driftless.log_probabilities(g, theta, inputs), at_once.log_probabilities(g, theta, inputs), rtol=0.0, atol=1e-12
    )


def test_no_row_costs_more_than_the_floor() -> None:
    g, inputs, classes = probit_world(5_000)
    rule = fit_driftless_rule(g, np.full(g.size, 8e-4), inputs, classes)
    wild = rule.log_probabilities(np.array([9.0, -9.0, 0.0]), np.full(3, 8e-4), np.array([[0.0], [0.0], [400.0]]))
    assert np.isfinite(wild).all()
    assert wild.min() >= np.log(1e-12)


def test_volatility_inputs_are_causal_finite_and_start_anew_after_a_hole() -> None:
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, 3_000)))
    minutes = np.arange(3_000)
    minutes[1_000:] += 77
    frame = pd.DataFrame(
        {
            "timestamp": pd.to_datetime(1_746_403_200_000 + 60_000 * minutes, unit="ms", utc=True).astype(
                "datetime64[ms, UTC]"
            ),
            "open": close,
            "high": close * 1.001,
            "low": close * 0.999,
            "close": close,
            "volume": 1.0,
        }
    )
    inputs = volatility_inputs(frame)
    assert np.isfinite(inputs).all()
    np.testing.assert_allclose(inputs[1_000:], volatility_inputs(frame.iloc[1_000:].reset_index(drop=True)), atol=1e-12)
    changed = frame.copy()
    changed.loc[2_000:, ["open", "high", "low", "close"]] *= 1.5
    np.testing.assert_array_equal(volatility_inputs(changed)[:2_000], inputs[:2_000])
    returns = np.diff(np.log(close))
    assert inputs[2_500, 2] == pytest.approx(0.5 * np.log((returns[2_470:2_500] ** 2).mean()), rel=1e-10)  # 30 bars
    assert inputs[2_500, 6] == pytest.approx(np.log(np.log(1.001 / 0.999) / np.sqrt(4 * np.log(2))), rel=1e-10)


@pytest.mark.candles
@pytest.mark.parametrize(
    ("symbol", "driftless", "calibrated", "mechanical"),
    [("BTC-USD", 0.585, 0.622, 0.736), ("ETH-USD", 0.600, 0.633, 0.731), ("SOL-USD", 0.606, 0.627, 0.725)],
)
def test_rules_reach_their_known_figures_on_real_candles(
    real_candles: Path, symbol: str, driftless: float, calibrated: float, mechanical: float
) -> None:
    """trend(60, 15), 50 days, 70/15/15: figures of an independent study of the same candles, test part."""
    frame = pd.read_parquet(real_candles / "perp-50d" / f"{symbol}.parquet")
    label = LabelSection()
    values = label_values(frame, label)
    usable = np.isfinite(values.value) & np.isfinite(values.known_part) & (np.arange(len(frame)) >= 1_500)
    splits = split_rows(epoch_ms(frame), usable, SplitsSection(), span_minutes=15, embargo_minutes=60, symbol=symbol)
    train, test, g = splits.train, splits.test, values.known_part
    threshold = fit_threshold(values, label, train)
    classes, theta = label_classes(values, label, threshold), thresholds_of_rows(values, label, threshold)
    inputs, rows = volatility_inputs(frame), np.arange(test.size)
    rule = fit_driftless_rule(g[train], theta[train], inputs[train], classes[train])
    assert -rule.log_probabilities(g[test], theta[test], inputs[test])[rows, classes[test]].mean() == pytest.approx(
        driftless, abs=0.0015
    )
    plain = fit_calibrated_rule(g[train], classes[train])
    assert -plain.log_probabilities(g[test])[rows, classes[test]].mean() == pytest.approx(calibrated, abs=0.0015)
    simple = fit_mechanical_rule(g[train], classes[train])
    assert np.mean(simple.predict(g[test]) == classes[test]) == pytest.approx(mechanical, abs=0.003)
