"""`crpbot diagnose` through the front door: old files with the faults that were made before, bundles, and what is refused."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.cli import main
from models_lib.features import RAW72, WARM_UP_BARS, compute_features
from tests.bundles import repaired_tensors, walk_candles
from tests.diagnosed import check_figures, known
from tests.judged import judged
from tests.legacy import simulated_frame, train_old, write_v6, write_v7

Heard = pytest.CaptureFixture[str]
QUICK = ["--set", "evaluation.bootstrap_samples=200", "--set", "evaluation.block_bars=60"]
SCREEN = (40, 110)
BLOCKING = (
    "scaler_present",
    "feature_normalisation",
    "logit_range",
    "overconfidence",
    "class_balance",
    "finite",
    "calibration_error",
    "accuracy",
    "beats_mechanical_rule",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("CRPBOT_HOME", str(folder))
    return folder


@dataclass(frozen=True, eq=False)
class Place:
    """A folder with candles and two old models of them."""

    folder: Path
    frame: pd.DataFrame
    v6: Path
    v7: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder, frame = tmp_path_factory.mktemp("old"), simulated_frame(days=14)
    (folder / "candles").mkdir()
    frame.to_parquet(folder / "candles" / "BTC-USD.parquet", index=False)
    return Place(
        folder=folder,
        frame=frame,
        v6=write_v6(folder / "V6_BTC-USD.pt", train_old("v6", frame, epochs=1)),
        v7=write_v7(folder / "v7-btc_usd-old.pt", train_old("v7", frame, epochs=1)),
    )


def diagnosed(place: Place, model: Path, capsys: Heard, *words: str, status: int = 1) -> dict[str, Any]:
    """The JSON of a diagnosis on the place's candles."""
    asked = ["diagnose", str(model), "--candles", str(place.folder / "candles"), "--json", *QUICK, *words]
    assert main(asked) == status
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_a_v6_on_raw_prices_is_found_out(place: Place, capsys: Heard) -> None:
    document = diagnosed(place, place.v6, capsys)
    assert (document["symbol"], document["family"], document["verdict"]) == ("BTC-USD", "v6", "failed")
    assert document["cause"].startswith("no scaler: feature ")
    assert document["causes"][0]["name"] == "no_scaler"
    assert {"scaler_present", "feature_normalisation", "logit_range"} <= set(document["failed_blocking"])
    check_figures(document, known(place.v6, place.frame), temperature=1.0)
    assert document["model"]["temperature"] is None
    assert document["model"]["feature_set"] == "raw72"
    assert document["rows"]["out_of_sample"] is None
    assert document["remedy"]["commands"][0].startswith(f"crpbot repair {place.v6} --symbol BTC-USD --candles ")
    gates = {gate["name"] for gate in document["gates"]}
    assert set(BLOCKING) <= gates
    assert "not_worse_than_champion" not in gates


def test_logits_of_tens_of_thousands_are_shown_with_what_they_do(place: Place, tmp_path: Path, capsys: Heard) -> None:
    """As V6 answered in production: weights that know scaled inputs get raw prices."""
    tensors = repaired_tensors(compute_features(place.frame, features=RAW72), gain=20.0)
    model = write_v6(tmp_path / "V6_BTC-USD.pt", {name: part for name, part in tensors.items() if "." in name})
    document = diagnosed(place, model, capsys)
    check_figures(document, known(model, place.frame), temperature=1.0)
    assert document["logits"]["largest"] > 10_000
    assert document["confidence"]["share_over_99"] == 1.0
    assert {"logit_range", "overconfidence", "class_balance", "calibration_error"} <= set(document["failed_blocking"])
    assert [cause["name"] for cause in document["causes"]][:3] == ["no_scaler", "no_temperature", "one_class"]


def test_a_v7_without_a_scaler_is_found_out(place: Place, capsys: Heard) -> None:
    document = diagnosed(place, place.v7, capsys)
    assert (document["symbol"], document["family"]) == ("BTC-USD", "v7")
    assert document["cause"].startswith("no scaler, but BatchNorm: feature ")
    assert 1.5 < document["model"]["temperature"] < 3.5
    check_figures(document, known(place.v7, place.frame), temperature=document["model"]["temperature"])


def test_the_screen_shows_verdict_cause_and_remedy_first(
    place: Place, capsys: Heard, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.chdir(place.folder)
    assert main(["diagnose", "V6_BTC-USD.pt", "--candles", "candles", *QUICK]) == 1
    heard = capsys.readouterr()
    lines = heard.out.splitlines()
    assert len(lines) <= SCREEN[0]
    assert max(map(len, lines)) <= SCREEN[1]
    assert lines[0].startswith("BTC-USD FAILED: ")
    assert lines[1].startswith("cause       no scaler: feature ")
    names = [line.split()[0] for line in lines if line[:1].strip()]
    assert names[:3] == ["BTC-USD", "cause", "also"]
    assert names.index("remedy") < names.index("rows") < names.index("confidence") < names.index("gate")
    assert set(BLOCKING) <= set(names)
    page, table = (next((home / "diagnoses").glob(f"V6_BTC-USD-*/diagnosis.{end}")) for end in ("html", "json"))
    assert str(page) in heard.err
    # The page says what the table says.
    document, html = json.loads(table.read_text()), page.read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert document["cause"] in html
    assert all(cause["words"] in html for cause in document["causes"])
    assert f"{100 * document['skill']['accuracy']:.1f} %" in html
    assert document["remedy"]["commands"][0] in html


def test_json_and_file_are_the_same_and_the_model_stays_as_it_was(place: Place, tmp_path: Path, capsys: Heard) -> None:
    before = place.v6.read_bytes()
    document = diagnosed(place, place.v6, capsys, "--out", str(tmp_path / "out"))
    files = [str(tmp_path / "out" / name) for name in ("diagnosis.json", "diagnosis.html")]
    assert document.pop("files") == files
    assert json.loads(Path(files[0]).read_text()) == document
    assert place.v6.read_bytes() == before


def test_a_scaler_that_was_kept_apart_is_put_before_the_network(place: Place, tmp_path: Path, capsys: Heard) -> None:
    """Of Ether's prices: too few units for Bitcoin's."""
    frame = place.frame.assign(**{name: place.frame[name] / 26.7 for name in ("open", "high", "low", "close")})
    rows = compute_features(frame, features=RAW72)[WARM_UP_BARS:].astype(np.float64)
    np.savez(tmp_path / "scaler.npz", mean=rows.mean(axis=0), scale=rows.std(axis=0))
    document = diagnosed(place, place.v6, capsys, "--scaler", str(tmp_path / "scaler.npz"))
    assert document["model"]["has_scaler"] is True
    assert document["causes"][0]["name"] == "scaler_of_other_candles"
    assert next(gate for gate in document["gates"] if gate["name"] == "scaler_present")["passed"] is True


def test_what_needs_labels_is_not_measured_and_has_failed_where_rows_are_few(
    place: Place, tmp_path: Path, capsys: Heard
) -> None:
    place.frame.tail(WARM_UP_BARS + 300).to_parquet(tmp_path / "BTC-USD.parquet", index=False)
    assert main(["diagnose", str(place.v6), "--candles", str(tmp_path), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["rows"]["used"] == 300
    assert document["rows"]["labelled"] is False
    assert document["skill"] is None
    assert document["causes"][0]["name"] == "no_scaler"
    gates = {gate["name"]: gate for gate in document["gates"] if gate["severity"] == "blocking"}
    assert set(gates) == set(BLOCKING)
    assert (gates["accuracy"]["value"], gates["accuracy"]["passed"]) == (None, False)
    assert gates["finite"]["passed"] is True


def test_no_row_with_features_is_told(place: Place, tmp_path: Path, capsys: Heard) -> None:
    place.frame.tail(WARM_UP_BARS).to_parquet(tmp_path / "BTC-USD.parquet", index=False)
    assert main(["diagnose", str(place.v6), "--candles", str(tmp_path)]) == 2
    assert "none of 1,440 rows has features" in capsys.readouterr().err


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    folder = tmp_path / "walk"
    folder.mkdir()
    walk_candles().to_parquet(folder / "BTC-USD.parquet", index=False)
    return folder


def test_a_bundle_is_diagnosed_on_its_own_features_and_label(tmp_path: Path, walk: Path, capsys: Heard) -> None:
    bundle = judged("A", tmp_path / "a")
    asked = ["diagnose", str(tmp_path / "a"), "--candles", str(walk), "--json", *QUICK]
    assert main(asked) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["model"]["identity"], document["model"]["feature_set"]) == (bundle, "current")
    assert document["model"]["temperature"] == 1.25
    assert document["rows"]["out_of_sample"] is True
    assert "accuracy" in document["failed_blocking"]  # it was never trained
    assert document["causes"][0]["name"] not in {"no_scaler", "scaler_of_other_candles"}

    lenient = [f"--set=gates.{gate}.severity=advisory" for gate in document["failed_blocking"]]
    assert main([*asked, *lenient]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["verdict"], document["failed_blocking"]) == ("passed", [])
    assert document["remedy"]["commands"] == []


HOSTILE = b"cos\nsystem\n(S'touch executed'\ntR."


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["absent.pt"], "absent.pt: there is no such file or folder"),
        (["0123456789ab"], "neither a bundle folder nor the start of one kept hash"),
        (["hostile.pt"], "hostile.pt"),
        (["nobody.pt"], "names no symbol. Say whose candles it is for with --symbol"),
        (["both-BTCUSD-ETHUSD.pt"], "names BTC-USD and ETH-USD"),
        (["nobody.pt", "--symbol", "DOGE-USD"], "'DOGE-USD' is not a configured symbol"),
        (["nobody.pt", "--symbol", "BTC-USD", "--candles", "nowhere"], "the folder of candles nowhere does not exist"),
        (["nobody.pt", "--symbol", "ETH-USD", "--candles", "candles"], "ETH-USD: there is no file"),
        (["nobody.pt", "--symbol", "BTC-USD", "--features", "strange"], "--features strange"),
        (
            ["nobody.pt", "--symbol", "BTC-USD", "--features", "three.txt"],
            "takes 72 features, the list 'selected' has 3",
        ),
        (["nobody.pt", "--symbol", "BTC-USD", "--scaler", "absent.npz"], "absent.npz"),
        (["nobody.pt", "--symbol", "BTC-USD", "--set", "data.nonsense=1"], "data.nonsense: unknown key"),
        (["candles", "--features", "raw72"], "--features is for legacy files"),
        (["candles"], "candles"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_diagnosed_is_told_in_one_sentence_with_status_2(
    words: list[str], told: str, place: Place, tmp_path: Path, capsys: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("nobody.pt", "both-BTCUSD-ETHUSD.pt"):
        (tmp_path / name).symlink_to(place.v6)
    (tmp_path / "candles").symlink_to(place.folder / "candles")
    (tmp_path / "hostile.pt").write_bytes(HOSTILE)
    (tmp_path / "three.txt").write_text("open\nhigh\nclose\n")
    assert main(["diagnose", *words]) == 2
    heard = capsys.readouterr()
    assert heard.out == ""
    assert told in heard.err
    assert len(heard.err.strip().splitlines()) == 1
    assert not (tmp_path / "executed").exists()
    assert not list((tmp_path / "home").glob("diagnoses/*"))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("V6_BTC-USD.pt", ["BTC-USD"]),
        ("lstm_eth_usd_v8_enhanced.pt", ["ETH-USD"]),
        ("SOLUSD.pt", ["SOL-USD"]),
        ("btc usd and eth.usd.pt", ["BTC-USD", "ETH-USD"]),
        ("BTCUSDT.pt", []),
        ("wbtcusd.pt", []),
        ("model.pt", []),
    ],
)
def test_symbols_are_read_from_file_names(name: str, found: list[str]) -> None:
    from models_lib.steps.old_files import symbols_in

    assert symbols_in(name, ("BTC-USD", "ETH-USD", "SOL-USD")) == found
