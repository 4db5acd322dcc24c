"""What every deployment target must do: a whole release is current, or the one before still is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from models_lib.deployment import DeploymentTarget, FolderTarget
from models_lib.deployment.release import Release
from models_lib.errors import DeployError
from tests.bundles import T0
from tests.hosts import host_target
from tests.judged import judged


def folder_target(folder: Path) -> DeploymentTarget:
    return FolderTarget(folder, keep=5)


TARGETS: dict[str, Callable[[Path], DeploymentTarget]] = {"folder": folder_target, "host": host_target}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


@pytest.fixture(params=["folder", pytest.param("host", marks=pytest.mark.long)])
def target(request: pytest.FixtureRequest, place: Path) -> DeploymentTarget:
    return TARGETS[request.param](place)


@pytest.fixture
def bundles(tmp_path: Path) -> dict[str, Path]:
    """Bundle folders of a store, each named by its hash."""
    named = {}
    for name in "ABE":
        folder = tmp_path / name
        named[name] = folder.rename(tmp_path / judged(name, folder))
    return named


def damage(bundle: Path) -> None:
    model = bundle / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1])


def released(place: Path, bundle: Path) -> Path:
    """The target's own copy."""
    (found,) = place.rglob(bundle.name)
    return found


def test_nothing_is_current_at_first(target: DeploymentTarget) -> None:
    assert target.current("BTC-USD") is None
    target.put_back("BTC-USD", None)
    assert target.current("BTC-USD") is None


def test_deployed_bundle_is_current_also_the_second_time(target: DeploymentTarget, bundles: dict[str, Path]) -> None:
    for _ in range(2):
        assert target.deploy(Release("BTC-USD", bundles["A"], T0)) == bundles["A"].name
        assert target.current("BTC-USD") == bundles["A"].name


def test_earlier_release_can_be_put_back_also_twice(target: DeploymentTarget, bundles: dict[str, Path]) -> None:
    target.deploy(Release("BTC-USD", bundles["A"], T0))
    target.deploy(Release("BTC-USD", bundles["B"], T0))
    for _ in range(2):
        target.put_back("BTC-USD", bundles["A"].name)
        assert target.current("BTC-USD") == bundles["A"].name
    target.deploy(Release("BTC-USD", bundles["B"], T0))
    assert target.current("BTC-USD") == bundles["B"].name


def test_first_release_can_be_taken_back(target: DeploymentTarget, bundles: dict[str, Path]) -> None:
    target.deploy(Release("BTC-USD", bundles["A"], T0))
    for _ in range(2):
        target.put_back("BTC-USD", None)
        assert target.current("BTC-USD") is None


def test_symbols_do_not_touch_each_other(target: DeploymentTarget, bundles: dict[str, Path]) -> None:
    target.deploy(Release("BTC-USD", bundles["A"], T0))
    target.deploy(Release("ETH-USD", bundles["E"], T0))
    target.put_back("ETH-USD", None)
    assert (target.current("BTC-USD"), target.current("ETH-USD")) == (bundles["A"].name, None)


def test_damaged_bundle_is_refused_and_the_release_stays(target: DeploymentTarget, bundles: dict[str, Path]) -> None:
    target.deploy(Release("BTC-USD", bundles["A"], T0))
    damage(bundles["B"])
    with pytest.raises(DeployError):
        target.deploy(Release("BTC-USD", bundles["B"], T0))
    assert target.current("BTC-USD") == bundles["A"].name


def test_bundle_that_is_not_there_is_refused(
    target: DeploymentTarget, bundles: dict[str, Path], tmp_path: Path
) -> None:
    target.deploy(Release("BTC-USD", bundles["A"], T0))
    with pytest.raises(DeployError):
        target.deploy(Release("BTC-USD", tmp_path / ("f" * 64), T0))
    assert target.current("BTC-USD") == bundles["A"].name


def test_release_that_is_not_there_is_not_put_back(target: DeploymentTarget, bundles: dict[str, Path]) -> None:
    target.deploy(Release("BTC-USD", bundles["A"], T0))
    with pytest.raises(DeployError):
        target.put_back("BTC-USD", "f" * 64)
    assert target.current("BTC-USD") == bundles["A"].name


def test_damaged_release_is_not_put_back_and_is_mended_by_a_deployment(
    target: DeploymentTarget, place: Path, bundles: dict[str, Path]
) -> None:
    target.deploy(Release("BTC-USD", bundles["A"], T0))
    target.deploy(Release("BTC-USD", bundles["B"], T0))
    damage(released(place, bundles["A"]))
    with pytest.raises(DeployError):
        target.put_back("BTC-USD", bundles["A"].name)
    assert target.current("BTC-USD") == bundles["B"].name
    target.deploy(Release("BTC-USD", bundles["A"], T0))
    target.deploy(Release("BTC-USD", bundles["B"], T0))
    target.put_back("BTC-USD", bundles["A"].name)
    assert target.current("BTC-USD") == bundles["A"].name
