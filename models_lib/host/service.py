"""The runtime as seen from a deployment: a command that restarts it, and the health that it reports afterwards.

What does not belong here: what is expected of the health's figures (watch.py).
"""

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from models_lib.children import ended_on_error
from models_lib.errors import DeployError
from models_lib.host import messages
from models_lib.runtime.health import Health, read_health, runtime_lives

_LOOK_EVERY_SECONDS = 0.05
_END_WITHIN_SECONDS = 5.0
"""A command that is out of time gets SIGTERM, and so much later SIGKILL, as does what it started."""
_TOLD_BYTES = 400
"""Of a failed command's stderr."""


class RuntimeService:
    """The runtime that serves `folder`.

    Args:
        folder: the host folder.
        order: how it is restarted and asked.
    """

    def __init__(self, folder: Path, order: messages.Service) -> None:
        self._folder = folder
        self._order = order
        self._pause = threading.Event()  # never set: its wait is a pause that a signal ends
        self._restarted_at = datetime.fromtimestamp(0, UTC)
        self._served_since: datetime | None = None
        """Start of the process that came up after the restart."""

    def restart(self) -> None:
        """Runs the restart command to its end; what that leaves in the background, such as the runtime itself, goes on.

        Raises:
            DeployError: it fails or does not exist; or it takes too long: then it is ended with all that it started.
        """
        self._restarted_at, self._served_since = datetime.now(UTC), None
        self._run(self._order.restart, self._order.restart_seconds, what="the restart command")

    def health(self) -> Health | None:
        """What the runtime reports now; None: nothing yet, or nothing readable.

        Raises:
            DeployError: the health command fails.
        """
        if self._order.health is None:
            return read_health(self._folder)
        answer = self._run(self._order.health, self._order.health_seconds, what="the health command")
        try:
            return Health.model_validate_json(answer)
        except ValidationError:
            return None

    def missing_now(self, releases: Mapping[str, str | None]) -> str | None:
        """A look at the health: what keeps the runtime from serving these releases; None when nothing does."""
        return self._judged(lambda health: self.missing(health, releases))

    def missing(self, health: Health | None, releases: Mapping[str, str | None]) -> str | None:
        """What keeps the runtime that reports this from serving these releases; None when nothing does.

        A live runtime serves while it lives. A replay answers once and ends.
        """
        if health is None:
            return "the runtime reported no health"
        if health.mode == "live" and (health.ended_at is not None or not runtime_lives(self._folder)):
            return f"the runtime ended ({health.last_error or 'no error is known'})"
        if self._served_since not in (None, health.started_at):
            return "the runtime ended and was started again"
        if not health.ready:
            return f"the runtime is not ready ({health.last_error or 'it is starting'})"
        return _misnamed(health, releases)

    def wait_for(self, releases: Mapping[str, str | None]) -> None:
        """Returns when the runtime, restarted since, is ready and names these releases.

        Raises:
            DeployError: it does not, within `health_seconds`; the message says what it said last.
        """
        told = self.follow(self._names_since_restart(releases), within_seconds=self._order.health_seconds)
        if told is not None:
            raise DeployError(f"{told} within {self._order.health_seconds:g} s after the restart")

    def follow(self, judge: Callable[[Health | None], str | None], *, within_seconds: float) -> str | None:
        """Looks at the health until the judge has nothing to say; what it said last when the time is up."""
        ends = time.monotonic() + within_seconds
        while True:
            told = self._judged(judge)
            if told is None or time.monotonic() >= ends:
                return told
            self._pause.wait(_LOOK_EVERY_SECONDS)

    def _judged(self, judge: Callable[[Health | None], str | None]) -> str | None:
        try:
            return judge(self.health())
        except DeployError as error:  # a health command that is not answered yet
            return str(error)

    def _names_since_restart(self, releases: Mapping[str, str | None]) -> Callable[[Health | None], str | None]:
        def judge(health: Health | None) -> str | None:
            since_restart = health if health is not None and health.started_at >= self._restarted_at else None
            missing = self.missing(since_restart, releases)
            if missing is None and since_restart is not None:
                self._served_since = since_restart.started_at
            return missing

        return judge

    @staticmethod
    def _run(command: tuple[str, ...], seconds: float, *, what: str) -> bytes:
        try:
            status, stdout, stderr = _carried_out(command, seconds)
        except subprocess.TimeoutExpired as error:
            raise DeployError(f"{what} {command[0]} took longer than {seconds:g} s") from error
        except OSError as error:
            raise DeployError(f"{what} {command[0]} cannot be run ({error.strerror})") from error
        if status != 0:
            said = (stderr or stdout)[-_TOLD_BYTES:].decode(errors="replace").strip()
            raise DeployError(f"{what} {command[0]} ended with status {status} ({said or 'no word'})")
        return stdout


def _carried_out(command: tuple[str, ...], seconds: float) -> tuple[int, bytes, bytes]:
    """Exit status, stdout and stderr.

    Raises:
        OSError: it cannot be run.
        TimeoutExpired: it took longer, and was ended with all that it started.
    """
    # Files and no pipes: what it leaves in the background keeps them open.
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(  # noqa: S603 - the operator's own configuration, never a shell
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
        )
        with ended_on_error(process, _END_WITHIN_SECONDS):
            status = process.wait(seconds)
        stdout.seek(0)
        stderr.seek(0)
        return status, stdout.read(), stderr.read()


def _misnamed(health: Health, releases: Mapping[str, str | None]) -> str | None:
    for symbol, bundle in releases.items():
        served = health.symbols.get(symbol)
        found = served.bundle if served else None
        if found != bundle:
            why = f" ({served.last_error})" if served and served.last_error else ""
            return f"{symbol}: the runtime names {_short(found)}, not {_short(bundle)}{why}"
    return None


def _short(bundle: str | None) -> str:
    return f"release {bundle[:12]}" if bundle else "no release"
