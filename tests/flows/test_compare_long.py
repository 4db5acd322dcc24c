"""A comparison as an operator makes it: real candles, the default V8, the default gates; and a market with skill in it."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models_lib.bundle import load_bundle
from models_lib.config import load_config
from models_lib.steps.market import open_market
from tasks.adapters.sources import open_source
from tests.compared import write_trained_repaired, write_trained_v8
from tests.comparison_page import Figures, expected_figures
from tests.flows.running import crpbot
from tests.hosts import in_folder
from tests.markets import NO_HOME

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("real"), pytest.mark.timeout(900)]
BTC = "BTC-USD"
MOST_SECONDS = 120.0


def compared(home: Path, *words: str, status: int = 0) -> dict[str, Any]:
    """One comparison by the command line; page and JSON say the same, and the ensemble passes every check."""
    out = home.parent / f"out-{len(list(home.parent.iterdir()))}"
    began = time.monotonic()
    answer = crpbot(home, "compare", BTC, *words, "--out", str(out), "--json")
    seconds = time.monotonic() - began
    assert answer.returncode == status, answer.stderr
    document: dict[str, Any] = json.loads(answer.stdout)
    files = document.pop("files")
    assert document == json.loads((out / "compare.json").read_text())
    assert Figures(Path(files[1]).read_text()).figures == expected_figures(document)
    assert crpbot(home, "verify", str(out / "ensemble")).returncode == 0
    print(f"{' '.join(words)}: {seconds:.1f} s, {document['decision']['reason']}")
    assert seconds < MOST_SECONDS
    return document


@pytest.mark.candles
def test_real_candles_are_compared_in_time_and_the_winner_is_what_the_gates_say(
    real_candles: Path, tmp_path: Path
) -> None:
    home, folder = tmp_path / "home", real_candles / "perp-50d"
    source = ("data.source=parquet", f"data.path={folder}", "deployment.target=null")
    words = [word for setting in source for word in ("--set", setting)]
    assert crpbot(home, "run", "--symbols", BTC, *words).returncode == 0
    config = load_config(None, source)
    write_trained_repaired(
        tmp_path / "repaired",
        open_market(BTC, config, source=open_source(config, home=NO_HOME), now=datetime.now(UTC)),
        config,
        epochs=2,
    )

    document = compared(home, "--repaired", str(tmp_path / "repaired"), "--candles", str(folder), "--promote")
    assert document["models"]["v8"]["passed"], "the champion passes as it did in its run"
    assert document["models"]["ensemble"]["family"] == "ensemble"
    assert document["row_sets"]["test"]["rows"] > 10_000
    assert {one["rows"] for one in document["row_sets"].values()} >= {1_000}
    assert all(one["differences"]["repaired - v8"]["nll"]["interval"] for one in document["row_sets"].values())
    v8 = document["models"]["v8"]["bundle"][:12]
    assert document["decision"]["winner"] == "v8"
    assert document["promotion"] == f"V8 {v8} is the champion of {BTC} already; nothing was changed."


def test_ensemble_that_is_better_is_promoted_through_every_gate_and_deployed(tmp_path: Path) -> None:
    """Two models that err in other places, on a market that can be predicted; no gate is moved."""
    home, place = tmp_path / "home", tmp_path / "place"
    settings = ("data.market=planted", "data.days=50", *in_folder(place))
    words = [word for setting in settings for word in ("--set", setting)]
    config = load_config(None, settings)
    market = open_market(BTC, config, source=open_source(config, home=NO_HOME), now=datetime.now(UTC))
    write_trained_repaired(tmp_path / "repaired", market, config, epochs=2)
    write_trained_v8(tmp_path / "v8", market, config, epochs=1)
    pair = ("--repaired", str(tmp_path / "repaired"), "--v8", str(tmp_path / "v8"))

    document = compared(home, *pair, *words, "--promote")
    ensemble = document["models"]["ensemble"]
    assert (document["decision"]["winner"], ensemble["failed_blocking"]) == ("ensemble", [])
    assert document["promotion"].startswith(f"Promoted: ensemble {ensemble['bundle'][:12]} is the champion")
    history = json.loads(crpbot(home, "history", BTC, "--json").stdout)
    assert json.dumps(history).count(ensemble["bundle"]) >= 1

    answer = crpbot(home, "deploy", BTC, *words)
    assert answer.returncode == 0, answer.stderr
    release = (place / "current" / BTC).resolve()
    assert load_bundle(release, symbol=BTC).hash == ensemble["bundle"]

    again = compared(home, *pair, *words, "--promote", status=1)
    assert again["models"]["ensemble"]["bundle"] == ensemble["bundle"], "the same models and candles, the same ensemble"
    assert "not_worse_than_champion" in again["decision"]["reason"], "each member alone is worse than both together"
    assert again["promotion"] == "Nothing was promoted: none of them may be used."
    assert json.loads(crpbot(home, "history", BTC, "--json").stdout) == history
