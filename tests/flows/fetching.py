"""`crpbot fetch` against the local exchange, as a process of its own or in this one, and a look at its archive."""

import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from models_lib.candles.archive.archive import CandleArchive
from models_lib.candles.archive.places import LocalPlace
from tests.exchange.local_exchange import LocalExchange
from tests.flows.running import ROOT, environment

QUICK = ("exchange.requests_per_second=1000", "exchange.request_timeout_seconds=3")
"""An exchange of this machine needs no mercy."""


def settings_of(exchange: LocalExchange, wire: str, *more: str) -> list[str]:
    """Options that lead to the local exchange, which speaks as `wire` does."""
    names = (f"exchange.name={wire}", f"exchange.base_url={exchange.url}", *QUICK, *more)
    return [word for name in names for word in ("--set", name)]


def archive_of(home: Path, wire: str) -> CandleArchive:
    """What a fetch into this home keeps."""
    return CandleArchive(LocalPlace(home / "candles" / wire), home / "candles" / "staging")


@contextlib.contextmanager
def fetching(home: Path, words: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    """A fetch at work; it is killed at the end of the body, where it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "fetch", *words],
        cwd=ROOT,
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_pages(process: "subprocess.Popen[str]", exchange: LocalExchange, num_pages: int) -> None:
    """Returns when the exchange was asked for so many pages in all."""
    while len(exchange.requests.of()) < num_pages:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def kill_after(home: Path, words: Sequence[str], exchange: LocalExchange, num_pages: int, draw: random.Random) -> None:
    """A fetch that is killed at a moment somewhere after so many pages in all."""
    with fetching(home, words) as process:
        wait_for_pages(process, exchange, num_pages)
        time.sleep(draw.uniform(0.0, 0.1))  # nothing is waited for: the moment is to be any one
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, process.communicate()[1]
