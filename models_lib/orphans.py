"""A child process that cannot outlive its parent.

What does not belong here: starting and ending children.
"""

import ctypes
import os
import signal
import sys

_SIGNAL_ON_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of prctl(2)
_ADOPT_GRANDCHILDREN = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


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
    """From now on a grandchild whose parent dies becomes a child of this process instead of the system's (Linux only).

    This process must then wait for such children, or they stay as zombies until it ends.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_ADOPT_GRANDCHILDREN, 1)
