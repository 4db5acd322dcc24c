"""What the runtime of this machine gets: candles as its replay reads them, settings; only where nobody chose others."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models_lib.candles.schema import VALUE_COLUMNS, epoch_ms
from models_lib.config import load_config
from models_lib.config.serving_sections import SignalsSection
from models_lib.config.targets import SshTargetSection
from models_lib.deployment import DeploymentTarget, FolderTarget
from models_lib.deployment.local_runtime import (
    bring_candles,
    bring_signals_section,
    candles_brought,
    spoken_on_this_machine,
)
from models_lib.errors import ConfigError
from models_lib.features import SERVING_BARS
from models_lib.runtime.configuration import RuntimeConfig, read_runtime_config
from models_lib.runtime.newest import newest_candles
from models_lib.runtime.sources import FolderSource, read_rows
from tests.bundles import walk_candles
from tests.hosts import TestHost, at_host, host_target, in_folder, no_candles

BTC = "BTC-USD"
CANDLES = walk_candles()
MINUTES = 60


def test_newest_candles_are_read_by_the_runtime(tmp_path: Path) -> None:
    target = host_target(tmp_path / "host", rehearsal_minutes=MINUTES)
    bring_candles(target, BTC, lambda: CANDLES, simulated_market=None)
    expected = CANDLES.tail(SERVING_BARS + MINUTES)
    rows = read_rows(tmp_path / "host" / "candles", BTC)
    np.testing.assert_array_equal(rows.stamps, epoch_ms(expected))
    np.testing.assert_array_equal(rows.values, expected[list(VALUE_COLUMNS)].to_numpy())
    source = FolderSource(tmp_path / "host" / "candles")
    pd.testing.assert_frame_equal(
        newest_candles(source, BTC, MINUTES, fill_no_trade_minutes_up_to=0), expected.reset_index(drop=True)
    )


def test_newer_candles_replace_the_older_ones(tmp_path: Path) -> None:
    target = host_target(tmp_path / "host")
    for rows in (5_000, 6_000):
        bring_candles(target, BTC, lambda rows=rows: CANDLES.head(rows), simulated_market=None)
    assert read_rows(tmp_path / "host" / "candles", BTC).stamps[-1] == epoch_ms(CANDLES)[-1]
    assert [path.name for path in (tmp_path / "host" / "candles").iterdir()] == [f"{BTC}.safetensors"]


@pytest.mark.parametrize("market", [None, "default"])
def test_candles_are_taken_for_models_of_their_own_market(tmp_path: Path, market: str | None) -> None:
    host = tmp_path / "host"
    assert candles_brought(host, {BTC: market}) is None
    bring_candles(host_target(host), BTC, lambda: CANDLES, simulated_market=market)
    assert candles_brought(host, {BTC: market, "ETH-USD": None}) == host / "candles"
    with pytest.raises(ConfigError, match=r"the last deployment brought are of .* BTC-USD's model was trained on"):
        candles_brought(host, {BTC: "iid"})


def test_file_that_holds_no_candles_is_told(tmp_path: Path) -> None:
    (tmp_path / "candles").mkdir()
    (tmp_path / "candles" / f"{BTC}.safetensors").write_bytes(b"half")
    with pytest.raises(ConfigError, match="no candles can be read from it"):
        candles_brought(tmp_path, {BTC: None})


def test_operators_choice_keeps_them_away(tmp_path: Path) -> None:
    target = host_target(tmp_path / "host")
    (tmp_path / "host" / "runtime.yaml").write_text("runtime: {source: http, url: 'http://127.0.0.1:1/'}\n")
    bring_candles(target, BTC, no_candles, simulated_market=None)
    assert not (tmp_path / "host" / "candles").exists()


@pytest.fixture
def elsewhere(tmp_path: Path) -> DeploymentTarget:
    """A host behind SSH; it has a source of its own."""
    key = tmp_path / "key"
    section = SshTargetSection.model_validate(
        {"kind": "ssh", "host": "h", "user": "u", "key_file": key, "known_hosts": key, "folder": "/srv/crpbot"}
    )
    return replace(host_target(tmp_path / "host"), section=section)


def test_other_targets_have_candles_of_their_own(tmp_path: Path, elsewhere: DeploymentTarget) -> None:
    for target in (FolderTarget(tmp_path / "folder", keep=2), elsewhere):
        bring_candles(target, BTC, no_candles, simulated_market=None)
    assert not list(tmp_path.rglob("candles"))


# the section `signals`

SMALL = SignalsSection(account_balance=500.0, risk_per_trade=0.001)


def test_runtime_of_this_machine_has_the_trainers_signals_at_each_deployment(tmp_path: Path) -> None:
    folder = tmp_path / "host"
    target = host_target(folder)
    for section in (SMALL, SignalsSection(min_confidence=0.7), SignalsSection()):
        bring_signals_section(target, section)
        assert read_runtime_config(folder) == RuntimeConfig(signals=section)
    bring_candles(target, BTC, lambda: CANDLES, simulated_market=None)
    assert (folder / "candles" / f"{BTC}.safetensors").exists(), "a file of the deployment's own ends nothing"


def test_file_without_the_first_line_is_the_operators(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    target, path = host_target(tmp_path / "host"), tmp_path / "host" / "runtime.yaml"
    bring_signals_section(target, SMALL)
    own = path.read_text().partition("\n")[2]
    path.write_text(own)
    bring_signals_section(target, SignalsSection())
    assert caplog.messages == [], "nothing was asked for"
    bring_signals_section(target, SignalsSection(max_leverage=2))
    bring_candles(target, BTC, no_candles, simulated_market=None)
    assert path.read_text() == own
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "target host: its runtime has a runtime.yaml of its own" in caplog.text


def test_signals_that_another_host_does_not_read_are_said(
    tmp_path: Path, elsewhere: DeploymentTarget, caplog: pytest.LogCaptureFixture
) -> None:
    for target in (FolderTarget(tmp_path / "folder", keep=2), elsewhere):
        bring_signals_section(target, SignalsSection())
        assert caplog.messages == []
        bring_signals_section(target, SMALL)
        assert "so the section `signals` of this configuration changes nothing there" in caplog.text
        caplog.clear()
    assert not list(tmp_path.rglob("runtime.yaml"))


# what it said


def test_what_was_said_is_of_the_folder_that_was_deployed_to(tmp_path: Path) -> None:
    """Whatever the target's name; another runtime in the home, say of an earlier configuration, is not asked."""
    host, stale = TestHost(tmp_path / "elsewhere"), TestHost(tmp_path / "home" / "host")
    for each in (host, stale):
        (each.folder / "current" / BTC).symlink_to("0" * 64)
        subprocess.run(each.service.restart, check=True)
    (stale.folder / "signals.jsonl").write_text("")
    section = load_config(None, at_host(host, "local")).deployment
    (line,) = spoken_on_this_machine(section, [BTC, "ETH-USD"], home=tmp_path / "home")
    assert line == f"{BTC}  5 bars, 0 signals; silent: never"
    (host.folder / "signals.jsonl").write_text("")
    assert spoken_on_this_machine(section, [BTC], home=tmp_path / "home")[1:] == [
        f"signals: {host.folder}/signals.jsonl"
    ]
    assert spoken_on_this_machine(section, [], home=tmp_path / "home") == []


def test_embedded_runtime_lies_in_the_home_and_other_kinds_say_nothing_here(tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "signals.jsonl").write_text("")
    embedded = load_config(None).deployment
    assert spoken_on_this_machine(embedded, [BTC], home=tmp_path) == [f"signals: {tmp_path}/host/signals.jsonl"]
    named = f"deployment.targets.local={{kind: folder, folder: {tmp_path / 'host'}}}"
    for settings in ((named,), ("deployment.target=null",), in_folder(tmp_path / "host")):
        assert spoken_on_this_machine(load_config(None, settings).deployment, [BTC], home=tmp_path) == []
