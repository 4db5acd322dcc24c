"""A process of a run's own cluster: it tells the library's progress on stderr, and can be told to stop.

What does not belong here: making the cluster (task_runners.py).
"""

import contextlib
import logging
import signal

from flows.console import lines_on_stderr
from models_lib.backends import end_trainings
from models_lib.interruption import request_stop

_for_its_life = contextlib.ExitStack()


def dask_setup(_worker: object) -> None:
    """Dask calls this in each of its processes when it starts, in the main thread."""
    # Ctrl-C in a terminal reaches every process; the run itself decides, and tells the others by `stop_work`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    _for_its_life.enter_context(lines_on_stderr())


def stop_work() -> None:
    """The trainings of this process end, and no further step begins in it."""
    request_stop()
    end_trainings()
