"""A process of a run's own cluster: it tells the library's progress on stderr, and can be told to stop.

What does not belong here: making the cluster (task_runners.py).
"""

import contextlib

from flows.console import lines_on_stderr
from models_lib.backends import end_trainings
from models_lib.interruption import request_stop

_for_its_life = contextlib.ExitStack()


def dask_setup(_worker: object) -> None:
    """Dask calls this in each of its processes when it starts."""
    _for_its_life.enter_context(lines_on_stderr())


def stop_work() -> None:
    """The trainings of this process end, and no further step begins in it."""
    request_stop()
    end_trainings()
