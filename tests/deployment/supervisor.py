"""A real supervisord with one program, from entering the context to leaving it.

It listens on a Unix socket only; what it started ends with it.
"""

import getpass
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self

from models_lib.children import end_session

_START_SECONDS = 20.0
_END_SECONDS = 20.0


class Supervisor:
    """The service manager of one host.

    Attributes:
        restart: the command that restarts the program, as a configuration names it.

    Args:
        folder: for its own files; short, because a Unix socket lies there.
        command: the program and its arguments; it is not started yet.
    """

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self._socket, self._log = folder / "sock", folder / "supervisord.log"
        self._config = folder / "supervisord.conf"
        user = f"user={getpass.getuser()}\n" if os.getuid() == 0 else ""
        self._config.write_text(
            f"[unix_http_server]\nfile={self._socket}\nchmod=0700\n"
            f"[supervisord]\nnodaemon=true\nlogfile={self._log}\npidfile={folder / 'pid'}\n{user}"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[supervisorctl]\nserverurl=unix://{self._socket}\n"
            f"[program:runtime]\ncommand={' '.join(command)}\nautostart=false\nautorestart=true\nstartretries=0\n"
            f"redirect_stderr=true\nstdout_logfile={folder / 'runtime.log'}\n"
        )
        self.restart = (*self._control(), "restart", "runtime")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        deadline, pause = time.monotonic() + _START_SECONDS, Event()
        while self._process.poll() is None and self._said("pid").returncode != 0:
            assert time.monotonic() < deadline, "supervisord did not start"
            pause.wait(0.05)
        assert self._process.poll() is None, self._log.read_text()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self.stop()
        end_session(self._process, _END_SECONDS)

    def start(self) -> None:
        """Starts the program, or starts it again."""
        said = subprocess.run(self.restart, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout

    def stop(self) -> None:
        """Ends the program; it may have ended."""
        self._said("stop", "runtime")

    def _control(self) -> tuple[str, ...]:
        return (sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self._config))

    def _said(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*self._control(), *words], capture_output=True, text=True, check=False)
