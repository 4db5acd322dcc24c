"""Which runs are at work: each holds the lock of its folder, and the kernel lets go of it when the run ends, however.

A run folder without a held lock is finished, or what a crash left. Looking never gets in the way of a run for long: it
shares the lock for a moment, and a run that starts in that moment waits.

What does not belong here: refusing a second run (the flows) and removing old ones (retention.py).
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

RUN_LOCK = "run.lock"


@contextlib.contextmanager
def marked_as_running(folder: Path) -> Iterator[None]:
    """Holds the run folder's lock while the body works; the lock's file tells by its time when it began."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / RUN_LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_running(folder: Path) -> bool:
    """Whether some process holds the run folder's lock."""
    try:
        with (folder / RUN_LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
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
