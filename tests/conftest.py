"""Fixtures that every room of the tests may use."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer

from tests.aws.cloud import Cloud
from tests.aws.weed import Weed, need_weed
from tests.balance import Balance, turn
from tests.exchange.local_exchange import LocalExchange
from tests.exchange.sample_bars import made_up_bars
from tests.sshd import Sshd, need_sshd

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for tests that import ONNX Runtime themselves, as others would

gc.disable()  # until everything is collected: the modules of 7,000 tests are looked through for garbage in vain


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Balance | None:
    """Which worker takes what."""
    return Balance(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first; those that share a worker stay together, in their order."""

    def when(item: pytest.Item) -> int:
        mark = item.get_closest_marker("xdist_group")
        return turn(item.nodeid.partition("::")[0], mark.args[0] if mark else None)

    items.sort(key=when)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What was collected lives as long as the process: no later search for garbage looks at it again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def real_candles() -> Path:
    """The folder of real candles named by CRPBOT_TEST_CANDLES; the test is skipped, loudly, without it."""
    folder = os.environ.get("CRPBOT_TEST_CANDLES")
    if not folder:
        pytest.skip("needs real candles: set CRPBOT_TEST_CANDLES to a folder with perp-50d/ and spot-2y/")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"CRPBOT_TEST_CANDLES={folder} is not a folder")
    return path


@pytest.fixture
def exchange_server() -> Iterator[LocalExchange]:
    """An exchange with two days of two made-up markets, each quoted in USD and USDT; for others make a LocalExchange."""
    bitcoin, ether = made_up_bars(2 * 1440), made_up_bars(2 * 1440, seed=2, price=3_000.0)
    markets = {"BTC-USD": bitcoin, "BTC-USDT": bitcoin, "ETH-USD": ether, "ETH-USDT": ether}
    with LocalExchange(markets) as exchange:
        yield exchange


@pytest.fixture(scope="session")
def cloud_server(weed: Weed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A stand-in of AWS beside the S3 server; tests take `cloud`."""
    with Cloud(weed, tmp_path_factory.mktemp("cloud") / "home") as server:
        yield server


@pytest.fixture
def cloud(cloud_server: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """The stand-in of AWS as in the beginning; the environment leads to it. Buckets: `cloud.with_bucket()`."""
    cloud_server.reset()
    cloud_server.use(monkeypatch)
    yield cloud_server
    cloud_server.reset()


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A real SSH server of this machine, for this user; the test is skipped, loudly, without one."""
    need_sshd()
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    """A real S3 server of this machine; the test is skipped, loudly, without one."""
    need_weed()
    with Weed(tmp_path_factory.mktemp("weed") / "home") as server:
        yield server


@pytest.fixture
def bucket(weed: Weed, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a new, empty bucket; the environment leads to its server."""
    weed.use(monkeypatch)
    return weed.fresh_bucket()
