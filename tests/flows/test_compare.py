"""crpbot compare and the flow `compare` on a planted market: three models judged, the winner promoted, refusals."""

import contextlib
import io
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from models_lib.bundle import is_sound, load_bundle, verify_bundle
from models_lib.config import load_config
from models_lib.holds import place_hold, release_hold
from models_lib.registry import open_registry
from models_lib.steps.market import open_market
from tasks.adapters.sources import open_source
from tests.bundles import edit_json, reseal, write_repaired
from tests.compared import write_trained_repaired, write_trained_v8
from tests.comparison_page import Figures, expected_figures
from tests.flows.artifacts import artifacts_of
from tests.markets import DAYS, LENIENT, NO_HOME, QUICK

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("prefect"), pytest.mark.timeout(300)]
BTC = "BTC-USD"
SETTINGS = ("data.market=planted", f"data.days={DAYS}", *QUICK, *LENIENT)
"""Two members of other features and networks, each a few epochs old, err in other places: the ensemble is better."""
WORDS = [word for setting in SETTINGS for word in ("--set", setting)]

Heard = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The repaired V6 and the V8, as folders."""
    folder = tmp_path_factory.mktemp("pair")
    config = load_config(None, SETTINGS)
    market = open_market(BTC, config, source=open_source(config, home=NO_HOME), now=datetime.now(UTC))
    write_trained_repaired(folder / "repaired", market, config, epochs=2)
    write_trained_v8(folder / "v8", market, config, epochs=3)
    return {name: str(folder / name) for name in ("repaired", "v8")}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare") / "home"


@pytest.fixture(autouse=True)
def surroundings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRPBOT_HOME", str(home))
    monkeypatch.delenv("CRPBOT_CONFIG", raising=False)


@pytest.fixture(scope="module")
def held(prefect: None, home: Path, pair: dict[str, str]) -> Any:
    """The end of a flow run that was to promote a symbol on hold; there is no champion yet."""
    from flows.compare import compare
    from flows.parameters import CompareParams

    home.mkdir(exist_ok=True)
    place_hold(home, BTC, placed_by="test", reason="the exchange is down", now=datetime.now(UTC))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRPBOT_HOME", str(home))
        params = CompareParams(symbol=BTC, settings=SETTINGS, promote=True, **pair)
        state = compare(params, return_state=True)
    release_hold(home, BTC, who="test", now=datetime.now(UTC))
    return state


@pytest.fixture(scope="module")
def promoted(held: Any, home: Path, pair: dict[str, str]) -> dict[str, Any]:
    """What `crpbot compare --promote --json` said, with what stood there before."""
    said, words = io.StringIO(), [BTC, "--repaired", pair["repaired"], "--v8", pair["v8"], *WORDS]
    out = home.parent / "out"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setenv("CRPBOT_HOME", str(home))
        assert open_registry(home).champion(BTC) is None, "a hold is a no"
        assert main(["compare", *words, "--out", str(out), "--promote", "--json"]) == 0
    document: dict[str, Any] = json.loads(said.getvalue())
    return document


def test_flow_ends_as_held_where_the_symbol_is_on_hold_and_shows_its_artifacts(held: Any, home: Path) -> None:
    assert (held.name, held.is_completed()) == ("Held", True)
    assert held.message.startswith("Choice: ensemble. ")
    assert "Not promoted: BTC-USD is on hold" in held.message
    files = held.result()
    assert files[1].parent.parent == home / "comparisons"
    document = json.loads(files[0].read_text())
    assert "Not promoted: BTC-USD is on hold" in document["promotion"]
    shown = artifacts_of(held.state_details.flow_run_id)
    kinds = {"": "markdown", "-figures": "table", "-differences": "table", "-page": "markdown"}
    assert {key: artifact.type for key, artifact in shown.items()} == {
        f"comparison{piece}-btc-usd": kind for piece, kind in kinds.items()
    }
    rows = json.loads(shown["comparison-figures-btc-usd"].data)
    assert [row["model"] for row in rows[:3]] == ["repaired V6", "V8", "ensemble"]


def test_ensemble_is_chosen_and_becomes_champion_by_the_verdict_of_the_comparison(
    promoted: dict[str, Any], home: Path
) -> None:
    assert promoted["decision"]["winner"] == "ensemble"
    ensemble = promoted["models"]["ensemble"]
    registry = open_registry(home)
    champion = registry.champion(BTC)
    assert champion is not None
    assert champion.bundle == ensemble["bundle"]
    assert promoted["promotion"] == (
        f"Promoted: ensemble {ensemble['bundle'][:12]} is the champion of {BTC} now. `crpbot deploy {BTC}` puts it to use."
    )
    (line,) = registry.history(BTC).entries
    (verdict,) = registry.store.verdicts(ensemble["bundle"])
    assert line.run_id == verdict.run_id
    assert line.why.startswith(f"comparison {verdict.run_id}: ")
    assert [gate.model_dump(mode="json") for gate in verdict.gates] == ensemble["gates"]
    kept = load_bundle(registry.store.bundle(ensemble["bundle"]))
    members = [member.bundle for member in kept.manifest.members]
    assert members == [promoted["models"][name]["bundle"] for name in ("repaired", "v8")]
    weights = [member.weight for member in kept.manifest.members]
    assert weights == pytest.approx([promoted["ensemble"]["weights"][name] for name in ("repaired", "v8")])


def test_page_json_and_gates_say_the_same_and_the_ensemble_is_sound(promoted: dict[str, Any]) -> None:
    table, page = (Path(file) for file in promoted["files"])
    document = json.loads(table.read_text())
    assert document == {name: value for name, value in promoted.items() if name != "files"}
    assert Figures(page.read_text()).figures == expected_figures(document)
    for name, model in document["models"].items():
        measured = {gate["name"]: gate["value"] for gate in model["gates"] if gate["split"] == "test"}
        assert measured["accuracy"] == pytest.approx(document["row_sets"]["test"]["models"][name]["accuracy"])
        assert measured["calibration_error"] == pytest.approx(document["row_sets"]["test"]["models"][name]["ece"])
    folder = Path(document["models"]["ensemble"]["folder"])
    assert folder == table.parent / "ensemble"
    assert is_sound(verify_bundle(folder))


def label_of_another_horizon(folder: Path) -> None:
    edit_json(folder / "manifest.json", lambda tree: tree["label"]["section"].update(horizon_minutes=30))
    reseal(folder)


def test_what_cannot_be_compared_is_refused_with_the_remedy(
    promoted: dict[str, Any], pair: dict[str, str], tmp_path: Path, capsys: Heard
) -> None:
    repaired, v8 = ("--repaired", pair["repaired"]), ("--v8", pair["v8"])
    other, real = tmp_path / "other", tmp_path / "real"
    shutil.copytree(pair["repaired"], other)
    label_of_another_horizon(other)
    write_repaired(real)
    out = ("--out", str(Path(promoted["files"][0]).parent))
    cases: dict[str, tuple[str, ...]] = {
        "is an ensemble itself. Name the V8 with --v8.": (BTC, *repaired),
        "must be a repaired model, was of family v8": (BTC, "--repaired", pair["v8"], *v8),
        "is a repaired model itself. Name the V8 with --v8.": (BTC, *repaired, "--v8", pair["repaired"]),
        "the models answer different questions": (BTC, "--repaired", str(other), *v8),
        "is of real candles, the other of a simulated market": (BTC, "--repaired", str(real), *v8),
        "both models are of a simulated market": (BTC, *repaired, *v8, "--candles", str(tmp_path)),
        "this is a bundle of BTC-USD, not of ETH-USD": ("ETH-USD", *repaired),
        "is there already, and a bundle is never written over": (BTC, *repaired, *v8, *out),
        "DOGE-USD": ("DOGE-USD", *repaired, *v8),
    }
    for told, words in cases.items():
        assert main(["compare", *words, *WORDS]) == 2, told
        heard = capsys.readouterr()
        assert told in heard.err
        assert heard.out == ""
