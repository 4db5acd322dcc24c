"""A real `crpbot run` that a test watches, interrupts and kills, and a look at what it leaves."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from models_lib.bundle import verify_hashes

ROOT = Path(__file__).parents[2]
LONGEST_SECONDS = 150.0
"""A run that says nothing for so long is killed, and its test fails."""


def environment(home: Path) -> dict[str, str]:
    """Of a real run: no server of the test session's, one thread."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return ours | {"CRPBOT_HOME": str(home), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def crpbot(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """One command, run to its end."""
    command = [sys.executable, "-m", "flows.cli", *words]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * LONGEST_SECONDS,
    )


class RunningRun:
    """A run in a session of its own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.said: list[str] = []

    def until(self, mark: str) -> None:
        """Reads its stderr until a line holds `mark`."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if mark in line:
                return
        raise AssertionError(f"the run ended before it said {mark!r}: {''.join(self.said)}")

    def children(self) -> list["Child"]:
        """Its child processes of the moment."""
        return [Child(pid) for pid in _children_of(self.process.pid)]

    def end(self) -> tuple[int, str]:
        """Waits for its end; exit status and the rest of its stderr."""
        assert self.process.stderr is not None
        rest = self.process.stderr.read()
        return self.process.wait(), rest


class Child:
    """A process that shall be gone soon."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        self._descriptor = os.pidfd_open(pid)

    def ends(self, seconds: float = 10.0) -> bool:
        """Whether it is gone, or goes within the time."""
        try:
            return bool(select.select([self._descriptor], [], [], seconds)[0])
        finally:
            os.close(self._descriptor)


@contextlib.contextmanager
def running(home: Path, *settings: str) -> Iterator[RunningRun]:
    """Starts `crpbot run` for BTC-USD; whatever the test does, nothing of it is left."""
    command = [sys.executable, "-m", "flows.cli", "run", "--symbols", "BTC-USD"]
    for setting in settings:
        command += ["--set", setting]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    guard = threading.Timer(LONGEST_SECONDS, process.kill)
    guard.start()
    try:
        yield RunningRun(process)
    finally:
        guard.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def _children_of(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            after_name = stat.read_text().rpartition(")")[2].split()
            if int(after_name[1]) == parent:
                found.append(int(stat.parent.name))
    return found


@dataclass(frozen=True)
class Standing:
    """Who is champion, byte for byte."""

    pointer: bytes
    ledger: bytes

    @classmethod
    def of(cls, home: Path) -> "Standing":
        return cls((home / "promoted" / "BTC-USD.json").read_bytes(), (home / "ledger.jsonl").read_bytes())


def history(home: Path) -> list[dict[str, object]]:
    """The entries of a sound ledger, as `crpbot history` gives them."""
    answer = crpbot(home, "history", "--json")
    assert answer.returncode == 0, answer.stderr
    entries: list[dict[str, object]] = json.loads(answer.stdout)["entries"]
    return entries


def check_every_file_is_whole(home: Path) -> int:
    """Opens every file of the runs and the store that carries a final name; returns how many."""
    readers = {
        ".json": lambda path: json.loads(path.read_bytes()),
        ".parquet": pq.read_table,
        ".npy": lambda path: np.load(path, allow_pickle=False),
        ".safetensors": load_file,
        ".html": lambda path: path.read_text().rstrip().index("</html>"),
    }
    count = 0
    for path in (home / "runs").rglob("*"):
        if path.suffix in readers and path.is_file():
            readers[path.suffix](path)
            count += 1
    for bundle in (home / "store" / "bundles").iterdir():
        assert verify_hashes(bundle) == bundle.name
        count += 1
    return count


def wait_for(path: Path, pattern: str, *, seconds: float = LONGEST_SECONDS) -> Path:
    """The first file below `path` that fits the pattern, as soon as it is there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := next(iter(path.rglob(pattern)), None):
            return found
        time.sleep(0.005)  # between two looks
    raise AssertionError(f"no {pattern} below {path} after {seconds} seconds")
