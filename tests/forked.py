"""What a function prints in a process of its own with one thread: a fork, so that it need not import everything anew.

A process that kills forks of itself (tests.killed) must have one thread, and one that limits itself must not be the test's.
The process that they are forked from has imported what most of them take, torch among it, and has done nothing with it.

What does not belong here: programs that a test starts as a person or a service does, by `python -m`.
"""

import contextlib
import io
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch

ON_ONE_WORKER = pytest.mark.xdist_group("forked")
"""For tests that fork: one process that has imported everything is enough for all of them."""
_FORKS = multiprocessing.get_context("forkserver")
_IMPORTED = ["models_lib.bundle", "models_lib.registry", "tests.judged", "torch"]


class Forked:
    """One at work from now on.

    Args:
        act: a function of a module.
        given: its arguments, which can be pickled.
    """

    def __init__(self, act: Callable[..., object], *given: Any) -> None:
        _FORKS.set_forkserver_preload(_IMPORTED)
        self._said, saying = _FORKS.Pipe(duplex=False)
        self._process = _FORKS.Process(target=_act, args=(saying, act, given), daemon=True)
        self._process.start()
        saying.close()

    def answer(self) -> list[str]:
        """The lines that it printed, as soon as it is over; it must have ended well."""
        try:
            said: str = self._said.recv()
        except EOFError:
            said = ""
        self._process.join()
        assert self._process.exitcode == 0, f"ended with status {self._process.exitcode}, see standard error"
        return said.splitlines()


def printed(act: Callable[..., object], *given: Any) -> list[str]:
    """The lines that `act` prints in a process of its own."""
    return Forked(act, *given).answer()


def barrier(parties: int) -> Any:
    """A barrier that can be given to so many forks."""
    return _FORKS.Barrier(parties)


def _act(saying: Connection, act: Callable[..., object], given: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        act(*given)
    saying.send(said.getvalue())
