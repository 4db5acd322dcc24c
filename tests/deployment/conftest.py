"""One trading host for each process of pytest, and a desk that deploys to it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment.desk import Candidates, Desk, make_candidates
from tests.deployment.exchange import Exchange
from tests.deployment.trading_host import TradingHost
from tests.sshd import Sshd, need_sshd


@pytest.fixture(scope="session")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Candidates:
    folder = tmp_path_factory.mktemp("candidates")
    return make_candidates(folder / "home", folder)


@pytest.fixture(scope="session")
def one_host() -> Iterator[TradingHost]:
    """sshd, supervisord and exchange; they end with the session."""
    need_sshd()
    with tempfile.TemporaryDirectory(prefix="crpbot-host-") as scratch:  # short: a Unix socket lies there
        folder = Path(scratch)
        with Exchange() as exchange, Sshd(folder) as sshd:
            host = TradingHost(folder, sshd, exchange)
            with host.supervisor:
                yield host


@pytest.fixture
def host(one_host: TradingHost, candidates: Candidates) -> TradingHost:
    """It serves the champions of three symbols, as if nothing had been before."""
    one_host.stand(candidates.a)
    return one_host


@pytest.fixture
def desk(host: TradingHost, candidates: Candidates, tmp_path: Path) -> Desk:
    return Desk.over(tmp_path / "home", candidates, host.section())
