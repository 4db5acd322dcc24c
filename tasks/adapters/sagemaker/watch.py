"""Following a job until it is over: its states and its own lines in the log of the run, its epochs to whoever asked.

A stop is heard at once, and a fault of the network within minutes: the job goes on meanwhile, and a later call finds it.

What does not belong here: what the end means (ends.py) and ending the job (backend.py).
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from models_lib.backends import OnProgress
from models_lib.errors import ConfigError, TransientError
from models_lib.interruption import HEARD_SECONDS, ended_by_stop, refuse_when_stopped
from models_lib.training.history import EpochRecord, StepProgress
from models_lib.training.progress import progress_of
from tasks.adapters.sagemaker.ends import printable
from tasks.adapters.sagemaker.logs import JobLog
from tasks.adapters.sagemaker.state import JobState

FIGURES: Final = "crpbot epoch="
"""How the line of an epoch's figures begins."""
_MOST_LINES: Final = 200
"""Of one look: a container that writes without end does not fill the log of the run."""
_LAST_WORDS_SECONDS: Final = 10.0
"""How long the log of a job that failed without a line is waited for."""
_log = logging.getLogger("models_lib.backends")  # the logger whose lines a flow shows


class JobWatch:
    """One job, followed by one caller.

    Args:
        symbol: named with each line.
        describe: asks AWS for the job.
        log: of the job.
        on_progress: is told of steps and epochs, each epoch once.
        poll_seconds: between two looks.
        patience_seconds: how long AWS may fail to answer.
    """

    def __init__(
        self,
        symbol: str,
        *,
        describe: Callable[[], JobState],
        log: JobLog,
        on_progress: OnProgress,
        poll_seconds: float,
        patience_seconds: float,
    ) -> None:
        self._extra = {"symbol": symbol}
        self._describe = describe
        self._log = log
        self._on_progress = on_progress
        self._poll_seconds = poll_seconds
        self._patience_seconds = patience_seconds
        self._told_epoch = 0
        self._told_transitions = 0
        self._log_is_readable = True
        self._stopped = threading.Event()
        self.seen: JobState | None = None
        """What the last look saw."""

    def until_over(self) -> JobState:
        """The job at its end.

        Raises:
            TransientError: AWS did not answer for `patience_seconds`; the job may go on.
            StoppedError: the run was told to stop; the job may go on.
        """
        with ended_by_stop(self._stopped.set):
            state = self._looked()
            while not state.over:
                self._rest(self._poll_seconds)
                refuse_when_stopped()  # before anything else is asked: an interrupted process has seconds to end the job
                state = self._looked()
            self._hear_the_last_words(state)
            return state

    def _looked(self) -> JobState:
        """One look at state and log; tried again while AWS does not answer."""
        until = time.monotonic() + self._patience_seconds
        while True:
            try:
                state = self._describe()
            except TransientError:
                if time.monotonic() >= until or self._stopped.is_set():
                    raise
                self._rest(self._poll_seconds)
                continue
            self.seen = state
            self._tell_transitions(state)
            self._read_log()
            return state

    def _rest(self, seconds: float) -> None:
        """Waits, in pieces: a signal for the main thread that comes just before a wait does not end it."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0.0:
            if self._stopped.wait(min(left, HEARD_SECONDS)):
                return

    def _tell_transitions(self, state: JobState) -> None:
        for each in state.transitions[self._told_transitions :]:
            said = f": {each.message}" if each.message else ""
            _log.info("%s is %s%s", state.name, each.status, said, extra=self._extra)
        self._told_transitions = len(state.transitions)

    def _read_log(self) -> bool:
        """Tells what is new; False when there was nothing. A log that nobody lets us read does not end the training."""
        if not self._log_is_readable:
            return False
        try:
            lines = self._log.news()
        except TransientError:
            return False
        except ConfigError as error:
            self._log_is_readable = False
            _log.warning("the log of the job is not shown: %s", error, extra=self._extra)
            return False
        words = [line for line in lines if not self._is_progress(line) and line.strip()]
        self._log.tail.extend(words)
        if len(words) > _MOST_LINES:
            _log.info("(%d lines of the job's log are left out)", len(words) - _MOST_LINES, extra=self._extra)
        for line in words[-_MOST_LINES:]:
            _log.info("%s", printable(line), extra=self._extra)
        return bool(lines)

    def _is_progress(self, line: str) -> bool:
        """Whether the line tells of steps or an epoch; it is passed on unless it repeats what an earlier container told."""
        if line.startswith(FIGURES):
            return True  # the same epoch once more, for SageMaker's metrics
        progress = progress_of(line)
        match progress:
            case EpochRecord(epoch=epoch) if epoch > self._told_epoch:
                self._told_epoch = epoch
                self._on_progress(progress)
            case StepProgress(epoch=epoch) if epoch > self._told_epoch:
                self._on_progress(progress)
        return progress is not None

    def _hear_the_last_words(self, state: JobState) -> None:
        """Lines arrive some seconds late; of a failure without a single one they are waited for a little."""
        until = time.monotonic() + _LAST_WORDS_SECONDS
        while self._read_log() or (state.over and state.status != "Completed" and self._awaits_words(until)):
            self._rest(min(self._poll_seconds, HEARD_SECONDS))

    def _awaits_words(self, until: float) -> bool:
        began = not self._log.tail and self._log_is_readable
        return began and time.monotonic() < until and not self._stopped.is_set()
