"""The goals of speed and how they are judged, on figures made by hand."""

import pytest

from tests.benchmarks.__main__ import BENCHMARKS
from tests.benchmarks.goals import GOALS, Goal, judged

FASTER = Goal("ours", ("features", "ratios", "pandas / ours"), "at least", 15.0, "x", "why")
SHORT = Goal("whole", ("run", "wall_seconds"), "at most", 300.0, "s", "why")


@pytest.mark.parametrize(
    ("goal", "measured", "reached"),
    [
        (FASTER, {"features": {"ratios": {"pandas / ours": 15.0}}}, True),
        (FASTER, {"features": {"ratios": {"pandas / ours": 14.99}}}, False),
        (SHORT, {"run": {"wall_seconds": 300.0}}, True),
        (SHORT, {"run": {"wall_seconds": 300.01}}, False),
    ],
)
def test_goal_is_reached_up_to_its_limit(goal, measured, reached):
    (one,) = judged(measured, (goal,))
    assert one.reached is reached
    assert one.told().startswith("reached" if reached else "MISSED")
    assert one.as_json()["reached"] is reached


@pytest.mark.parametrize("features", [{}, {"ratios": {}}, {"ratios": 3.0}])
def test_what_was_not_measured_is_missed_and_said(features):
    (one,) = judged({"features": features}, (FASTER,))
    assert not one.reached
    assert one.told() == "MISSED   ours: not measured (goal: at least 15.00x; why)"
    assert one.as_json()["measured"] is None


def test_goal_of_a_benchmark_that_did_not_run_is_left_out():
    assert [one.goal for one in judged({"run": {"wall_seconds": 1.0}}, (FASTER, SHORT))] == [SHORT]


def test_every_goal_is_of_a_benchmark_and_says_where_it_comes_from():
    assert {goal.figure[0] for goal in GOALS} == {*BENCHMARKS}
    assert len({goal.name for goal in GOALS}) == len(GOALS)
    assert all(goal.source for goal in GOALS)
