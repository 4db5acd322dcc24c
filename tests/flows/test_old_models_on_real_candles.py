"""The old models on 50 days of real candles, from file to repaired bundle: what is wrong, what is mended, what cannot be.

V6          raw inputs, Adam 1e-3, batch 32, 15 epochs, no scaler: it learned something, and shouts
V7          raw inputs, BatchNorm, focal loss, 15 epochs, no scaler: it whispers
V6-lost     learned on scaled inputs, and the scaler was not saved: raw prices give logits of thousands
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.cli import main
from models_lib.bundle import load_bundle
from models_lib.config import LabelSection, SplitsSection
from models_lib.features import RAW72, compute_features
from models_lib.legacy import LegacyPredictor, read_legacy
from models_lib.steps.labels import LabelledFrame, label_frame
from tests.diagnosed import check_figures, known
from tests.legacy import train_old, write_v6, write_v7

pytestmark = [pytest.mark.long, pytest.mark.candles, pytest.mark.timeout(900), pytest.mark.xdist_group("old models")]

Heard = pytest.CaptureFixture[str]
SYMBOL = "BTC-USD"
KINDS = ("V6", "V7", "V6-lost")


@dataclass(frozen=True, eq=False)
class Old:
    """Real candles and three old files of them."""

    candles: Path
    frame: pd.DataFrame
    labelled: LabelledFrame
    matrix: np.ndarray
    files: dict[str, Path]


@pytest.fixture(scope="module")
def old(real_candles: Path, tmp_path_factory: pytest.TempPathFactory) -> Old:
    candles, folder = real_candles / "perp-50d", tmp_path_factory.mktemp("old")
    frame = pd.read_parquet(candles / f"{SYMBOL}.parquet")
    lost = train_old("v6", frame, epochs=2, batch_size=256, scaled=True)
    return Old(
        candles=candles,
        frame=frame,
        labelled=label_frame(frame, LabelSection(), SplitsSection(), symbol=SYMBOL),
        matrix=compute_features(frame, features=RAW72),
        files={
            "V6": write_v6(folder / "V6_BTC-USD.pt", train_old("v6", frame)),
            "V7": write_v7(folder / "V7_BTC-USD.pt", train_old("v7", frame)),
            "V6-lost": write_v6(folder / "V6-lost_BTC-USD.pt", lost),
        },
    )


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("kind", KINDS)
def test_fault_is_named_with_the_numbers_that_numpy_finds(old: Old, kind: str, capsys: Heard) -> None:
    assert main(["diagnose", str(old.files[kind]), "--candles", str(old.candles), "--json"]) == 1
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    first = "no_scaler_but_batch_norm" if kind == "V7" else "no_scaler"
    assert document["causes"][0]["name"] == first
    check_figures(document, known(old.files[kind], old.frame), temperature=document["model"]["temperature"] or 1.0)
    gates = {gate["name"]: gate for gate in document["gates"] if gate["severity"] == "blocking"}
    assert all(gate["value"] is not None for name, gate in gates.items() if name != "scaler_present")
    assert {"scaler_present", "feature_normalisation"} <= set(document["failed_blocking"])
    if kind == "V6-lost":
        assert document["logits"]["largest"] > 1_000.0
        assert {"logit_range", "overconfidence"} <= set(document["failed_blocking"])
        assert document["confidence"]["share_over_99"] > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_repair_meets_its_targets_or_says_which_it_cannot(old: Old, kind: str, tmp_path: Path, capsys: Heard) -> None:
    """Targets of the issue: every emitted logit within 15, less than 10 % above 0.99, ECE below 5 %."""
    asked = ["repair", str(old.files[kind]), "--symbol", SYMBOL, "--candles", str(old.candles)]
    assert main([*asked, "--out", str(tmp_path / "mended"), "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    with capsys.disabled():
        print(f"\n{kind}: " + "\n    ".join(document["sentences"]))

    bundle = load_bundle(tmp_path / "mended", symbol=SYMBOL)
    rows = np.flatnonzero(~np.isnan(old.matrix).any(axis=1))
    logits = bundle.logits(old.matrix[rows])
    assert np.abs(logits).max() < 15.0, "of all 72,000 rows, not of the test rows alone"
    assert document["after"]["share_over_99"] < 0.10
    said = " ".join(document["sentences"])
    for name, figure, limit in (("calibration_error", "ece", 0.05), ("overconfidence", "share_over_99", 0.10)):
        missed = document["after"][figure] >= limit
        assert (f"{name} is missed" in said) is missed
        assert (name in document["held_by"]) is missed
    clamped = document["after"]["clamped_share"]
    assert ("logit_range" in document["held_by"]) is (clamped > 0.01)
    assert ("logit_range is missed" in said) is (clamped > 0.01)
    raw = bundle.predictor.raw_logits(old.matrix[old.labelled.splits.test])
    for temperature in (0.3, 1.0, 3.0, 5.0, 7.0, 10.0, document["temperature"]):
        assert ((raw / np.float32(temperature)).argmax(axis=1) == raw.argmax(axis=1)).all()
    assert document["after"]["accuracy"] == document["at_temperature_10"]["accuracy"]
    assert document["after"]["class_shares"] == document["at_temperature_10"]["class_shares"]

    assert document["mechanical_rule_accuracy"] > 0.7  # 0.73-0.74 on real candles, measured before
    assert "Repair calibrates, it trains nothing" in said


def test_network_whose_scaler_was_lost_gets_its_skill_back_with_it(old: Old, tmp_path: Path, capsys: Heard) -> None:
    asked = ["repair", str(old.files["V6-lost"]), "--symbol", SYMBOL, "--candles", str(old.candles)]
    assert main([*asked, "--out", str(tmp_path / "mended"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["chosen"] == "fitted"
    assert document["after"]["accuracy"] - document["before"]["accuracy"] > 0.2
    assert {"feature_normalisation", "logit_range", "overconfidence", "calibration_error"}.isdisjoint(
        document["held_by"]
    )
    before = LegacyPredictor(read_legacy(old.files["V6-lost"])).logits(old.matrix[old.labelled.splits.test])
    assert document["before"]["max_abs_logit"] == pytest.approx(float(np.abs(before).max()), rel=1e-6)
