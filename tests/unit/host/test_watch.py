"""The limits of a watch: each with the last figure that it allows and the first that it does not."""

from dataclasses import replace
from typing import Any

import pytest

from models_lib.config.targets import WatchSection
from models_lib.host.watch import Answers, answers_of, breach
from models_lib.runtime.health import Latency, SymbolHealth

GOOD = Answers(
    predictions=1_000,
    over_99=0,
    classes={"DOWN": 300, "NEUTRAL": 400, "UP": 300},
    non_finite=0,
    errors=0,
    latency_ms=5.0,
    bar_age_seconds=30.0,
)
LIMITS = WatchSection(class_share_low=0.1)


def shares(down: int, neutral: int, up: int) -> dict[str, Any]:
    return {"predictions": down + neutral + up, "classes": {"DOWN": down, "NEUTRAL": neutral, "UP": up}}


@pytest.mark.parametrize(
    "figures",
    [
        {},
        {"over_99": 2, "predictions": 5},  # two such minutes of five prove nothing
        {"over_99": 3, "predictions": 10},  # exactly 30 %
        {"latency_ms": 1_000.0},
        {"latency_ms": None},
        {"bar_age_seconds": 300.0},
        {"bar_age_seconds": None},
        shares(719, 0, 0),  # fewer than class_shares_from
        shares(95, 0, 5),
        shares(100, 100, 800),  # exactly 10 %
        {"predictions": 0, "classes": {}},
    ],
)
def test_figures_within_their_limits_are_no_breach(figures: dict[str, Any]) -> None:
    assert breach(replace(GOOD, **figures), LIMITS) is None


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"non_finite": 1}, "1 answers are not finite (at most 0 allowed)"),
        ({"errors": 1}, "1 bars ended in an error (at most 0 allowed)"),
        ({"over_99": 3, "predictions": 9}, "33.3% of 9 answers are above 99 % confidence (at most 30% allowed)"),
        ({"over_99": 3, "predictions": 3}, "100.0% of 3 answers are above 99 % confidence (at most 30% allowed)"),
        ({"latency_ms": 1_000.6}, "a bar takes 1001 ms (at most 1000 ms allowed)"),
        ({"bar_age_seconds": 300.6}, "the newest bar is 301 s old (at most 300 s allowed)"),
        (shares(720, 0, 0), "DOWN is 100.0% of 720 answers (10% to 95% allowed)"),
        (shares(960, 20, 20), "DOWN is 96.0% of 1000 answers (10% to 95% allowed)"),
        (shares(99, 101, 800), "DOWN is 9.9% of 1000 answers (10% to 95% allowed)"),
    ],
)
def test_figures_beyond_a_limit_are_told_with_it(figures: dict[str, Any], told: str) -> None:
    assert breach(replace(GOOD, **figures), LIMITS) == told


@pytest.mark.parametrize(
    ("limits", "figures"),
    [
        ({"max_non_finite": 2}, {"non_finite": 2}),
        ({"max_errors": 2}, {"errors": 2}),
        ({"max_share_over_99": 1.0}, {"over_99": 1_000}),
        ({"max_latency_ms": 5.0}, {}),
        ({"max_bar_age_seconds": 30.0}, {}),
        ({"class_share_high": 1.0, "class_share_low": 0.0}, shares(1_000, 0, 0)),
        ({"class_shares_from": 1_001}, shares(1_000, 0, 0)),
    ],
)
def test_limits_are_those_of_the_configuration(limits: dict[str, Any], figures: dict[str, Any]) -> None:
    assert breach(replace(GOOD, **figures), WatchSection(**limits)) is None


def health(**figures: Any) -> SymbolHealth:
    given = {
        "bundle": None,
        "shadow": None,
        "last_bar_at": None,
        "bar_age_seconds": 400.0,
        "bars": 9,
        "predictions": 7,
        "signals": 0,
        "refusals": {"warming_up": 2, "error": 1},
        "last_refusal": None,
        "classes": {"DOWN": 3, "NEUTRAL": 0, "UP": 4},
        "over_99": 1,
        "non_finite": 2,
        "errors": 3,
        "last_error": None,
        "filled_minutes": 0,
        "latency_ms": Latency(median=2.0, p99=8.0),
        "live": None,
        "shadow_difference": None,
    }
    return SymbolHealth.model_validate(given | figures)


def test_answers_are_those_that_the_runtime_reports() -> None:
    classes = {"DOWN": 3, "NEUTRAL": 0, "UP": 4}
    assert answers_of(health(), live=True) == Answers(7, 1, classes, 2, 1, 2.0, 400.0)


def test_fault_that_ended_no_bar_is_no_breach() -> None:
    """Such as one answer of the source with status 503, or a shadow that cannot be loaded."""
    told = {"errors": 3, "last_error": "BTC-USD: the source answers with status 503."}
    seen = health(**told, refusals={"warming_up": 2}, bar_age_seconds=30.0, non_finite=0)
    assert breach(answers_of(seen, live=True), LIMITS) is None


def test_age_of_a_bar_says_nothing_in_a_replay() -> None:
    old = answers_of(health(bar_age_seconds=1e6, non_finite=0, refusals={}), live=False)
    assert old.bar_age_seconds is None
    assert breach(old, LIMITS) is None


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        ({}, "1000 answers: DOWN 30% NEUTRAL 40% UP 30%, 0 above 99 %, 5.0 ms a bar"),
        ({**shares(0, 0, 8), "over_99": 2, "latency_ms": None}, "8 answers: UP 100%, 2 above 99 %"),
        ({**shares(0, 0, 0), "latency_ms": None}, "0 answers: none, 0 above 99 %"),
    ],
)
def test_answers_are_told_for_people(figures: dict[str, Any], sentence: str) -> None:
    assert replace(GOOD, **figures).sentence() == sentence
