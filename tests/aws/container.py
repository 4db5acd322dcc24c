"""A training container, as far as one can be had without Docker: PID 1 of a process namespace of its own.

So SIGTERM does to it what it does in AWS: nothing, when PID 1 has no handler for it (and the toolkit has none). Where
this machine gives no namespace, SIGTERM is kept back unless PID 1 has a handler, and a process group takes the place of
the namespace. A container in a namespace does not outlive the process that started it, however that one ends; in a group
only its first process does not.

What does not belong here: what runs in it.
"""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Thread

from models_lib.orphans import descendants

_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
_AS_ANYBODY = ("unshare", "--user", "--map-root-user", *_NAMESPACE[1:])


@functools.cache
def isolation() -> tuple[str, ...]:
    """The command that gives a process namespace here; empty where there is none."""
    for command in (_NAMESPACE, _AS_ANYBODY):
        if (
            shutil.which(command[0])
            and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
        ):
            return command
    return ()


class Container:
    """A container that runs.

    Args:
        command: its PID 1.
        environment: everything that it sees; PYTHONPATH included.
        folder: working folder.
        tell: is called with each line that the container writes, from a thread of this object.
    """

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, tell: Callable[[str], None]
    ) -> None:
        # env: the variables must not reach the processes that only lead to PID 1.
        variables = [f"{name}={value}" for name, value in environment.items()]
        way = [sys.executable, "-m", "models_lib.orphans", str(os.getpid()), *isolation(), "env", "-i", *variables]
        self._process = subprocess.Popen(
            [*way, *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._killed = False
        self._reader = Thread(target=self._read, args=(tell,), daemon=True)
        self._reader.start()

    def exit_code(self) -> int | None:
        """As docker says it (128 + signal); None while it runs. Everything that it wrote was told by then."""
        code = self._process.poll()
        if code is None:
            return None
        self._kill_rest()
        self._reader.join()
        if self._killed and code != 0:
            return 128 + signal.SIGKILL  # unshare itself ends with 1 then
        return 128 - code if code < 0 else code

    def terminate(self) -> None:
        """SIGTERM for PID 1."""
        pid = self._first()
        if pid is not None and (isolation() or _handles(pid, signal.SIGTERM)):
            _signal(pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL for everything in it."""
        self._killed = True
        pid = self._first()
        if isolation() and pid is not None:
            _signal(pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._kill_rest()

    def kill_script(self) -> bool:
        """SIGKILL for what PID 1 started; False when there is nothing yet."""
        first = self._first()
        children = [pid for pid, parent in descendants(self._process.pid).items() if parent == first]
        for pid in children:
            _signal(pid, signal.SIGKILL)
        return bool(children)

    def _first(self) -> int | None:
        """PID 1, as this machine numbers it."""
        if not isolation():
            return self._process.pid
        family = descendants(self._process.pid)
        return next((pid for pid, parent in family.items() if parent == self._process.pid), None)

    def _kill_rest(self) -> None:
        if isolation():
            return  # the kernel does it
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self, tell: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                tell(line.decode(errors="replace").rstrip("\r\n"))


def _handles(pid: int, number: int) -> bool:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) & (1 << (number - 1)))
    return False


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
