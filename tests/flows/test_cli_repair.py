"""`crpbot repair` through the front door: an old file becomes a bundle that says what it cannot mend."""

import contextlib
import io
import json
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flows.cli import main
from models_lib.bundle import load_bundle
from models_lib.config import LabelSection, SplitsSection
from models_lib.features import CURRENT, RAW72, compute_features
from models_lib.files import sha256_file
from models_lib.scaling import fit_scaler
from models_lib.steps.labels import LabelledFrame, label_frame
from tests.legacy import simulated_frame, train_old, write_v6

Heard = pytest.CaptureFixture[str]
SYMBOL = "BTC-USD"
QUICK = ("--set", "evaluation.bootstrap_samples=200", "--set", "evaluation.block_bars=60")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("CRPBOT_HOME", str(folder))
    return folder


@dataclass(frozen=True, eq=False)
class Place:
    """Candles, an old file that was trained on raw inputs, and what is known of both."""

    candles: Path
    v6: Path
    matrix: np.ndarray
    labelled: LabelledFrame


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder, frame = tmp_path_factory.mktemp("old"), simulated_frame(days=14)
    candles = folder / "candles"
    candles.mkdir()
    frame.to_parquet(candles / f"{SYMBOL}.parquet", index=False)
    return Place(
        candles=candles,
        v6=write_v6(folder / "V6_BTC-USD.pt", train_old("v6", frame, epochs=1)),
        matrix=compute_features(frame, features=RAW72),
        labelled=label_frame(frame, LabelSection(), SplitsSection(), symbol=SYMBOL),
    )


def repair(place: Place, file: Path, out: Path, *words: str) -> list[str]:
    return ["repair", str(file), "--symbol", SYMBOL, "--candles", str(place.candles), "--out", str(out), *QUICK, *words]


@dataclass(frozen=True, eq=False)
class Mended:
    """What one repair wrote and printed."""

    folder: Path
    document: dict[str, Any]


@pytest.fixture(scope="module")
def mended(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Mended:
    scratch, printed = tmp_path_factory.mktemp("repair"), io.StringIO()
    before = place.v6.read_bytes()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("CRPBOT_HOME", str(scratch / "home"))
        assert main(repair(place, place.v6, scratch / "mended", "--json")) == 0
    assert place.v6.read_bytes() == before, "the old file stays as it is"
    return Mended(scratch / "mended", json.loads(printed.getvalue()))


class _Texts(HTMLParser):
    """All text of a page, in one line."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def handle_data(self, data: str) -> None:
        self.text += " " + data.replace("\N{NO-BREAK SPACE}", " ")


def page_text(page: Path) -> str:
    texts = _Texts()
    texts.feed(page.read_text())
    return " ".join(texts.text.split())


def test_repair_writes_a_bundle_that_answers_as_its_table_says(place: Place, mended: Mended) -> None:
    out, document = mended.folder, mended.document
    bundle = load_bundle(out, symbol=SYMBOL, expected_hash=document["bundle"])
    assert bundle.manifest.family == "v6-repaired"
    repaired = bundle.manifest.repair
    assert repaired is not None
    assert (repaired.source_name, repaired.source_sha256) == ("V6_BTC-USD.pt", sha256_file(place.v6))
    test = place.labelled.splits.test
    logits = bundle.logits(place.matrix[test])
    assert document["after"]["max_abs_logit"] == pytest.approx(np.abs(logits).max(), rel=1e-6)
    assert np.abs(logits).max() < 15.0
    classes = place.labelled.classes[test]
    assert document["after"]["accuracy"] == pytest.approx((logits.argmax(axis=1) == classes).mean())
    gates = {(gate["name"], gate["split"]): gate for gate in document["gates"]}
    assert gates["logit_range", "test"]["value"] == document["after"]["max_abs_logit"]
    assert gates["accuracy", "test"]["value"] == document["after"]["accuracy"]
    assert bundle.facts is not None
    assert bundle.facts.failed_blocking() == tuple(document["held_by"])
    assert bundle.facts.metrics["clamped_share"] == document["after"]["clamped_share"]

    text = page_text(out / "reports" / "repair.html")
    (choice,) = (sentence for sentence in document["sentences"] if sentence.startswith("Chosen by"))
    asks = document["variants"][0]["wanted"] < document["temperature"] * 0.999
    assert ("the NLL alone asks for" in choice) is asks
    tried = [document["at_temperature_10"], *document["others"]]
    for name, figure, limit in (("calibration_error", "ece", 0.05), ("overconfidence", "share_over_99", 0.10)):
        missed = [sentence for sentence in document["sentences"] if sentence.startswith(f"{name} is missed")]
        assert bool(missed) is (document["after"][figure] >= limit)
        for sentence in missed:
            met = [one["name"] for one in tried if one[figure] < limit]
            assert sentence.endswith(f"by: {', '.join(met)}." if met else "nothing else that was tried meets it.")
    for sentence in document["sentences"]:
        assert " ".join(sentence.split()) in text
    assert json.loads((out / "reports" / "repair.json").read_text()) == document


def test_scaler_is_fitted_on_training_rows_and_the_choice_on_validation_rows(place: Place, mended: Mended) -> None:
    document = mended.document
    variants = {variant["scaler"]: variant for variant in document["variants"]}
    assert set(variants) == {"fitted", "identity"}
    assert document["chosen"] == min(variants, key=lambda name: variants[name]["nll"])
    bundle = load_bundle(mended.folder)
    if document["chosen"] == "fitted":
        expected = fit_scaler(place.matrix, place.labelled.splits.train, names=RAW72.names)
        np.testing.assert_allclose(bundle.tensors["scaler_mean"], expected.mean.astype(np.float32))
    else:
        np.testing.assert_array_equal(bundle.tensors["scaler_scale"], np.ones(72, dtype=np.float32))
        assert "feature_normalisation" in document["held_by"]


def test_screen_says_before_and_after_and_that_no_skill_was_added(place: Place, tmp_path: Path, capsys: Heard) -> None:
    assert main(repair(place, place.v6, tmp_path / "mended")) == 0
    said = capsys.readouterr()
    assert (
        "Repair calibrates, it trains nothing: accuracy that comes back with a scaler was in the weights before"
        in said.out
    )
    assert "A one-line rule has an accuracy of" in said.out
    assert "it may have been trained on these rows" in said.out
    assert "Words of the verdict: " in said.out
    assert "the file as it is" in said.out
    assert "T = 10 would have given mean confidence" in said.out
    assert f"page: {tmp_path / 'mended' / 'reports' / 'repair.html'}" in said.err


def test_repaired_bundle_goes_through_the_gates_like_any_other(mended: Mended, capsys: Heard) -> None:
    """Two weeks of candles and one epoch pass no gate of skill, so promotion is refused, by name."""
    assert main(["verify", str(mended.folder)]) == 0
    assert main(["promote", SYMBOL, str(mended.folder)]) == 1
    assert "and is never promoted" in capsys.readouterr().err


def test_temperature_study_takes_a_repaired_bundle(place: Place, mended: Mended, capsys: Heard) -> None:
    asked = ["temperature", str(mended.folder), "--candles", str(place.candles), "--values", "3,5,7,10", "--json"]
    assert main(asked) == 0
    study = json.loads(capsys.readouterr().out)
    assert [line["temperature"] for line in study["table"]] == [3.0, 5.0, 7.0, 10.0]
    assert study["rows"]["out_of_sample"] is None, "the network's own training rows are not known"
    assert study["lowest_nll"]["nll"] <= study["own"]["nll"], "also where the repair's T lies beyond any trained one"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state | {"fc1.weight": torch.full((256, 72), torch.nan)}, "NaN"),
        (lambda state: state | {"fc1.weight": torch.zeros((256, 60))}, "the network takes 60 features"),
        (lambda state: state | {"fc2.weight": torch.zeros((128, 255))}, "255"),
    ],
    ids=["NaN", "60 features", "shapes"],
)
def test_refused_file_leaves_nothing(place: Place, tmp_path: Path, capsys: Heard, change: Any, said: str) -> None:
    document = torch.load(place.v6, weights_only=True)
    torch.save({"model_state_dict": change(document["model_state_dict"])}, tmp_path / "broken.pt")
    assert main(repair(place, tmp_path / "broken.pt", tmp_path / "mended")) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "mended").exists()
    assert not list(tmp_path.glob(".mended*"))


@pytest.mark.parametrize(("names", "status"), [(RAW72.names[::-1], 2), (CURRENT.names, 2), (RAW72.names, 0)])
def test_columns_that_the_file_names_are_not_taken_for_others(
    place: Place, tmp_path: Path, capsys: Heard, names: tuple[str, ...], status: int
) -> None:
    document = torch.load(place.v6, weights_only=True)
    torch.save(document | {"feature_names": names}, tmp_path / "named.pt")
    assert main(repair(place, tmp_path / "named.pt", tmp_path / "mended", "--features", "raw72")) == status
    told = f"the file says that its feature 1 is {names[0]}; in the list 'raw72' it is open"
    assert (told in capsys.readouterr().err) == (status == 2)


def test_file_is_believed_about_its_symbol_and_its_features(place: Place, tmp_path: Path, capsys: Heard) -> None:
    document = torch.load(place.v6, weights_only=True)
    torch.save({**document, "symbol": "ETH-USD"}, tmp_path / "eth.pt")
    assert main(repair(place, tmp_path / "eth.pt", tmp_path / "mended")) == 2
    assert "the file says that it is for ETH-USD, --symbol says BTC-USD" in capsys.readouterr().err
    assert not (tmp_path / "mended").exists()

    turned = list(reversed(RAW72.names))
    weight = document["model_state_dict"]["fc1.weight"].flip(1)
    state = {**document["model_state_dict"], "fc1.weight": weight}
    torch.save({**document, "model_state_dict": state, "feature_names": turned}, tmp_path / "turned.pt")
    assert main(repair(place, tmp_path / "turned.pt", tmp_path / "mended")) == 0
    rows = place.matrix[place.labelled.splits.test]
    capsys.readouterr()
    assert main(repair(place, place.v6, tmp_path / "plain")) == 0
    turned_bundle, plain = load_bundle(tmp_path / "mended"), load_bundle(tmp_path / "plain")
    assert turned_bundle.manifest.features.names == tuple(turned)
    np.testing.assert_allclose(turned_bundle.logits(rows[:, ::-1].copy()), plain.logits(rows), atol=1e-4)


def test_symbol_that_is_not_configured_is_refused(place: Place, tmp_path: Path, capsys: Heard) -> None:
    out = tmp_path / "mended"
    asked = ["repair", str(place.v6), "--symbol", "DOGE-USD", "--candles", str(place.candles), "--out", str(out)]
    assert main(asked) == 2
    assert "'DOGE-USD' is not a configured symbol" in capsys.readouterr().err


def test_folder_that_is_there_is_never_written_over(place: Place, tmp_path: Path, capsys: Heard) -> None:
    out = tmp_path / "mended"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert main(repair(place, place.v6, out)) == 2
    assert "is there already, and a bundle is never written over" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_folder_that_cannot_be_made_is_one_sentence(place: Place, tmp_path: Path, capsys: Heard) -> None:
    (tmp_path / "file").write_text("")
    assert main(repair(place, place.v6, tmp_path / "file" / "mended")) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_folder_of_candles_may_be_named_like_a_number(
    place: Place, tmp_path: Path, capsys: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "123").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["repair", str(place.v6), "--symbol", SYMBOL, "--candles", "123", "--out", "mended"]) == 2
    assert "there is no file 123/BTC-USD.parquet" in capsys.readouterr().err


def test_too_few_candles_are_refused(place: Place, tmp_path: Path, capsys: Heard) -> None:
    simulated_frame(days=2).to_parquet(tmp_path / f"{SYMBOL}.parquet", index=False)
    asked = ["repair", str(place.v6), "--symbol", SYMBOL, "--candles", str(tmp_path), "--out", str(tmp_path / "mended")]
    assert main(asked) == 2
    assert "Give more candles" in capsys.readouterr().err
