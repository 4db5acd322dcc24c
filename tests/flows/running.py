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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from models_lib.bundle import verify_hashes
from models_lib.files import sha256_file

ROOT = Path(__file__).parents[2]
LONGEST_SECONDS = 150.0
"""A run that says nothing for so long is killed, and its test fails."""


def environment(home: Path) -> dict[str, str]:
    """Of a real run: no server of the test session's, one thread."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return ours | {"CRPBOT_HOME": str(home), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def crpbot(home: Path, *words: str, largest_file: int | None = None) -> subprocess.CompletedProcess[str]:
    """One command, run to its end.

    Args:
        home: its CRPBOT_HOME.
        words: the command.
        largest_file: bytes; a file that would grow beyond cannot be written, as on a full disk.
    """
    command = [sys.executable, "-m", "flows.cli", *words]
    if largest_file is not None:
        command = ["prlimit", f"--fsize={largest_file}", *command]
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

    def ends(self, seconds: float = 60.0) -> bool:
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


READERS: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_bytes()),
    ".parquet": pq.read_table,
    ".npy": lambda path: np.load(path, allow_pickle=False),
    ".safetensors": load_file,
    ".html": lambda path: path.read_text().rstrip().index("</html>"),
}


def check_every_file_is_whole(home: Path) -> int:
    """Opens every file of runs, cache, journal and store that carries a final name; returns how many.

    The run folders' links are not followed: what they name lies in the cache.
    """
    count = 0
    for room in ("runs", "cache", "journal"):
        for folder, _, names in os.walk(home / room, followlinks=False):
            for path in (Path(folder) / name for name in names):
                if path.suffix in READERS and not path.name.startswith("."):
                    READERS[path.suffix](path)
                    count += 1
    for result in (home / "cache" / "steps").glob("*/*/result.json"):
        check_result(result)
        count += 1
    for bundle in (home / "store" / "bundles").glob("*"):
        assert verify_hashes(bundle) == bundle.name
        count += 1
    return count


def check_result(result: Path) -> None:
    """Every file that a finished step's answer names is what it was."""

    def check(value: Any) -> None:
        match value:
            case {"path": str(path), "sha256": str(digest)}:
                assert sha256_file(result.parent / path) == digest, path
            case {"folder": str(folder), "bundle": str(digest)}:
                assert verify_hashes(result.parent / folder) == digest
            case dict():
                for part in value.values():
                    check(part)

    check(json.loads(result.read_bytes())["answer"])


def wait_for(
    path: Path, pattern: str, *, known: frozenset[Path] = frozenset(), seconds: float = LONGEST_SECONDS
) -> Path:
    """The first file below `path` that fits the pattern and is not known, as soon as it is there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := next((one for one in path.rglob(pattern) if one not in known), None):
            return found
        time.sleep(0.005)  # between two looks
    raise AssertionError(f"no {pattern} below {path} after {seconds} seconds")
