"""A child process that cannot outlive its parent.

What does not belong here: starting and ending children.
"""

import ctypes
import os
import signal
import sys

_SIGNAL_ON_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of prctl(2)


def die_with_parent(parent: int) -> None:
    """Asks the kernel to end this process when its parent ends, also when that one is killed (Linux only).

    Args:
        parent: process id of the parent that started this process; if it ended already, this process ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SIGNAL_ON_PARENTS_DEATH, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(1)
