"""Bundles that the tests of the runtime share."""

from pathlib import Path

import pytest

from tests.bundles import write_judged
from tests.unit.runtime.host_folders import Host


def _written(tmp: Path, **facts: object) -> Path:
    bundle = write_judged(tmp / "bundle", **facts)
    return (tmp / "bundle").rename(tmp / bundle)


@pytest.fixture(scope="session")
def btc_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judged bundle of BTC-USD, in a folder named by its hash."""
    return _written(tmp_path_factory.mktemp("btc"))


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one of BTC-USD."""
    return _written(tmp_path_factory.mktemp("other"), seed=2)


@pytest.fixture(scope="session")
def eth_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of ETH-USD."""
    return _written(tmp_path_factory.mktemp("eth"), symbol="ETH-USD")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """An empty host folder."""
    return Host(tmp_path)
