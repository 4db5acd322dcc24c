"""One retrain at a time in a home, and none that is too late."""

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models_lib.steps.admission import running_retrain, sole_retrain, too_late
from tests.unit.steps.needs_the_same import until_it_waits

HOLDER = """
import sys
from pathlib import Path
from models_lib.steps.admission import sole_retrain
with sole_retrain(Path(sys.argv[1]), sys.argv[2], wait=sys.argv[3] == "wait") as other:
    print(other, flush=True)
    sys.stdin.readline()
"""


def holder(home: Path, name: str, how: str = "refuse") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home), name, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_second_retrain_is_refused_and_told_who_works(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert running_retrain(home) is None
    with sole_retrain(home, "a-much-longer-name-of-an-earlier-run", wait=False):
        pass
    with sole_retrain(home, "first", wait=False) as other:
        assert other is None
        assert running_retrain(home) == "first"
        with holder(home, "second") as second:
            assert said(second) == "first"
            second.communicate("", timeout=30)
    assert running_retrain(home) is None


def test_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    with holder(tmp_path, "killed") as first:
        assert said(first) == "None"
        assert running_retrain(tmp_path) == "killed"
        first.kill()
        first.wait()
    assert running_retrain(tmp_path) is None
    with sole_retrain(tmp_path, "next", wait=False) as other:
        assert other is None


def test_retrain_that_goes_on_waits_for_its_turn(tmp_path: Path) -> None:
    with holder(tmp_path, "first") as first:
        assert said(first) == "None"
        with holder(tmp_path, "resumed", "wait") as resumed:
            until_it_waits(resumed.pid)
            first.communicate("", timeout=30)
            assert said(resumed) == "None"
            assert running_retrain(tmp_path) == "resumed"
            resumed.communicate("", timeout=30)


def test_somebody_who_looks_never_causes_a_refusal(tmp_path: Path) -> None:
    """A watch that looks every ten minutes looks at two o'clock, too, when the nightly retrain begins."""
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            running_retrain(tmp_path)

    watch = threading.Thread(target=look)
    watch.start()
    try:
        refused = 0
        for _ in range(300):
            with sole_retrain(tmp_path, "nightly", wait=False) as other:
                refused += other is not None
    finally:
        stop.set()
        watch.join()
    assert refused == 0


@pytest.mark.parametrize(
    ("late", "skipped"),
    [(timedelta(days=-30), False), (timedelta(0), False), (timedelta(hours=23), False), (timedelta(hours=23.1), True)],
)
def test_run_that_could_start_only_late_is_skipped_and_a_clock_that_was_set_back_skips_none(
    late: timedelta, skipped: bool
) -> None:
    scheduled = datetime(2026, 1, 15, 2, tzinfo=UTC)
    why = too_late(scheduled, scheduled + late, limit_hours=23.0)
    assert (why is not None) == skipped
    if why:
        assert "2026-01-15T02:00Z, it could start only 23.1 hours later (at most 23: orchestration.late_limit" in why
