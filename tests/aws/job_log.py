"""Lines of a container into moto's CloudWatch Logs; on demand as late as in AWS, where the stream is not found for a while.

What does not belong here: who writes the lines, and what is read from them.
"""

import threading
import time
from typing import Any, Final

from moto.backends import get_backend

from tests.aws.cloud_settings import ACCOUNT

GROUP: Final = "/aws/sagemaker/TrainingJobs"
_making = threading.Lock()


class JobLog:
    """The log stream of one attempt of a job.

    Attributes:
        lines: everything so far.
    """

    def __init__(self, job: str, region: str, *, late_seconds: float) -> None:
        self._backend: Any = get_backend("logs")[ACCOUNT][region]
        self.lines: list[str] = []
        self._waiting: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._stream, self._job = "", job
        self._from = time.monotonic() + late_seconds
        self._timer = threading.Timer(late_seconds, self._flush) if late_seconds else None
        if self._timer:
            self._timer.daemon = True
            self._timer.start()

    def write(self, line: str) -> None:
        """One line more."""
        self.lines.append(line)
        with self._lock:
            if line:
                self._waiting.append({"timestamp": int(time.time() * 1000), "message": line})
        if time.monotonic() >= self._from:
            self._flush()

    def close(self) -> None:
        """No line will come."""
        if time.monotonic() >= self._from:
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            if self._waiting:
                self._backend.put_log_events(GROUP, self._made(), self._waiting)
                self._waiting = []

    def _made(self) -> str:
        if not self._stream:
            with _making:
                self._backend.ensure_log_group(GROUP)
                second = int(time.time())
                while (stream := f"{self._job}/algo-1-{second}") in self._backend.groups[GROUP].streams:
                    second += 1
                self._backend.create_log_stream(GROUP, stream)
                self._stream = stream
        return self._stream
