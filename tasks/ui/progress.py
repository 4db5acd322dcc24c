"""The epochs of a training as a progress artifact that moves while it works.

The library tells its progress by log records that carry `symbol`, `done` and `total`. They are only noted here; a thread
of its own tells Prefect the newest, so that a slow or dead server never holds up the training.

What does not belong here: bars in a terminal (flows/console.py).
"""

import contextlib
import contextvars
import logging
import threading
from collections.abc import Iterator
from typing import cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext
from prefect.exceptions import PrefectException
from prefect.settings import get_current_settings

from models_lib.reports.pieces import piece_key

_LIBRARY = logging.getLogger("models_lib")
_LAST_WORD_SECONDS = 5.0
"""How long the end of a training waits for its last state to be told."""


@contextlib.contextmanager
def training_in_the_ui(symbol: str) -> Iterator[None]:
    """Shows the epochs of the symbol while the body runs; nothing outside a task run, where there is no UI, or yet."""
    if TaskRunContext.get() is None or not get_current_settings().server.ui.enabled:
        yield
        return
    bar = _Bar(symbol)
    epochs = _Epochs(symbol, bar)
    _LIBRARY.addHandler(epochs)
    try:
        yield
        bar.finish()
    finally:
        _LIBRARY.removeHandler(epochs)
        bar.end()


class _Epochs(logging.Handler):
    """Passes on the progress of one symbol."""

    def __init__(self, symbol: str, bar: "_Bar") -> None:
        super().__init__(logging.INFO)
        self._symbol = symbol
        self._bar = bar

    def emit(self, record: logging.LogRecord) -> None:
        done, total = getattr(record, "done", None), getattr(record, "total", None)
        if getattr(record, "symbol", None) == self._symbol and done is not None and total:
            self._bar.note(100.0 * done / total, record.getMessage())


class _Bar:
    """The artifact, made at the first word, and the thread that speaks."""

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol
        self._news = threading.Condition()
        self._newest: tuple[float, str] | None = None
        self._words = ""
        self._ended = False
        run = contextvars.copy_context()  # the artifact belongs to the task run that trains
        self._speaker = threading.Thread(target=run.run, args=(self._speak,), name=f"progress-{symbol}", daemon=True)
        self._speaker.start()

    def note(self, percent: float, words: str) -> None:
        """Remembers the newest state; an older one that nobody told yet is forgotten."""
        with self._news:
            self._newest, self._words = (percent, words), words
            self._news.notify()

    def finish(self) -> None:
        """The training ended by itself, perhaps before the last epoch that it was allowed."""
        if self._words:
            self.note(100.0, f"trained; the last was {self._words}")

    def end(self) -> None:
        """No more will come."""
        with self._news:
            self._ended = True
            self._news.notify()
        self._speaker.join(_LAST_WORD_SECONDS)

    def _speak(self) -> None:
        artifact: UUID | None = None
        try:
            while (state := self._next()) is not None:
                artifact = self._tell(artifact, *state)
        except (httpx.HTTPError, PrefectException, OSError) as error:
            _LIBRARY.warning("%s: the UI lacks the training's progress: %s", self._symbol, error)

    def _next(self) -> tuple[float, str] | None:
        """Waits for a state that was not told yet; None when none will come."""
        with self._news:
            self._news.wait_for(lambda: self._newest is not None or self._ended)
            state, self._newest = self._newest, None
            return state

    def _tell(self, artifact: UUID | None, percent: float, words: str) -> UUID:
        description = f"{self._symbol}: {words}"
        if artifact is not None:
            update_progress_artifact(artifact, percent, description=description)
            return artifact
        made = create_progress_artifact(percent, key=piece_key("progress", self._symbol), description=description)
        return cast("UUID", made)  # its annotation also names the coroutine that asynchronous callers get
