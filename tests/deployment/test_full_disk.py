"""A host whose disk gets full, at each moment of a deployment: it goes on speaking with what it ran, and people are told."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from models_lib.config.targets import SshTargetSection
from models_lib.deployment.host_link import HostLink
from tests.deployment.desk import BTC, Candidates, Desk, Meddling
from tests.deployment.trading_host import TradingHost
from tests.disks import small_disk

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("deployment")]
_DISK_BYTES = 60_000_000


@dataclass(frozen=True)
class Filler:
    """Fills the host's disk, and frees it again."""

    path: Path

    def fill(self, *, leave_bytes: int = 0) -> None:
        piece = 1 << 24
        with self.path.open("ab") as file:
            size = file.tell()
            while piece:
                try:
                    os.posix_fallocate(file.fileno(), size, piece)
                    size += piece
                except OSError:
                    piece //= 2
            file.truncate(size - leave_bytes)

    def free(self) -> None:
        self.path.unlink()


@pytest.fixture
def small_host(one_host: TradingHost, candidates: Candidates) -> Iterator[TradingHost]:
    """The host with a disk of its own."""
    one_host.supervisor.stop()
    shutil.rmtree(one_host.folder, ignore_errors=True)
    with small_disk(one_host.folder, num_bytes=_DISK_BYTES):
        try:
            one_host.stand(candidates.a)
            yield one_host
        finally:
            one_host.supervisor.stop()


@pytest.fixture
def small_desk(small_host: TradingHost, candidates: Candidates, tmp_path: Path) -> Desk:
    return Desk.over(tmp_path / "home", candidates, small_host.section())


def when(moment: str, fill: Callable[[], None]) -> Callable[[SshTargetSection], HostLink]:
    """Opens links on whose way the disk gets full: after a sentence of the host, or after the bundle was brought."""
    asked = []

    def hear(line: str) -> None:
        asked.extend(["asked"] * ('{"state"' in line))
        if moment in line or (moment == "before it is brought" and len(asked) == 2):
            fill()

    def sent(folder: Path) -> None:
        if moment == "after it was brought":
            fill()

    return lambda section: Meddling(section, heard=hear, sent=sent)


def test_release_for_which_there_is_no_room_is_not_brought(
    small_host: TradingHost, small_desk: Desk, candidates: Candidates
) -> None:
    filler = Filler(small_host.folder / "filler")
    filler.fill(leave_bytes=20_000_000)
    told = small_desk.release(candidates.b[BTC])
    assert "Nothing was brought. Make room there" in told.events["failed"]
    small_desk.nothing_moved(candidates.b[BTC].name)
    small_host.speaks_with(candidates.champions())


@pytest.mark.parametrize(
    ("moment", "says"),
    [
        ("before it is brought", "has 0 left for them"),
        ("after it was brought", "No space left on device"),
        ("answers as recorded", "MB are free on the host, and a restart needs 5 MB"),
    ],
)
def test_disk_that_gets_full_leaves_what_ran(
    moment: str, says: str, small_host: TradingHost, small_desk: Desk, candidates: Candidates
) -> None:
    filler, new = Filler(small_host.folder / "filler"), candidates.b[BTC]
    told = small_desk.release(new, ssh=when(moment, filler.fill))
    filler.free()
    assert says in told.events["failed"]
    small_desk.nothing_moved(new.name)
    small_host.speaks_with(candidates.champions())
