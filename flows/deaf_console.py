"""A run goes on when nobody reads its lines any more: its console is a pipe to the worker, which may be killed.

Prefect prints with rich, which ends a process at the first line that nobody reads. That is right for a command in a
pipeline and wrong here: the lines are kept by Prefect's API as well, and the run is about to promote a model.

What does not belong here: what is logged, and the console of `crpbot run` (console.py).
"""

import logging
import os
from collections.abc import Iterator

from rich.console import Console


def outlive_the_reader() -> None:
    """From now on lines that nobody reads are lost instead of ending this process."""
    for console in _consoles():
        console.on_broken_pipe = _go_deaf  # type: ignore[method-assign]  # rich's own way to decide otherwise


def _go_deaf() -> None:
    """Standard output and error lead to nowhere from now on, so that whatever else prints there fails no more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _consoles() -> Iterator[Console]:
    """Those of Prefect's log handlers."""
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            console = getattr(handler, "console", None)
            if isinstance(console, Console):
                yield console
