"""Bundles of the deployer's side."""

from pathlib import Path

import pytest

from models_lib.deployment.release import Release
from tests.bundles import T0
from tests.judged import CANDIDATES, judged

Releases = dict[str, Release]


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """A, B and C of BTC-USD, E of ETH-USD, as a store has them."""
    folder = tmp_path_factory.mktemp("bundles")
    made = {}
    for name in "ABCE":
        bundle = (folder / name).rename(folder / judged(name, folder / name))
        made[name] = Release(CANDIDATES[name][0], Path(bundle), T0)
    return made
