"""Bundles of two symbols, and a host that runs the first of each."""

from pathlib import Path

import pytest

from tests.bundles import write_judged
from tests.hosts import TestHost

SYMBOLS = ("BTC-USD", "ETH-USD")


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Symbol -> three bundles in folders that are named by their hashes."""
    folder = tmp_path_factory.mktemp("bundles")
    made: dict[str, list[Path]] = {}
    for symbol in SYMBOLS:
        for seed in (1, 2, 3):
            fresh = folder / f"{symbol}-{seed}"
            bundle = write_judged(fresh, symbol=symbol, seed=seed)
            made.setdefault(symbol, []).append(fresh.rename(folder / bundle))
    return made


@pytest.fixture
def host(tmp_path: Path, bundles: dict[str, list[Path]]) -> TestHost:
    host = TestHost(tmp_path / "host")
    outcome = host.deploy({symbol: bundles[symbol][0] for symbol in SYMBOLS})
    assert [fate.outcome for fate in outcome.fates] == ["deployed", "deployed"], outcome
    return host
