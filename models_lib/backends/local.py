"""Training in a subprocess of this machine: a real time limit, a real kill, random numbers of its own.

What does not belong here: the training itself (models_lib.training.worker).
"""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass

from models_lib.backends.contract import Job, OnProgress, TrainedModel
from models_lib.children import end_session, signal_session
from models_lib.errors import ConfigError, CrpbotError, DataError, StoppedError, TrainingError
from models_lib.files import sha256_file, write_text
from models_lib.interruption import refuse_when_stopped, stop_requested
from models_lib.memory import look_at_child
from models_lib.training.history import TrainingHistory
from models_lib.training.progress import progress_of
from models_lib.training.spec import FAILURE_FILE, HISTORY_FILE, WEIGHTS_FILE, TrainingSpec

_SPEC_FILE = "training_spec.json"
_STDERR_FILE = "worker.log"
_STDERR_TAIL_CHARACTERS = 2_000
_RAISED_BY_WORKERS: dict[str, type[CrpbotError]] = {
    "ConfigError": ConfigError,
    "DataError": DataError,
    "TrainingError": TrainingError,
}
_running: set["subprocess.Popen[str]"] = set()
"""The workers of this process; a stop ends them all."""


class LocalBackend:
    """Trains in a child process with one thread; it dies with this process, whatever kills it.

    Args:
        worker: how the worker is started; the spec's path and the parent's process id are appended.
        patience_seconds: between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        *,
        worker: tuple[str, ...] = (sys.executable, "-m", "models_lib.training.worker"),
        patience_seconds: float = 5.0,
    ) -> None:
        self._worker = worker
        self._patience_seconds = patience_seconds
        self._started: dict[str, _Child] = {}
        self._failures: dict[str, CrpbotError] = {}

    def submit(self, spec: TrainingSpec) -> Job:
        """Starts the worker in a session of its own; its stderr stays in the output folder as worker.log."""
        running = next((child.job for child in self._started.values() if child.job.spec == spec), None)
        if running is not None:
            return running
        spec.output.mkdir(parents=True, exist_ok=True)
        for name in (WEIGHTS_FILE, HISTORY_FILE, FAILURE_FILE):
            (spec.output / name).unlink(missing_ok=True)
        spec_path = spec.output / _SPEC_FILE
        write_text(spec_path, spec.model_dump_json())
        with (spec.output / _STDERR_FILE).open("wb") as stderr:
            process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                [*self._worker, str(spec_path), "--parent", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "MKL_NUM_THREADS": "1",
                    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
                },
                start_new_session=True,
            )
        _running.add(process)
        job = Job(f"process {process.pid}", spec)
        self._started[job.name] = _Child(
            job, process, _TimeLimit(process, spec.training.time_limit_minutes * 60.0, self._patience_seconds)
        )
        try:
            refuse_when_stopped()  # a stop that came before this process was known did not end it
        except StoppedError:
            self.cancel(job)
            raise
        return job

    def wait(self, job: Job, *, on_progress: OnProgress) -> None:
        """Reads the worker's progress until it ends, under the time limit, which counts from its start."""
        child = self._started.get(job.name)
        if child is None:
            self._tell_end(job)
            return
        _pass_on(job, child.process, on_progress)
        status = child.process.wait()
        self.cancel(job)
        if status != 0:
            (job.spec.output / WEIGHTS_FILE).unlink(missing_ok=True)
            self._failures[job.name] = _failure(job.spec, status, out_of_time=child.limit.expired)
        self._tell_end(job)

    def _tell_end(self, job: Job) -> None:
        """What the end of a job was, however often it is asked for."""
        if job.name in self._failures:
            raise self._failures[job.name]

    def collect(self, job: Job) -> TrainedModel:
        """The files that the worker wrote; they lie where they belong."""
        history_path, path = job.spec.output / HISTORY_FILE, job.spec.output / WEIGHTS_FILE
        history = TrainingHistory.from_json(json.loads(history_path.read_bytes()))
        return TrainedModel(path=path, sha256=sha256_file(path), history_path=history_path, history=history)

    def cancel(self, job: Job) -> None:
        """Ends the worker and its children, if they run."""
        child = self._started.pop(job.name, None)
        if child is None:
            return
        _running.discard(child.process)
        end_session(child.process, self._patience_seconds)
        child.limit.cancel()
        if child.process.stdout is not None:
            child.process.stdout.close()


def end_trainings() -> None:
    """Kills every training of this process; each `train` raises StoppedError if a stop was asked for before."""
    for process in tuple(_running):
        if process.poll() is None:
            signal_session(process, signal.SIGKILL)


class _TimeLimit:
    """Ends the process when the time is up, from a thread of its own; `expired` says whether it had to."""

    def __init__(self, process: subprocess.Popen[str], seconds: float, patience_seconds: float) -> None:
        self._process = process
        self._patience_seconds = patience_seconds
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self.expired = False
        self._timer.start()

    def cancel(self) -> None:
        """The limit no longer counts."""
        self._timer.cancel()
        self._timer.join()

    def _expire(self) -> None:
        self.expired = self._process.poll() is None
        end_session(self._process, self._patience_seconds)


@dataclass(frozen=True)
class _Child:
    """A worker, and what ends it when its time is up."""

    job: Job
    process: "subprocess.Popen[str]"
    limit: _TimeLimit


def _pass_on(job: Job, process: subprocess.Popen[str], on_progress: OnProgress) -> None:
    """Tells of every progress line until the worker closes its stdout, and looks how much memory it took so far."""
    assert process.stdout is not None
    for line in process.stdout:
        look_at_child(job.spec.symbol, process.pid)
        progress = progress_of(line)
        if progress is not None:
            on_progress(progress)


def _failure(spec: TrainingSpec, status: int, *, out_of_time: bool) -> CrpbotError:
    """The error that says why the worker gave no model."""
    log = spec.output / _STDERR_FILE
    if out_of_time:
        return TrainingError(
            f"{spec.symbol}: the training was stopped after {spec.training.time_limit_minutes:g} minutes "
            "(training.time_limit_minutes). Raise the limit, or lower training.max_epochs."
        )
    if status < 0 and stop_requested():
        return StoppedError(f"{spec.symbol}: the run was stopped while it trained. Start it again.")
    if status < 0:
        return TrainingError(
            f"{spec.symbol}: the training process was ended by {signal.Signals(-status).name}; this machine may be out "
            f"of memory, or someone stopped it. Its log is {log}; start the run again."
        )
    failure_path = spec.output / FAILURE_FILE
    if failure_path.exists():
        failure = json.loads(failure_path.read_bytes())
        return _RAISED_BY_WORKERS.get(failure["class"], TrainingError)(f"{spec.symbol}: {failure['message']}")
    tail = log.read_text(errors="replace")[-_STDERR_TAIL_CHARACTERS:].strip()
    return TrainingError(
        f"{spec.symbol}: the training process ended with status {status} and left no reason but its log {log}, "
        f"which ends: {tail or '(nothing)'}"
    )
