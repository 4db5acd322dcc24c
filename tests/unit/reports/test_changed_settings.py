"""What is pointed out: every gate and every way of measuring that differs from the shipped one, and nothing else."""

import pytest

from models_lib.config import EvaluationSection, GatesSection, load_config
from models_lib.reports.changed_settings import changed_settings, changes_of_gate

SEED = "bootstrap_seed"


def told(*settings: str) -> list[str]:
    config = load_config(None, settings)
    return [str(change) for change in changed_settings(config.gates, config.evaluation)]


def test_shipped_configuration_changes_nothing():
    assert told() == []


@pytest.mark.parametrize("name", sorted(set(EvaluationSection.model_fields) - {SEED, "controls"}))
def test_every_way_of_measuring_is_pointed_out(name):
    shipped = getattr(EvaluationSection(), name)
    assert told(f"evaluation.{name}={shipped + 1}") == [f"evaluation.{name} {shipped + 1:g}, shipped {shipped:g}"]


def test_another_seed_is_not_pointed_out():
    assert told(f"evaluation.{SEED}=99") == []


def test_controls_beside_a_model_are_not_pointed_out():
    assert told("evaluation.controls=[shuffled, signflip]") == []


@pytest.mark.parametrize("gate", sorted(GatesSection.model_fields))
def test_every_gate_that_was_made_advisory_or_blocking_is_pointed_out(gate):
    shipped = getattr(GatesSection(), gate).severity
    other = {"blocking": "advisory", "advisory": "blocking"}[shipped]
    assert told(f"gates.{gate}.severity={other}") == [f"gates.{gate}.severity {other}, shipped {shipped}"]


def test_two_limits_that_differ_in_the_last_digit_are_told_apart():
    assert told("gates.accuracy.limit=0.6799999") == ["gates.accuracy.limit 0.6799999, shipped 0.68"]


def test_result_without_a_gate_of_its_own_has_no_changes():
    assert changes_of_gate("epoch_gates", GatesSection()) == ()
