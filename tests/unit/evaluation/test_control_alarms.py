"""Permuted labels, and when what a control finds is an alarm."""

from typing import Any

import numpy as np
import pytest

from models_lib.config import ControlName
from models_lib.evaluation.controls import COIN, ControlAlarm, control_alarm, control_seed, permuted_classes

TRAIN, VALIDATION, TEST = np.arange(0, 600), np.arange(620, 780), np.arange(800, 1_000)


def classes() -> np.ndarray:
    """Other shares in each part, and rows of no part."""
    return np.concatenate((np.arange(600) % 3, np.full(20, -1), np.repeat([0, 2], 80), np.full(220, 1))).astype(np.int8)


def figures(**changes: Any) -> dict[str, Any]:
    """Of a training that found nothing, beside a rule that knows much."""
    return {
        "accuracy": 0.36,
        "accuracy_interval": [0.33, 0.39],
        "majority_accuracy": 0.35,
        "mechanical_rule_accuracy": 0.75,
        "driftless_rule_accuracy": 0.76,
        "lift": -0.39,
        "lift_interval": [-0.43, -0.35],
        "nll_improvement": -0.47,
        "nll_improvement_interval": [-0.50, -0.44],
        "directional_accuracy": 0.50,
        "directional_accuracy_interval": [0.47, 0.53],
        **changes,
    }


def alarm_of(control: ControlName, metrics: dict[str, Any], *, known_part_inside: bool = True) -> ControlAlarm | None:
    return control_alarm(control, metrics, known_part_inside=known_part_inside)


def test_permutation_keeps_the_counts_of_each_part_and_everything_else():
    true = classes()
    permuted = permuted_classes(true, (TRAIN, VALIDATION), test=TEST, seed=5)
    for part in (TRAIN, VALIDATION):
        np.testing.assert_array_equal(np.bincount(permuted[part]), np.bincount(true[part]))
        assert (permuted[part] != true[part]).any()
    rest = np.setdiff1d(np.arange(true.size), np.concatenate((TRAIN, VALIDATION)))
    np.testing.assert_array_equal(permuted[rest], true[rest])
    # Of 600 rows in three equal classes a random order leaves 200 right, with a standard deviation of 11.5.
    assert abs(int((permuted[TRAIN] == true[TRAIN]).sum()) - 200) < 4 * 11.5


def test_same_seed_permutes_in_the_same_way_and_each_control_has_its_own():
    one, again, other = (permuted_classes(classes(), (TRAIN,), test=TEST, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    seeds = {control_seed(1, symbol, control) for symbol in ("A-USD", "B-USD") for control in ("shuffled", "signflip")}
    assert len(seeds) == 4


def test_test_row_among_the_training_rows_keeps_its_true_class():
    true = classes()
    leaking = np.concatenate((TRAIN, TEST))
    permuted = permuted_classes(true, (leaking, VALIDATION), test=TEST, seed=5)
    np.testing.assert_array_equal(permuted[TEST], true[TEST])
    assert (permuted[TRAIN] != true[TRAIN]).any()


@pytest.mark.parametrize("control", ["shuffled", "signflip"])
def test_control_that_found_nothing_raises_no_alarm(control):
    assert alarm_of(control, figures()) is None


@pytest.mark.parametrize("control", ["shuffled", "signflip"])
def test_figures_without_interval_raise_no_alarm(control):
    loud = {"accuracy": 0.8, "lift": 0.1, "nll_improvement": 0.3, "directional_accuracy": 0.7}
    without = dict.fromkeys((f"{name}_interval" for name in loud), None)
    assert alarm_of(control, figures(**loud, **without)) is None


def test_shuffled_alarm_begins_half_way_to_the_rule():
    # Majority 35 %, rule 75 %: half of the way is 55 %.
    assert alarm_of("shuffled", figures(accuracy=0.57, accuracy_interval=[0.549, 0.59])) is None
    alarm = alarm_of("shuffled", figures(accuracy=0.57, accuracy_interval=[0.551, 0.59]))
    assert alarm is not None
    assert (alarm.name, alarm.value, alarm.limit) == ("accuracy", 0.551, pytest.approx(0.55))
    assert "test rows among the training" in alarm.words
    assert "57.0 %" in alarm.words
    assert "rule 75.0 %" in alarm.words


def test_shuffled_alarm_names_only_causes_that_it_can_see():
    """Labels of the rows beside a boundary are permuted like all others: too short a purge cannot show in them."""
    alarm = alarm_of("shuffled", figures(accuracy=0.57, accuracy_interval=[0.56, 0.59]))
    assert alarm is not None
    assert "purge" not in alarm.words
    assert "embargo" not in alarm.words


def test_shuffled_alarm_of_a_label_without_known_part_needs_better_probabilities_too():
    """Calls of a rule of nothing were right 5 points more often than the rule's on honest candles; its NLL was worse."""
    short = {"majority_accuracy": 0.35, "mechanical_rule_accuracy": 0.34}
    lifted = {"lift": 0.054, "lift_interval": [0.023, 0.084]}
    assert (
        alarm_of(
            "shuffled", figures(**short, **lifted, nll_improvement_interval=[-0.013, 0.003]), known_part_inside=False
        )
        is None
    )
    alarm = alarm_of(
        "shuffled", figures(**short, **lifted, nll_improvement_interval=[0.001, 0.01]), known_part_inside=False
    )
    assert alarm is not None
    assert (alarm.name, alarm.limit) == ("lift", 0.0)


def test_signflip_alarm_is_about_direction_and_not_about_the_lift_that_volatility_gives():
    assert alarm_of("signflip", figures(lift=0.04, lift_interval=[0.014, 0.068])) is None
    assert alarm_of("signflip", figures(directional_accuracy_interval=[0.5, 0.53])) is None
    told = figures(directional_accuracy=0.56, directional_accuracy_interval=[0.52, 0.60])
    alarm = alarm_of("signflip", told)
    assert alarm is not None
    assert (alarm.name, alarm.value, alarm.limit) == ("directional_accuracy", 0.52, COIN)
    assert "reads bars after its row" in alarm.words
    assert "once in 40" in alarm.words


def test_signflip_alarm_is_about_more_than_the_known_part_and_volatility_say():
    assert alarm_of("signflip", figures(accuracy=0.78, accuracy_interval=[0.758, 0.80])) is None
    alarm = alarm_of("signflip", figures(accuracy=0.79, accuracy_interval=[0.762, 0.82]))
    assert alarm is not None
    assert (alarm.name, alarm.value, alarm.limit) == ("accuracy", 0.762, 0.76)
    assert "reads bars after its row" in alarm.words


def test_signflip_accuracy_of_a_label_without_known_part_is_no_alarm():
    """On an honest `forward_return` a network read volatility better than the driftless rule: 40.5 % beside 38.0 %."""
    short = {"majority_accuracy": 0.33, "mechanical_rule_accuracy": 0.37, "driftless_rule_accuracy": 0.380}
    assert (
        alarm_of("signflip", figures(**short, accuracy=0.405, accuracy_interval=[0.381, 0.43]), known_part_inside=False)
        is None
    )


@pytest.mark.parametrize(("majority", "rule"), [(0.267, 0.430), (0.228, 0.527)])
def test_class_shares_that_moved_are_no_alarm_of_shuffled(majority, rule):
    """On honest `forward_return` markets the majority of the training rows was rare in the test rows.

    Of 41 simulated markets of 50 days the widest gap is the second one, 30 points: as wide as what a known part makes, so
    that only the label can tell whether it has one.
    """
    moved = {"majority_accuracy": majority, "mechanical_rule_accuracy": rule}
    calls = {"accuracy": 0.412, "accuracy_interval": [0.380, 0.45]}
    assert alarm_of("shuffled", figures(**moved, **calls), known_part_inside=False) is None


def test_trend_whose_rule_knows_little_is_judged_like_a_label_without_known_part():
    """Half of a short way is passed by class shares alone."""
    moved = {"majority_accuracy": 0.267, "mechanical_rule_accuracy": 0.430}
    assert alarm_of("shuffled", figures(**moved, accuracy=0.412, accuracy_interval=[0.375, 0.45])) is None
