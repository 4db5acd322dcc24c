"""A law over the kept steps: whatever setting a step reads is part of its key, so a stale result never passes for a fresh one.

The steps really run, on a configuration that writes down which of its fields are read. The key is the hash of
`made_from`, which lies in result.json; a field that is read and does not stand there is a fault.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models_lib.backends import LocalBackend
from models_lib.config import RunConfig, Section, load_config
from models_lib.config.identity import WHERE_NOT_WHAT
from models_lib.files import write_text
from models_lib.registry import open_registry
from models_lib.steps import once
from models_lib.steps.finished import done_once
from models_lib.steps.plan import RunPlan, plan_run
from models_lib.steps.refs import FileRef, Fitted, Prepared, ScalerRef
from models_lib.steps.shared_results import NotShared
from tasks.adapters.sources import open_source
from tests.markets import QUICK

NOBODY_ELSE = NotShared()

NOT_IN_KEY = {
    ("candles", "data.path"): "the content of the symbol's file is in the key, wherever it lies",
    ("candidate", "data.path"): "the candles' hash is in the key",
    ("judgement", "data.path"): "the candles' hash is in the key",
    **{("training", f"training.{name}"): "says where, not what" for name in WHERE_NOT_WHAT},
    **{("candidate", f"training.{name}"): "says where, not what" for name in WHERE_NOT_WHAT},
    **{("control-signflip", f"training.{name}"): "says where, not what" for name in WHERE_NOT_WHAT},
}
ALONE = {("judgement", "training"): "gate_stop_epochs"}
"""Sections of which a step's key holds the value of one field only."""
WHOLE = {
    ("training", "network"): "goes to the training process",
    ("training", "training"): "goes to the training process",
    ("training", "gates"): "goes to the training process",
    ("control-signflip", "network"): "goes to the training process",
    ("control-signflip", "training"): "goes to the training process",
    ("control-signflip", "gates"): "goes to the training process",
    ("candidate", "label"): "is written into the manifest",
    ("candidate", "splits"): "is written into the manifest",
    ("candidate", "network"): "is written into the manifest",
    ("candidate", "training"): "is written into the manifest",
}
"""Sections that leave a step as a whole, so that nobody sees which fields are read."""


def recording(section: Section, read: set[str], prefix: str = "") -> Any:
    """The same section, of a class that adds the dotted name of each field that is read to `read`."""
    own = type(section)

    def get(self: Any, name: str) -> Any:
        if name in own.model_fields:
            read.add(prefix + name)
        return object.__getattribute__(self, name)

    parts = {name: getattr(section, name) for name in own.model_fields}
    inner = {
        name: recording(part, read, f"{prefix}{name}.") if isinstance(part, Section) else part
        for name, part in parts.items()
    }
    return type(own.__name__, (own,), {"__getattribute__": get, "__module__": own.__module__}).model_construct(**inner)


@dataclass(frozen=True)
class Seen:
    """What a step read, and what its key is made from."""

    step: str
    read: frozenset[str]
    made_from: dict[str, Any]

    def missing(self) -> set[str]:
        """Fields that were read and that the key does not know."""
        leaves = {name for name in self.read if not any(other.startswith(f"{name}.") for other in self.read)}
        return {name for name in leaves | self.handed_on() if not self.knows(name)}

    def handed_on(self) -> set[str]:
        """Every field of the sections that left as a whole."""
        sections = [section for step, section in WHOLE if step == self.step]
        return {f"{name}.{field}" for name in sections for field in type(getattr(RunConfig(), name)).model_fields}

    def knows(self, name: str) -> bool:
        section, _, field = name.partition(".")
        if (self.step, name) in NOT_IN_KEY or field == ALONE.get((self.step, section)):
            return True
        known: Any = self.made_from.get(section)
        if (self.step, section) in ALONE:
            return not field  # the section was asked for this one field
        for part in filter(None, field.split(".")):
            if not isinstance(known, dict) or part not in known:
                return False
            known = known[part]
        return section in self.made_from


class Watched:
    """A plan whose configuration writes down what is read, step by step."""

    def __init__(self, home: Path) -> None:
        config = load_config(None, ("data.days=14", *QUICK, "training.max_epochs=1"))
        now = datetime(2026, 1, 15, 2, tzinfo=UTC)
        plan = plan_run(config, home=home, symbols=("BTC-USD",), who="test", now=now)
        self._read: set[str] = set()
        self.plan: RunPlan = plan.model_copy(update={"config": recording(config, self._read)})

    def seen(self, step: str) -> Seen:
        """What was read since the last step, held against the key of this one."""
        (result,) = self.plan.home.glob(f"cache/steps/BTC-USD/{step}-*/result.json")
        read = frozenset(self._read)
        self._read.clear()
        return Seen(step, read, json.loads(result.read_text())["made_from"])


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Seen]]:
    """Each step of once.py, done once."""
    watched = Watched(tmp_path_factory.mktemp("home"))
    plan, seen = watched.plan, {}

    def note(step: str) -> None:
        seen[step] = watched.seen(step)

    candles = once.fetch_candles(plan, "BTC-USD", source=open_source(plan.config, home=plan.home), shared=NOBODY_ELSE)
    note("candles")
    features = once.compute_features(plan, candles, shared=NOBODY_ELSE)
    note("features")
    labels = once.label_rows(plan, candles, shared=NOBODY_ELSE)
    note("labels")
    scaler = once.fit_scaler(plan, candles, features, labels, shared=NOBODY_ELSE)
    note("scaler")
    prepared = Prepared(candles=candles, features=features, labels=labels, scaler=scaler)
    trained = once.train_model(plan, prepared, backend=LocalBackend(), shared=NOBODY_ELSE)
    note("training")
    temperature = once.tune_temperature(plan, prepared, trained, shared=NOBODY_ELSE)
    note("temperature")
    fitted = Fitted(trained=trained, temperature=temperature)
    candidate = once.build_candidate(plan, prepared, fitted, shared=NOBODY_ELSE)
    note("candidate")
    once.judge_candidate(plan, prepared, fitted, candidate, registry=open_registry(plan.home), shared=NOBODY_ELSE)
    note("judgement")
    once.judge_control(plan, prepared, "signflip", config=plan.config, backend=LocalBackend(), shared=NOBODY_ELSE)
    note("control-signflip")
    yield seen
    shutil.rmtree(plan.home)


def test_every_step_that_is_kept_is_watched(steps: dict[str, Seen]) -> None:
    kept = {name for name, value in vars(once).items() if getattr(value, "__module__", "") == once.__name__}
    assert len(steps) == len([name for name in kept if not name.startswith("_")])


@pytest.mark.parametrize(
    "step",
    [
        "candles",
        "features",
        "labels",
        "scaler",
        "training",
        "temperature",
        "candidate",
        "judgement",
        "control-signflip",
    ],
)
def test_key_knows_every_setting_that_its_step_reads(steps: dict[str, Seen], step: str) -> None:
    assert steps[step].missing() == set()


def test_recorder_sees_what_steps_read(steps: dict[str, Seen]) -> None:
    assert {"data.market", "data.seed", "data.days", "data.max_missing_share"} <= steps["candles"].read
    assert {"label.kind", "label.horizon_minutes", "splits.train_share"} <= steps["labels"].read
    assert {"gates.accuracy.limit", "evaluation.costs_bp", "label.kind"} <= steps["judgement"].read
    assert {"temperature.sweep", "gates.calibration_error.limit"} <= steps["temperature"].read


def test_law_finds_a_step_whose_key_forgets_a_setting(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    config = watched.plan.config

    def work(folder: Path) -> ScalerRef:
        write_text(folder / "scaler", f"{config.label.horizon_minutes} {config.gates.accuracy.limit}")
        return ScalerRef(scaler=FileRef.of(folder / "scaler"))

    done_once(watched.plan, "BTC-USD", "forgets", ScalerRef, work, shared=NOBODY_ELSE, label=config.label)
    assert watched.seen("forgets").missing() == {"gates.accuracy.limit"}


def test_judgement_without_a_champion_that_could_not_be_read_does_not_outlive_its_repair(
    steps: dict[str, Seen], tmp_path: Path
) -> None:
    """Its files were damaged and are restored: the next run holds the candidate against it."""
    from models_lib.steps.judge import champion_is_whole
    from tests.judged import judged

    champion = judged("A", tmp_path / "a")
    open_registry(tmp_path).store.put(tmp_path / "a")
    model = tmp_path / "store" / "bundles" / champion / "model.safetensors"
    whole = model.read_bytes()
    assert champion_is_whole(open_registry(tmp_path), None)
    assert champion_is_whole(open_registry(tmp_path), champion)
    model.write_bytes(whole[:-1])
    assert not champion_is_whole(open_registry(tmp_path), champion)
    assert "champion_is_whole" in steps["judgement"].made_from
