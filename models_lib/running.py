"""Which runs are at work: each shares the lock of its folder, and the kernel lets go of it when the run ends, however.

The processes of one run share it, on a work pool too. A run folder whose lock nobody shares is finished, or what a crash
left. Looking takes the lock alone for a moment, and a process that begins in that moment waits for its end.

What does not belong here: refusing a second retrain (models_lib.steps.admission) and removing old runs (retention.py).
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

RUN_LOCK = "run.lock"


@contextlib.contextmanager
def marked_as_running(folder: Path) -> Iterator[None]:
    """Shares the run folder's lock while the body works; the lock's file tells by its time when the first began."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / RUN_LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def is_running(folder: Path) -> bool:
    """Whether some process shares the run folder's lock."""
    try:
        with (folder / RUN_LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def run_folders(home: Path) -> tuple[Path, ...]:
    """Every run folder of the home, the newest first: their names begin with the time of their start."""
    try:
        found = [path for path in (home / "runs").iterdir() if not path.name.startswith(".") and path.is_dir()]
    except FileNotFoundError:
        return ()
    return tuple(sorted(found, key=lambda path: path.name, reverse=True))


def running_runs(home: Path) -> tuple[Path, ...]:
    """The folders of the runs that are at work, the newest first."""
    return tuple(folder for folder in run_folders(home) if is_running(folder))
