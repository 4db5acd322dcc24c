"""Processes that need one and the same result of a step, for the tests of models_lib.steps.finished.

python -m tests.unit.steps.needs_the_same (slow | quick) HOME      works until a line comes on stdin, or at once
python -m tests.unit.steps.needs_the_same kill SCRATCH EVERY       a victim killed at each EVERYth step; see `kills`
"""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models_lib.config import RunConfig
from models_lib.files import write_text
from models_lib.steps.finished import RESULT_NAME, done_once
from models_lib.steps.plan import plan_run
from models_lib.steps.refs import FileRef, Reference
from models_lib.steps.shared_results import NotShared
from tests.killed import killed_at_each


class NoteRef(Reference):
    """One file and a number."""

    note: FileRef
    number: int


def need(home: Path, *, wait: bool, text: str = "note") -> tuple[NoteRef, bool]:
    """The result, and whether this process made it."""
    worked = False

    def work(folder: Path) -> NoteRef:
        nonlocal worked
        worked = True
        if wait:
            print("working", flush=True)
            sys.stdin.readline()
        (folder / "unfinished").write_text("half a file, without a rename")
        write_text(folder / "note.txt", text)
        return NoteRef(note=FileRef.of(folder / "note.txt"), number=1)

    now = datetime(2026, 1, 15, 2, tzinfo=UTC)
    plan = plan_run(RunConfig(), home=home, symbols=("BTC-USD",), who="test", now=now)
    return done_once(plan, "BTC-USD", "note", NoteRef, work, shared=NotShared(), rows=3), worked


def kills(scratch: Path, every: int) -> None:
    """Kills the step at its first, fourth ... call into the operating system; a line says what a new start finds."""
    need(scratch / "warm", wait=False)
    for step, killed in killed_at_each(every, lambda step: need(scratch / f"home-{step}", wait=False)):
        home = scratch / f"home-{step}"
        finished = [path for path in home.rglob(RESULT_NAME) if path.is_file()]
        answer, worked = need(home, wait=False)
        answer.check_files()
        sound = answer.note.checked().read_text() == "note" and len(finished) <= 1
        state = {"killed": killed, "finished": bool(finished), "worked_again": worked, "sound": sound}
        print(json.dumps(state), flush=True)


def answer_in(result: Path) -> dict[str, Any]:
    """The answer of a result file, with its paths made absolute."""
    tree: dict[str, Any] = json.loads(result.read_text())["answer"]
    tree["note"]["path"] = str(result.parent / tree["note"]["path"])
    return tree


def until_it_waits(pid: int, seconds: float = 60.0) -> None:
    """Returns when the process waits for a lock: the kernel lists it so."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        waiting = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
        if any(str(pid) in words for words in waiting):
            return
        time.sleep(0.005)  # between two looks
    raise AssertionError(f"process {pid} did not come to wait for a lock within {seconds} seconds")


if __name__ == "__main__":
    if sys.argv[1] == "kill":
        kills(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        if sys.argv[1] == "quick":
            print("asking", flush=True)
        found, _ = need(Path(sys.argv[2]), wait=sys.argv[1] == "slow")
        print(f"answer {found.number}", flush=True)
