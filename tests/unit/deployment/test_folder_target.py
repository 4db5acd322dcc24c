"""The folder target's own: a link that switches in one step, old releases that go, and folders in which it cannot work."""

import os
from pathlib import Path

import pytest

from models_lib.bundle import load_bundle
from models_lib.config import load_config
from models_lib.deployment import FolderTarget, open_target
from models_lib.deployment.release import Release
from models_lib.errors import DeployError
from tests.bundles import T0
from tests.hosts import in_folder, no_ssh
from tests.judged import judged


@pytest.fixture
def bundles(tmp_path: Path) -> list[Path]:
    """A, B and C of BTC-USD."""
    return [(tmp_path / name).rename(tmp_path / judged(name, tmp_path / name)) for name in "ABC"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "releases-here"


def test_reader_finds_the_whole_bundle_behind_the_link(folder: Path, bundles: list[Path], tmp_path: Path) -> None:
    FolderTarget(folder, keep=5).deploy(Release("BTC-USD", bundles[0], T0))
    moved = folder.rename(tmp_path / "mounted elsewhere")
    behind = (moved / "current" / "BTC-USD").resolve()
    assert load_bundle(behind, symbol="BTC-USD").hash == bundles[0].name


def test_oldest_releases_go_but_never_the_current_one_nor_the_one_before(folder: Path, bundles: list[Path]) -> None:
    target = FolderTarget(folder, keep=2)
    for age, bundle in enumerate(bundles):
        target.deploy(Release("BTC-USD", bundle, T0))
        # The clock was set back by a day in between.
        os.utime(folder / "releases" / "BTC-USD" / bundle.name, (1e9 - 86_400 * age,) * 2)
    assert {path.name for path in (folder / "releases" / "BTC-USD").iterdir()} == {path.name for path in bundles[1:]}
    target.put_back("BTC-USD", bundles[1].name)
    assert target.current("BTC-USD") == bundles[1].name


def test_folder_that_cannot_take_releases_says_what_is_still_current(folder: Path, bundles: list[Path]) -> None:
    target = FolderTarget(folder, keep=5)
    (folder / "releases").mkdir(parents=True)
    (folder / "releases" / "BTC-USD").write_text("a file where a folder must be")
    with pytest.raises(DeployError, match=r"BTC-USD: release .* There is still no release\. Mend the folder"):
        target.deploy(Release("BTC-USD", bundles[0], T0))
    assert target.current("BTC-USD") is None
    (folder / "releases" / "BTC-USD").unlink()
    target.deploy(Release("BTC-USD", bundles[0], T0))
    (folder / "releases" / "BTC-USD").rename(folder / "releases" / "aside")
    (folder / "releases" / "BTC-USD").write_text("again")
    with pytest.raises(DeployError, match=f"Release {bundles[0].name[:12]} is still current"):
        target.deploy(Release("BTC-USD", bundles[1], T0))


def test_release_whose_days_cannot_be_written_does_not_become_current(folder: Path, bundles: list[Path]) -> None:
    target = FolderTarget(folder, keep=5)
    target.deploy(Release("BTC-USD", bundles[0], T0))
    (folder / "judged" / "BTC-USD").rename(folder / "judged" / "aside")
    (folder / "judged" / "BTC-USD").write_text("a file where a folder must be")
    with pytest.raises(DeployError, match=f"Release {bundles[0].name[:12]} is still current"):
        target.deploy(Release("BTC-USD", bundles[1], T0))
    assert target.current("BTC-USD") == bundles[0].name


def test_what_is_no_link_is_left_alone(folder: Path, bundles: list[Path]) -> None:
    stranger = folder / "current" / "BTC-USD"
    stranger.mkdir(parents=True)
    with pytest.raises(DeployError, match="is no link to a release"):
        FolderTarget(folder, keep=5).deploy(Release("BTC-USD", bundles[0], T0))
    assert stranger.is_dir()


def test_left_pieces_of_a_killed_deployment_are_no_release_and_go(folder: Path, bundles: list[Path]) -> None:
    target = FolderTarget(folder, keep=5)
    releases = folder / "releases" / "BTC-USD"
    piece = releases / f".{bundles[0].name}.99999999-00000000.partial"
    piece.mkdir(parents=True)
    (piece / "model.safetensors").write_bytes(b"half")
    assert target.current("BTC-USD") is None
    target.deploy(Release("BTC-USD", bundles[0], T0))
    assert [path.name for path in releases.iterdir()] == [bundles[0].name]


def test_configured_target_is_opened_and_none_is_none(folder: Path) -> None:
    section = load_config(None, in_folder(folder)).deployment
    assert open_target(section, None, home=folder, ssh=no_ssh, who="me") is None
    opened = open_target(section, "folder", home=folder, ssh=no_ssh, who="me")
    assert isinstance(opened, FolderTarget)
