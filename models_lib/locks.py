"""A lock on a file with a time limit. The kernel frees it when its holder dies, however it dies.

flock itself knows no limit. It waits in a thread of its own, so that nobody looks again and again.

What does not belong here: locks without a limit, which are one call of `fcntl.flock` where they are taken.
"""

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from models_lib.errors import BusyError


@contextlib.contextmanager
def locked(path: Path, *, within_seconds: float, otherwise: str) -> Iterator[None]:
    """Holds the exclusive flock on `path` during the body; the file is made when it is missing, its folder is not.

    Args:
        path: the file.
        within_seconds: how long to wait for another holder.
        otherwise: what is said when that was not enough.

    Raises:
        BusyError: another holder kept it for longer.
        OSError: the file cannot be opened.
    """
    lock = _Lock(path)
    try:
        if not lock.taken(within_seconds):
            raise BusyError(otherwise)
        yield
    finally:
        lock.free()


def is_held(path: Path) -> bool:
    """Whether somebody holds the exclusive flock on `path` now; a file that is missing is held by nobody.

    Raises:
        OSError: the file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class _Lock:
    """One open file. Whoever comes last closes it: the holder, or the thread that got the lock too late."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        self._changing = threading.Lock()
        self._taken = threading.Event()
        self._waiting = False
        self._freed = False

    def taken(self, within_seconds: float) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._waiting = True
            # A daemon: the wait of a thread in flock cannot be ended, and must not keep the process.
            threading.Thread(target=self._wait, name="waits-for-a-lock", daemon=True).start()
            return self._taken.wait(within_seconds)
        return True

    def free(self) -> None:
        with self._changing:
            self._freed = True
            if not self._waiting:
                self._close()

    def _wait(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with self._changing:
            self._waiting = False
            if self._freed:
                self._close()
            else:
                self._taken.set()

    def _close(self) -> None:
        # Closing alone frees it only when the last child that another thread just forked has closed it, too.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
