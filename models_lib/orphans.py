"""Processes and their parents: a child that cannot outlive its parent, and a parent that keeps sight of grandchildren.

`python -m models_lib.orphans PARENT COMMAND...` becomes COMMAND, which then ends when PARENT ends (Linux).

What does not belong here: starting and ending children.
"""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

_SIGNAL_ON_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of prctl(2)
_ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


def die_with_parent(parent: int) -> None:
    """Asks the kernel to end this process when its parent ends, also when that one is killed (Linux only).

    Args:
        parent: process id of the parent that started this process; if it ended already, this process ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SIGNAL_ON_PARENTS_DEATH, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(1)


def adopt_orphans() -> None:
    """From now on a descendant whose parent ended becomes a child of this process, not of init (Linux only).

    This process must then wait for such children, or they stay as zombies until it ends.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_ADOPT_ORPHANS, 1)


def descendants(ancestor: int) -> dict[int, int]:
    """Parent of every living descendant of a process, by process id; ended ones that nobody waited for are left out.

    It reads /proc, so it is empty where there is none.
    """
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # "pid (name) state parent ...": the name may hold blanks and brackets
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in {"Z", "X"}:
                parents[int(stat.parent.name)] = int(parent)
    family = {ancestor}
    while fresh := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= fresh
    return {pid: parents[pid] for pid in family if pid != ancestor}


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  no shell: the command of our own parent
