"""A fork of this process that is killed (SIGKILL) at its first, second, third ... step, as often as a test likes.

A step is the start or the end of a call into the operating system that can change something: write, fsync, rename, link,
truncate, mkdir, lock, remove. The interpreter's profile hook counts them, so the product needs no hooks of its own. The
process that forks must have one thread only.
"""

import os
import signal
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

STEPS = frozenset(
    {
        "write",
        "fsync",
        "replace",
        "rename",
        "truncate",
        "ftruncate",
        "mkdir",
        "flock",
        "unlink",
        "rmdir",
        "__exit__",
        "close",
        "symlink",
        "sendfile",
        "utime",
    }
)

NEVER = sys.maxsize
"""A step that no act comes to: something else kills it, or nothing."""


def killed_at(step: int, act: Callable[[], object]) -> bool:
    """Whether a fork that acts was killed at that step; False when it came to its end first."""
    pid = os.fork()
    if pid == 0:
        _die_at(step)
        act()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        return True
    assert os.WEXITSTATUS(status) == 0, status
    return False


def _die_at(step: int) -> None:
    seen = 0

    def hook(frame: types.FrameType, event: str, function: Any) -> None:
        nonlocal seen
        if event in ("c_call", "c_return") and getattr(function, "__name__", "") in STEPS:
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(hook)


def killed_at_each(
    every: int, act: Callable[[int], object], *, before: Callable[[int], object] = lambda step: None
) -> Iterator[tuple[int, bool]]:
    """Kills `act` at step 1, 1 + every, ... until it comes through; after each try yields the step and whether it was.

    Args:
        every: distance between two steps.
        act: what is killed; it is given the step.
        before: called in this process before each try.
    """
    step, killed = 1, True
    while killed:
        before(step)
        killed = killed_at(step, lambda step=step: act(step))
        yield step, killed
        step += every
