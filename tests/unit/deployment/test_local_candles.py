"""Candles for the runtime of this machine: as its replay reads them, and only where nobody chose others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models_lib.candles.schema import VALUE_COLUMNS, epoch_ms
from models_lib.config.targets import SshTargetSection
from models_lib.deployment import DeploymentTarget, FolderTarget
from models_lib.deployment.local_candles import bring_local_candles
from models_lib.features import SERVING_BARS
from models_lib.runtime.newest import newest_candles
from models_lib.runtime.sources import FolderSource, read_rows
from tests.bundles import walk_candles
from tests.hosts import host_target, no_candles

BTC = "BTC-USD"
CANDLES = walk_candles()
MINUTES = 60


def test_newest_candles_are_read_by_the_runtime(tmp_path: Path) -> None:
    target = host_target(tmp_path / "host", rehearsal_minutes=MINUTES)
    bring_local_candles(target, BTC, lambda: CANDLES)
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
        bring_local_candles(target, BTC, lambda rows=rows: CANDLES.head(rows))
    assert read_rows(tmp_path / "host" / "candles", BTC).stamps[-1] == epoch_ms(CANDLES)[-1]
    assert [path.name for path in (tmp_path / "host" / "candles").iterdir()] == [f"{BTC}.safetensors"]


def test_operators_choice_keeps_them_away(tmp_path: Path) -> None:
    target = host_target(tmp_path / "host")
    (tmp_path / "host" / "runtime.yaml").write_text("runtime: {source: http, url: 'http://127.0.0.1:1/'}\n")
    bring_local_candles(target, BTC, no_candles)
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
        bring_local_candles(target, BTC, no_candles)
    assert not list(tmp_path.rglob("candles"))
