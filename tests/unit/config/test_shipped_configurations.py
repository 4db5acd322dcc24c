"""The configurations that are shipped: each loads, and the original recipes hold the numbers of the networks' table."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from models_lib.config import RunConfig, Section, load_config

CONFIGS = Path(__file__).parents[3] / "configs"
SHIPPED = sorted(CONFIGS.glob("*.yaml"))

# The table of the mission's specification, section 6: dropout, temperature, focal loss, optimiser, batch, epochs, patience.
FOCAL = {"loss": "focal", "focal_alpha": 0.25, "focal_gamma": 2.0, "class_weights": "none"}
ADAMW = {"optimizer": "adamw", "learning_rate": 1e-3, "schedule": "cosine"}
TABLE: dict[str, dict[str, dict[str, Any]]] = {
    "v7_original": {
        "network": {"family": "v7", "dropout": 0.3, "initial_temperature": 2.5, "input_clip_std": None},
        "training": {**FOCAL, **ADAMW, "label_smoothing": 0.05, "batch_size": 64, "max_epochs": 30, "patience": 5},
    },
    "v8_original": {
        "network": {"family": "v8", "dropout": 0.3, "initial_temperature": 2.5, "input_clip_std": None},
        "training": {**FOCAL, **ADAMW, "label_smoothing": 0.1, "batch_size": 256, "max_epochs": 100, "patience": 5},
    },
}
# What the table does not have: our own additions must be off.
NOT_IN_THE_TABLE = {"weight_average_decay": 0.0, "gradient_clip_norm": None}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configuration_loads(path: Path) -> None:
    assert load_config(path).symbols == ("BTC-USD", "ETH-USD", "SOL-USD")


def test_default_file_spells_out_every_default() -> None:
    """Read alone, without our defaults below it: a value that the file leaves out or has otherwise would show."""
    written = yaml.safe_load((CONFIGS / "default.yaml").read_text())
    assert written == RunConfig().model_dump(mode="json")


@pytest.mark.parametrize("name", TABLE)
def test_original_recipe_is_the_table(name: str) -> None:
    config = load_config(CONFIGS / f"{name}.yaml")
    for section, wanted in TABLE[name].items():
        found = getattr(config, section).model_dump()
        assert {key: found[key] for key in wanted} == wanted
    training = config.training.model_dump()
    assert {key: training[key] for key in NOT_IN_THE_TABLE} == NOT_IN_THE_TABLE


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_no_shipped_configuration_moves_a_gate(path: Path) -> None:
    assert load_config(path).gates == RunConfig().gates


def test_forward_return_asks_for_the_return_alone() -> None:
    label = load_config(CONFIGS / "forward_return.yaml").label
    assert (label.kind, label.horizon_minutes) == ("forward_return", 15)


def test_default_gates_are_those_of_the_table() -> None:
    """The limits of the specification's section 7; a changed default is a changed requirement."""
    gates = RunConfig().gates.model_dump()
    limits = {name: gate["limit"] for name, gate in gates.items() if "limit" in gate}
    assert limits == {
        "feature_normalisation": 0.1,
        "logit_range": 15.0,
        "overconfidence": 0.10,
        "calibration_error": 0.05,
        "accuracy": 0.68,
        "beats_mechanical_rule": 0.0,
        "beats_driftless_rule": 0.0,
        "not_worse_than_champion": 0.0,
        "edge_after_costs": 0.0,
        "feature_drift": 0.25,
    }
    assert (gates["class_balance"]["low"], gates["class_balance"]["high"]) == (0.15, 0.60)
    assert (gates["confidence_band"]["low"], gates["confidence_band"]["high"]) == (0.60, 0.85)
    assert gates["beats_mechanical_rule"]["min_lift"] == -0.01
    assert gates["logit_range"]["max_clamped_share"] == 0.01
    advisory = {name for name, gate in gates.items() if gate["severity"] == "advisory"}
    assert advisory == {"beats_driftless_rule", "confidence_band", "edge_after_costs", "feature_drift"}


def test_other_defaults_are_those_that_outsiders_rely_on() -> None:
    config = RunConfig()
    assert (config.data.source, config.data.days, config.data.fill_no_trade_minutes) == ("simulated", 50, 5)
    label = config.label
    assert (label.kind, label.lookback_minutes, label.horizon_minutes) == ("trend", 60, 15)
    assert label.quantile == pytest.approx(1 / 3)
    assert (config.splits.train_share, config.splits.validation_share) == (0.70, 0.15)
    assert config.temperature.sweep == (0.3, 0.4, 0.5, 0.7, 1, 1.5, 2, 2.5, 3, 4, 5, 7, 10)
    assert (config.temperature.target_low, config.temperature.target_high) == (0.60, 0.75)
    evaluation = config.evaluation
    assert (evaluation.costs_bp, evaluation.block_bars, evaluation.long_block_bars) == (10.0, 240, 1_440)
    assert config.bundle.valid_days == 7


def sections(kind: type[Section]) -> list[type[Section]]:
    found = [kind]
    for field in kind.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found += sections(field.annotation)
    return found


@pytest.mark.parametrize("kind", dict.fromkeys(sections(RunConfig)), ids=lambda kind: kind.__name__)
def test_every_section_is_frozen_closed_and_explains_its_values(kind: type[Section]) -> None:
    assert kind.model_config["frozen"]
    assert kind.model_config["extra"] == "forbid"
    values = {name: field for name, field in kind.model_fields.items() if not _is_section(field.annotation)}
    assert [name for name, field in values.items() if not field.description and name != "severity"] == []


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)
