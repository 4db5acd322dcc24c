"""The study of false alarms: honest markets raise none here, and it would say so if they did."""

from collections import Counter

import pytest

from models_lib.config import load_config
from studies.control_alarms import honest_controls, more_than_chance
from tests.markets import QUICK


@pytest.mark.long
@pytest.mark.parametrize("label", ["trend", "forward_return"])
def test_honest_markets_raise_no_alarm(label: str) -> None:
    """Three seeds and one interval of 2.5 % for each: 0.075 false alarms were to be expected, and these seeds have none."""
    config = load_config(None, ("data.days=14", *QUICK, f"label.kind={label}"))
    found = [(seed, control) for seed, control in honest_controls(config, (1, 2, 3))]
    assert [(seed, control.name) for seed, control in found if control.alarm] == []
    assert all(control.metrics and control.metrics["lift_interval"] for _, control in found)


def test_study_fails_when_there_are_more_alarms_than_chance_allows() -> None:
    trained = Counter(shuffled=20, signflip=20)
    # Of 20 at 2.5 % each: at most 2 with a probability of 0.985, at most 3 with 0.9987.
    assert more_than_chance(Counter(signflip=3), trained) == []
    assert more_than_chance(Counter(signflip=4), trained) == ["signflip"]
    assert more_than_chance(Counter(shuffled=1), trained) == ["shuffled"]
