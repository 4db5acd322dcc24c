"""What a person sees while a run works: bars in a terminal, plain lines elsewhere, always on stderr.

The library tells its progress through `logging`; records may carry `symbol`, `step`, `done` and `total`. Nothing here
decides anything, and nothing is printed to stdout.
"""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from models_lib.candles.fetching import Progress as FetchProgress

_LIBRARY = "models_lib"
_LINE_SECONDS = 5.0
"""Between two lines about one symbol's fetch."""


class _Lines(logging.Handler):
    """One line a record."""

    def emit(self, record: logging.LogRecord) -> None:
        symbol = getattr(record, "symbol", None)
        print(f"{symbol}: {record.getMessage()}" if symbol else record.getMessage(), file=sys.stderr, flush=True)


class _Bars(logging.Handler):
    """One bar a symbol; warnings stay above the bars as lines. What the library says is text, never markup."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._bars_lock = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        symbol: str | None = getattr(record, "symbol", None)
        if symbol is None or record.levelno >= logging.WARNING:
            said = f"{symbol}: {record.getMessage()}" if symbol else record.getMessage()
            self._progress.console.print(said, markup=False, highlight=False)
            return
        with self._bars_lock:
            if symbol not in self._bars:
                self._bars[symbol] = self._progress.add_task(symbol, total=None, said="")
        self._progress.update(
            self._bars[symbol],
            said=record.getMessage(),
            total=getattr(record, "total", None),
            completed=getattr(record, "done", 0),
        )


@contextlib.contextmanager
def lines_on_stderr() -> Iterator[None]:
    """Tells the library's progress line by line while the body runs."""
    with _attached(_Lines()):
        yield


@contextlib.contextmanager
def progress_on_stderr() -> Iterator[None]:
    """Shows the library's progress while the body runs."""
    if not sys.stderr.isatty():
        with lines_on_stderr():
            yield
        return
    columns = (
        TextColumn("{task.description:9}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[said]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress, _attached(_Bars(progress)):
        yield


@contextlib.contextmanager
def fetching_on_stderr() -> Iterator[Callable[["FetchProgress"], None]]:
    """Shows how far a fetch is, as the body tells it, and what the library says besides."""
    if not sys.stderr.isatty():
        with lines_on_stderr():
            yield _FetchLines().tell
        return
    columns = (
        TextColumn("{task.description:9}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[said]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress, _attached(_Bars(progress)):
        yield _FetchBars(progress).tell


class _FetchLines:
    """A line a symbol now and then, and at its end."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def tell(self, at: "FetchProgress") -> None:
        now = time.monotonic()
        # The first page says nothing: most fetches are short, and end with their table.
        said = self._said.setdefault(at.symbol, now)
        if now - said >= _LINE_SECONDS:
            self._said[at.symbol] = now
            print(f"{at.symbol}: {at.words()}", file=sys.stderr, flush=True)


class _FetchBars:
    """One bar a symbol; the time left is that of all of them."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def tell(self, at: "FetchProgress") -> None:
        if at.symbol not in self._bars:
            self._bars[at.symbol] = self._progress.add_task(at.symbol, total=None, said="")
        self._progress.update(self._bars[at.symbol], completed=at.done, total=at.total, said=at.words())


@contextlib.contextmanager
def _attached(handler: logging.Handler) -> Iterator[None]:
    logger = logging.getLogger(_LIBRARY)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
