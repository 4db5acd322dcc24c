"""Whether a retrain may begin now: one scheduled or triggered retrain at a time in a home, and none that is too late.

What does not belong here: `crpbot run`, which a person starts knowingly; two of those in one home are sorted out by the
locks of the steps and by the registry.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

_LOCK_NAME = "retrain.lock"
_DOOR_NAME = "retrain.door"
"""Held for a moment by whoever tries the lock or looks at it: a look must not be what refuses a retrain."""


@contextlib.contextmanager
def sole_retrain(home: Path, name: str, *, wait: bool) -> Iterator[str | None]:
    """Holds the home's retrain lock during the body; yields None, or who holds it when it could not be had.

    The lock goes with the process, however that ends.

    Args:
        home: the state folder.
        name: of this retrain, for the one that is refused because of it.
        wait: for the other to end, instead of being refused.
    """
    home.mkdir(parents=True, exist_ok=True)
    with _opened(home / _LOCK_NAME) as lock:
        with _door(home):
            admitted = _had(lock, fcntl.LOCK_EX)
        if not admitted and wait:
            fcntl.flock(lock, fcntl.LOCK_EX)
        elif not admitted:
            yield lock.read().decode(errors="replace").strip() or "another process"
            return
        lock.truncate(0)
        lock.write(name.encode())
        yield None


def running_retrain(home: Path) -> str | None:
    """The name of the retrain that holds the lock now; None when none does."""
    try:
        with (home / _DOOR_NAME).open("rb") as door, (home / _LOCK_NAME).open("rb") as lock:
            fcntl.flock(door, fcntl.LOCK_EX)
            if _had(lock, fcntl.LOCK_SH):
                return None
            return lock.read().decode(errors="replace").strip() or "another process"
    except FileNotFoundError:  # nothing ever retrained here; a look writes nothing
        return None


@contextlib.contextmanager
def _door(home: Path) -> Iterator[None]:
    with _opened(home / _DOOR_NAME) as door:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield


def _opened(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)


def _had(lock: IO[bytes], how: int) -> bool:
    """Whether the lock could be had at once."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def too_late(scheduled: datetime, now: datetime, *, limit_hours: float) -> str | None:
    """Why a run that was scheduled for `scheduled` is skipped; None when it may begin."""
    late = now - scheduled
    if late <= timedelta(hours=limit_hours):
        return None
    return (
        f"scheduled for {scheduled:%Y-%m-%dT%H:%MZ}, it could start only {late.total_seconds() / 3600:.1f} hours later "
        f"(at most {limit_hours:g}: orchestration.late_limit_hours). The next scheduled run takes its place."
    )
