"""The contract between a run and the place where its training happens, and the one way through it.

A training is submitted, waited for and collected; whatever goes wrong in between cancels it. Each of the four can be
done again, also by another process after this one was killed: a place that outlives its caller (a cloud) finds the job
that runs already instead of starting, and billing, a second one.

What does not belong here: any particular place.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from models_lib.errors import CrpbotError, TransientError
from models_lib.training.history import EpochRecord, StepProgress, TrainingHistory
from models_lib.training.spec import TrainingSpec

_log = logging.getLogger("models_lib.backends")
OnProgress = Callable[[EpochRecord | StepProgress], None]


@dataclass(frozen=True)
class Job:
    """A training that was submitted.

    Attributes:
        name: by which the place knows it.
        spec: what is trained.
    """

    name: str
    spec: TrainingSpec


@dataclass(frozen=True)
class TrainedModel:
    """A finished training, on this machine's disk.

    Attributes:
        path: the weights, a safetensors file.
        sha256: of that file.
        history_path: the history as JSON.
        history: the same, read.
        paid_job: name of the job that was paid for it, as the ledger of costs has it; None where nothing is paid.
    """

    path: Path
    sha256: str
    history_path: Path
    history: TrainingHistory
    paid_job: str | None = None

    @property
    def best_epoch(self) -> int:
        """Number of the epoch whose weights were kept, from 1."""
        return self.history.best_epoch


class TrainingBackend(Protocol):
    """A place that trains."""

    def submit(self, spec: TrainingSpec) -> Job:
        """Has the training begin, or finds the one of the same spec that did.

        Start state: the spec's input files are whole; its output folder may be absent, empty, or hold what an earlier
        call left, finished or not.
        Steps: what an earlier call left in the output folder is removed; the place is checked; the training begins.
        End state, on return: the training runs, waits for its machine, or is done. On an error: it does not run, and
        nothing is billed.
        Idempotence: the same spec, submitted again while its job runs, gives the same job. So it does after the job was
        done, where the place keeps what is done; elsewhere it trains again, to the same bytes.

        Raises:
            ConfigError: the spec asks for what the place does not have, or (PreflightError) it would fail there.
            TransientError: the place does not answer.
            StoppedError: the run was told to stop.
        """

    def wait(self, job: Job, *, on_progress: OnProgress) -> None:
        """Returns when the training is done; `on_progress` is told of steps and epochs, in the caller's thread.

        Start state: `submit` gave the job. End state, on return: the job is done and has a model. On an error: it has
        none, or (TransientError, StoppedError) it may still run.
        Idempotence: waiting for a job that is done returns, or raises, at once. What was told before may be told again.

        Raises:
            TrainingError: non-finite loss, the time limit, a killed process, no usable epoch; with the place's own words.
            DataError: the input files are damaged or hold what they must not.
            ConfigError: as the training itself says.
            TransientError: the place does not answer, or took its machine back.
            StoppedError: the run was told to stop.
        """

    def collect(self, job: Job) -> TrainedModel:
        """The weights and the history of a job that is done, in the spec's output folder.

        Start state: `wait` returned. End state, on return: weights and history are whole, and are those of the spec.
        Idempotence: collecting again gives the same files.

        Raises:
            TrainingError: what came back is not a whole model of this spec.
            TransientError: the place does not answer.
        """

    def cancel(self, job: Job) -> None:
        """Has the training end without a model; nothing of it runs, or is billed, after the place has heard.

        Start state: any. End state: the job is done or ends by itself. Idempotence: cancelling what is done, or was
        never known, does nothing.

        Raises:
            TransientError: the place does not answer: the job may still run, and the message says how to end it.
        """


def train(backend: TrainingBackend, spec: TrainingSpec, *, on_progress: OnProgress) -> TrainedModel:
    """Trains `spec` on `backend`: submit, wait, collect; cancelled when the wait is cut short.

    A place that does not answer is no reason to cancel: whoever tries again finds the job that runs. The same spec on the
    same kind of machine gives the same bytes of weights, on every backend.

    Raises:
        CrpbotError: as the backend's methods say; what cancelling raised is a note on it.
    """
    job = backend.submit(spec)
    try:
        backend.wait(job, on_progress=on_progress)
    except TransientError:
        raise
    except BaseException as error:  # Ctrl-C, too: whatever ends the wait must not leave a training behind, or a bill
        with _noted(error, symbol=spec.symbol):
            backend.cancel(job)
        raise
    return backend.collect(job)


@contextlib.contextmanager
def _noted(error: BaseException, *, symbol: str) -> Iterator[None]:
    """An error of the body becomes a note on `error`, and a line: of a run that is being stopped nobody sees the error."""
    try:
        yield
    except CrpbotError as second:
        error.add_note(str(second))
        _log.warning("%s", second, extra={"symbol": symbol})
