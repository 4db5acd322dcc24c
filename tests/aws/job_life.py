"""The life of one training job, from Starting to its end, in a thread of its own.

    Starting - Downloading - Training - Uploading - Completed
       ^                        |  |
       '---- Interrupted -------'  '--- Failed, or Stopping - Uploading - Stopped | MaxRuntimeExceeded
             (spot; or MaxWaitTimeExceeded)

What does not belong here: whether the job may begin (see training_jobs.py), and what its container sees (image.py).
"""

import contextlib
import math
import re
import shutil
import threading
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tests.aws import image
from tests.aws.cloud_settings import Interruption, Settings
from tests.aws.container import Container
from tests.aws.job_log import JobLog
from tests.aws.job_storage import JobFailedError, JobStorage

POLL_SECONDS: Final = 0.05
_MESSAGES: Final = {
    "Starting": "Starting the training job",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
    "Interrupted": "Training job interrupted: the spot instance was reclaimed",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}


@dataclass(frozen=True)
class _End:
    """How a container ended: by itself with a code, or because of something."""

    why: str
    code: int


class TrainingJob:
    """A job that was accepted.

    Attributes:
        request: as it was made.
        arn: its name in full.
        status: TrainingJobStatus.
        secondary: SecondaryStatus.
        folder: below it a folder for each attempt, as /opt/ml is in a container.
    """

    def __init__(self, request: dict[str, Any], *, arn: str, region: str, settings: Settings, folder: Path) -> None:
        self.request, self.arn, self.region, self.folder = request, arn, region, folder
        self.name: str = request["TrainingJobName"]
        self.spot = bool(request.get("EnableManagedSpotTraining"))
        self.instance_type: str = request["ResourceConfig"]["InstanceType"]
        self.status, self.secondary, self.reason = "InProgress", "Starting", ""
        self.created = self.modified = time.time()
        self.started: float | None = None
        self.ended: float | None = None
        self.artifacts = ""
        self.metrics: dict[str, tuple[float, float]] = {}
        self.transitions: list[dict[str, Any]] = []
        self._settings = settings
        self._pace = replace(settings.pace)
        self._storage = JobStorage(settings, region, request["RoleArn"])
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._log: JobLog | None = None
        self._container: Container | None = None
        self._trained_seconds = 0.0
        self._copied = 0
        self._enter("Starting")
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def start(self) -> None:
        """Begins the life."""
        self._thread.start()

    def stop(self) -> None:
        """StopTrainingJob; what ended stays as it is."""
        with self._lock:
            if self.ended is None:
                self.status = "Stopping"
        self._stop.set()

    def end(self) -> None:
        """Ends everything at once, for a reset of the stand-in."""
        self._pace.grace_seconds = 0.0
        self._stop.set()
        if self._container is not None:
            self._container.kill()
        self._thread.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def is_over(self) -> bool:
        """Whether it uses no instance any more."""
        return self.ended is not None

    def seconds(self) -> tuple[int, int]:
        """Of training, and billed."""
        trained = math.ceil(self._trained_seconds * self._pace.seconds_per_second)
        return trained, math.ceil(trained * (1 - self._pace.spot_saving)) if self.spot else trained

    def _run(self) -> None:
        try:
            self._live()
        except JobFailedError as failure:
            self._finish("Failed", "Failed", str(failure))
        except Exception:  # noqa: BLE001  a fault of the stand-in must be seen in the test that met it
            self._finish("Failed", "Failed", f"InternalServerError: {traceback.format_exc()[-900:]}")

    def _live(self) -> None:
        self._last("Starting")
        if self._stop.is_set():
            return self._finish("Stopped", "Stopped")
        attempt = 0
        while True:
            attempt += 1
            base = self.folder / f"attempt-{attempt}"
            end = self._attempt(base)
            if end.why != "Interrupted":
                break
            if (why := self._interrupted()) is not None:
                return self._finish("Stopped", why)
        return self._conclude(base, end)

    def _attempt(self, base: Path) -> _End:
        begun = time.monotonic()
        if self.started is None:
            self.started = time.time()
        try:
            self._enter("Downloading")
            image.lay_out(self.request, base)
            for channel in self.request.get("InputDataConfig", []):
                source = channel["DataSource"]["S3DataSource"]["S3Uri"]
                self._storage.fetch_channel(source, base / "input/data" / channel["ChannelName"])
            if checkpoints := self._checkpoints(base):
                self._storage.fetch_checkpoints(*checkpoints)
            self._last("Downloading")
            return self._train(base)
        finally:
            self._trained_seconds += time.monotonic() - begun

    def _train(self, base: Path) -> _End:
        if self._stop.is_set():
            return _End("Stopped", 0)
        self._enter("Training")
        self._log = JobLog(self.name, self.region, late_seconds=self._pace.logs_late_seconds)
        container = image.run(
            self.request,
            base,
            region=self.region,
            arn=self.arn,
            pace=self._pace,
            storage=self._storage,
            tell=self._tell,
        )
        self._container = container
        begun, why, deadline = time.monotonic(), "", math.inf
        while (code := container.exit_code()) is None:
            if not why and (why := self._ended_from_outside(container, begun)):
                deadline = time.monotonic() + (0 if why == "Interrupted" else self._pace.grace_seconds)
                if why != "Interrupted":
                    self.stop()
                    self._enter("Stopping")
                container.terminate()
            if time.monotonic() >= deadline:
                container.kill()
            self._sync(base)
            self._stop.wait(POLL_SECONDS) if not why else time.sleep(POLL_SECONDS)
        self._container = None
        if why != "Interrupted":
            self._sync(base, last=True)
        return _End(why, code)

    def _ended_from_outside(self, container: Container, begun: float) -> str:
        """Why the container must end: Stopped, MaxRuntimeExceeded, MaxWaitTimeExceeded, Interrupted, or nothing."""
        if self._stop.is_set():
            return "Stopped"
        limits = self.request["StoppingCondition"]
        running = (self._trained_seconds + time.monotonic() - begun) * self._pace.seconds_per_second
        if running >= limits["MaxRuntimeInSeconds"]:
            return "MaxRuntimeExceeded"
        if self._waited_too_long():
            return "MaxWaitTimeExceeded"
        lines = self._log.lines if self._log else []
        due = self._settings.taken(self.name, spot=self.spot, checkpoints=self._copied, lines=lines)
        return self._strike(due, container) if due else ""

    def _strike(self, due: Interruption, container: Container) -> str:
        if due.spot:
            return "Interrupted"
        if not due.script:
            container.kill()
        elif not container.kill_script():
            self._settings.interruptions.append(due)  # nothing to kill yet
        return ""

    def _waited_too_long(self) -> bool:
        limit: float = self.request["StoppingCondition"].get("MaxWaitTimeInSeconds", math.inf)
        return (time.time() - self.created) * self._pace.seconds_per_second >= limit

    def _interrupted(self) -> str | None:
        """Waits for another spot instance; returns why there will be none."""
        self._enter("Interrupted")
        until = time.monotonic() + self._pace.delays.get("Interrupted", 0.0)
        while time.monotonic() < until:
            if self._waited_too_long():
                return "MaxWaitTimeExceeded"
            if self._stop.wait(POLL_SECONDS):
                return "Stopped"
        self._enter("Starting")
        return None

    def _conclude(self, base: Path, end: _End) -> None:
        if not end.why and end.code != 0:
            return self._finish("Failed", "Failed", _reason(base, end.code))
        if self._log is None:  # stopped before there was a container
            return self._finish("Stopped", end.why)
        self._enter("Uploading")
        where = f"{self.request['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{self.name}/output"
        self.artifacts = self._storage.store_archive(base / "model", where, "model.tar.gz", base)
        if any((base / "output/data").iterdir()):
            self._storage.store_archive(base / "output/data", where, "output.tar.gz", base)
        self._last("Uploading")
        if end.why:
            return self._finish("Stopped", end.why)
        return self._finish("Completed", "Completed")

    def _checkpoints(self, base: Path) -> tuple[str, Path] | None:
        config = self.request.get("CheckpointConfig")
        return (config["S3Uri"], image.inside(base, config.get("LocalPath", "/opt/ml/checkpoints"))) if config else None

    def _sync(self, base: Path, *, last: bool = False) -> None:
        if checkpoints := self._checkpoints(base):
            self._copied += self._storage.sync_checkpoints(*checkpoints, last=last)

    def _tell(self, line: str) -> None:
        assert self._log is not None
        self._log.write(line)
        for metric in self.request["AlgorithmSpecification"].get("MetricDefinitions", []):
            if found := re.search(metric["Regex"], line):
                with contextlib.suppress(ValueError, IndexError):
                    self.metrics[metric["Name"]] = (float(found.group(1)), time.time())

    def _last(self, status: str) -> None:
        """A status lasts for a while, unless the job is stopped."""
        self._stop.wait(self._pace.delays.get(status, 0.0))

    def _enter(self, secondary: str) -> None:
        with self._lock:
            now = time.time()
            if self.transitions:
                self.transitions[-1]["EndTime"] = now
            entry = {"Status": secondary, "StartTime": now, "StatusMessage": _MESSAGES[secondary]}
            self.transitions.append(entry)
            self.secondary, self.modified = secondary, now

    def _finish(self, status: str, secondary: str, reason: str = "") -> None:
        if self._log is not None:
            self._log.close()
        self._enter(secondary)
        with self._lock:
            self.transitions[-1]["EndTime"] = self.modified
            if reason:
                self.reason = reason[:1024]
                self.transitions[-1]["StatusMessage"] = self.reason
            self.status = status
            self.ended = self.modified


def _reason(base: Path, code: int) -> str:
    failure = base / "output/failure"
    text = failure.read_text(errors="replace")[:1024] if failure.exists() else ""
    tail = f", exit code: {code}"
    return f"AlgorithmError: {text}"[: 1024 - len(tail)] + tail
