"""One look at a target: what lies there, however damaged, and nothing written."""

from pathlib import Path

import pytest

from models_lib.deployment.look import look_at_folder
from models_lib.errors import DeployError
from models_lib.holds import place_hold
from models_lib.host.releases import Releases
from models_lib.host.service import RuntimeService
from tests.bundles import T0
from tests.hosts import TestHost

BTC, ETH = "BTC-USD", "ETH-USD"


def test_folder_that_is_not_there_shows_nothing_and_is_not_made(tmp_path: Path) -> None:
    look = look_at_folder(tmp_path / "nowhere")
    assert (look.current, look.holds, look.health) == ({}, {}, None)
    assert not (tmp_path / "nowhere").exists()


def test_releases_holds_and_health_are_seen(tmp_path: Path) -> None:
    host = TestHost(tmp_path / "host")
    Releases(host.folder).switch(BTC, "a" * 64)
    Releases(host.folder).switch(ETH, "b" * 64)
    place_hold(host.folder, ETH, placed_by="me@here", reason="odd prices", now=T0)
    RuntimeService(host.folder, host.service).restart()
    look = look_at_folder(host.folder)
    assert look.current == {BTC: "a" * 64, ETH: "b" * 64}
    assert [(symbol, hold.reason) for symbol, hold in look.holds.items()] == [(ETH, "odd prices")]
    assert look.health is not None
    assert look.health.symbols[BTC].bundle == "a" * 64


def test_damaged_health_is_none_and_a_damaged_hold_holds(tmp_path: Path) -> None:
    (tmp_path / "health.json").write_text('{"mode": "live"')
    (tmp_path / "holds").mkdir()
    (tmp_path / "holds" / f"{BTC}.json").write_text("{")
    look = look_at_folder(tmp_path)
    assert look.health is None
    assert "damaged" in look.holds[BTC].reason


def test_stranger_in_the_place_of_a_link_cannot_be_told(tmp_path: Path) -> None:
    (tmp_path / "current" / BTC).mkdir(parents=True)
    with pytest.raises(DeployError, match=r"BTC-USD: .* is no link to a release .* move it away"):
        look_at_folder(tmp_path)
