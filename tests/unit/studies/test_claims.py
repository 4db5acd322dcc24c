"""The claims of the market study, on runs made by hand: each is kept by an honest chain and broken by its fault."""

import math

import pytest

from models_lib.evaluation.evaluation import NO_DIRECTION, NO_EDGE
from studies.claims import MarketRun, chance_bound, claims_of

HONEST = {
    "accuracy": 0.40,
    "lift": -0.002,
    "lift_interval": [-0.01, 0.006],
    "directional_accuracy": 0.5,
    "directional_accuracy_interval": [0.48, 0.52],
    "edge_bp": 0.1,
    "edge_bp_interval": [-2.0, 2.0],
    "driftless_improvement": -0.01,
    "driftless_improvement_interval": [-0.02, -0.005],
    "best_possible_accuracy": None,
}


def honest_run(
    seed=1, symbol="BTC-USD", *, outcome="held", accuracy_passed=False, driftless=False, words=None, **metrics
):
    """A run of a chain on which nothing is wrong, but for what is given."""
    words = ((NO_EDGE,) if driftless else (NO_DIRECTION, NO_EDGE)) if words is None else words
    return MarketRun(
        seed=seed,
        symbol=symbol,
        outcome=outcome,
        reason="held by accuracy",
        words=words,
        gates=(
            {"name": "accuracy", "passed": accuracy_passed},
            {"name": "beats_driftless_rule", "passed": driftless},
        ),
        metrics=HONEST | metrics,
        best_realised_accuracy=metrics.get("best_possible_accuracy"),
        seconds=1.0,
    )


def honest_runs(count=60, **faults):
    return (
        [honest_run(seed) for seed in range(count)] if not faults else [honest_run(s, **faults) for s in range(count)]
    )


def broken(runs, market, label="trend"):
    return [claim.name for claim in claims_of(runs, market=market, label=label) if not claim.kept]


@pytest.mark.parametrize("trials", [2, 6, 20, 60, 120])
def test_chance_bound_is_the_smallest_count_that_a_binomial_sum_passes_at_99_percent(trials):
    cumulative, count = 0.0, -1
    while cumulative < 0.99:
        count += 1
        cumulative += math.comb(trials, count) * 0.025**count * 0.975 ** (trials - count)
    assert chance_bound(trials) == count


def test_chance_bound_of_60_intervals_is_5():
    # P(at most 4) = .984, P(at most 5) = .996 of Binomial(60, .025)
    assert chance_bound(60) == 5


@pytest.mark.parametrize("label", ["trend", "forward_return"])
@pytest.mark.parametrize("market", ["iid", "null"])
def test_honest_runs_break_no_claim(market, label):
    assert broken(honest_runs(), market, label) == []


@pytest.mark.parametrize(
    ("market", "metric", "interval", "claim"),
    [
        ("iid", "lift", [0.001, 0.02], "lift above 0"),
        ("null", "directional_accuracy", [0.501, 0.53], "directional accuracy above one half"),
        ("null", "edge_bp", [0.1, 3.0], "UP-DOWN return above 0"),
    ],
)
def test_one_false_alarm_more_than_chance_explains_breaks_the_claim(market, metric, interval, claim):
    alarm = {f"{metric}_interval": interval}
    at_the_bound = honest_runs(5, **alarm) + honest_runs(55)
    beyond = honest_runs(6, **alarm) + honest_runs(54)
    assert broken(at_the_bound, market) == []
    assert broken(beyond, market) == [claim]


def test_an_interval_that_touches_the_true_value_is_no_alarm():
    assert broken(honest_runs(60, edge_bp_interval=[0.0, 1.0]), "null") == []


def test_lift_may_be_honest_where_volatility_is_predictable():
    assert broken(honest_runs(60, lift_interval=[0.01, 0.02]), "null") == []


def test_a_driftless_gate_that_passes_too_often_breaks_its_claim():
    assert broken(honest_runs(5, driftless=True) + honest_runs(55), "null") == []
    assert broken(honest_runs(6, driftless=True) + honest_runs(54), "null") == ["beats_driftless_rule"]


@pytest.mark.parametrize("fault", [{"words": (NO_EDGE,)}, {"driftless": True, "words": (NO_DIRECTION,)}])
def test_words_that_do_not_follow_the_driftless_gate_break_their_claim(fault):
    assert broken([honest_run(0, **fault), *honest_runs(59)], "null") == [f'"{NO_DIRECTION}"']


@pytest.mark.parametrize("fault", [{"outcome": "promoted", "accuracy_passed": True}, {"accuracy_passed": True}])
def test_a_forward_return_model_that_accuracy_does_not_hold_breaks_the_claim(fault):
    runs = [honest_run(0, **fault), *honest_runs(59)]
    assert broken(runs, "null", "forward_return") == ["nothing is promoted"]
    assert broken(runs, "null", "trend") == []


def test_what_was_not_measured_keeps_no_claim_and_counts_in_no_bound():
    some = [honest_run(0, edge_bp_interval=None), *honest_runs(59)]
    (claim,) = [claim for claim in claims_of(some, market="null", label="trend") if claim.name.startswith("UP-DOWN")]
    assert claim.kept
    assert "of 59 intervals" in claim.found
    assert "1 not measured" in claim.found
    assert "UP-DOWN return above 0" in broken(honest_runs(3, edge_bp_interval=None, edge_bp=None), "null")


def test_planted_accuracy_is_judged_symbol_by_symbol_at_98_percent_of_the_best():
    near = [honest_run(0, "BTC-USD", accuracy=0.7351, best_possible_accuracy=0.75)]
    far = [honest_run(0, "ETH-USD", accuracy=0.7349, best_possible_accuracy=0.75)]
    assert broken([*near, *far], "planted") == ["ETH-USD: accuracy at least 98% of the best possible"]


def test_a_label_without_a_known_best_keeps_no_planted_claim():
    assert len(broken([honest_run(0)], "planted")) == 1
