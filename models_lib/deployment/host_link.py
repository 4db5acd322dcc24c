"""How a deployer reaches a trading host: commands that run there, and folders that are brought there.

`LocalLink` is a folder of this machine; the one over SSH is tasks/adapters/ssh.py.

What does not belong here: which commands, and what their answers mean.
"""

import contextlib
import errno
import os
import re
import secrets
import select
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Protocol, Self

from models_lib.children import ended_on_error, signal_session
from models_lib.errors import DeployError, TransientError
from models_lib.files import fsync_folder, fsync_tree
from models_lib.interruption import ended_by_stop

KILL_AFTER_SECONDS = 5
"""A command that is out of time gets SIGTERM, and so much later SIGKILL."""
NOT_FOUND, NOT_RUNNABLE = 127, 126
"""What shells and timeout(1) answer for a command that is not there, or may not be run."""
DISK_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PIECE_BYTES, _LOOK_AGAIN_MS = 1 << 16, 50
OnLine = Callable[[bytes], None]


@dataclass(frozen=True)
class Answer:
    """What a command that came to its end left behind.

    Attributes:
        status: its exit status; 126 when it may not be run, 127 when there is no such command, -N when signal N ended it.
        stdout: all of it.
        stderr: all of it.
    """

    status: int
    stdout: bytes
    stderr: bytes


class HostLink(Protocol):
    """A way to one host. Any call may be repeated after an error; a broken connection is made anew by the next call.

    Every call raises:
        TransientError: not reachable, timed out, cut off or silent; try again.
        DeployError: refused, and trying again will not help: host key, log-in, permission, full disk.
        ConfigError: a file that the configuration names is missing or unreadable; nothing was started.
        StoppedError: the run was told to stop.
    """

    @property
    def name(self) -> str:
        """The host, for people: "this machine", "deploy@10.0.0.5:22"."""

    def run(
        self,
        arguments: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002  as subprocess calls it
        timeout_seconds: float,
        on_line: OnLine | None = None,
    ) -> Answer:
        """Runs a command on the host and returns its answer, whatever its status is.

        Start state: any.
        Steps: the command gets exactly these arguments (no shell reads them), then all of `input` on stdin and its end.
        It has no terminal. Its working folder and its environment are the host's affair: name absolute paths.
        End state, on return: the command ended; what it left in the background goes on, also when that has its stdout.
        On an error: it may have been started or not. What was started and its children end by themselves, at the
        latest `KILL_AFTER_SECONDS` after the time limit, and on this machine at once.
        Idempotence: the command's own affair.

        Args:
            arguments: the command and its arguments.
            input: what it reads.
            timeout_seconds: out of time is a TransientError; it has no answer.
            on_line: told of each line of stdout as it comes, without its newline, in the caller's thread.
        """

    def send(self, folder: Path, destination: PurePosixPath, *, timeout_seconds: float) -> None:
        """Brings a folder's files to the host, whole and durable.

        Start state: `destination` may be absent, or be what an earlier call brought; pieces of calls that were cut off
        may lie beside it. Folders above it may be absent.
        Steps: the files go to a new name beside `destination`, are made durable, and then get its name by renaming;
        what had that name, and all pieces, are removed.
        End state, on return: `destination` holds exactly the folder's files. On an error: it is absent or complete,
        the earlier one or the new one.
        Idempotence: twice is once.

        Args:
            folder: of this machine, with plain files and folders only; folders without files are not brought.
            destination: absolute. Two calls at once for the same one: at least one succeeds, neither leaves a mixture.
            timeout_seconds: of the whole.

        Raises:
            DeployError: also when the folder holds anything else, or the host has less space than the files need.
        """

    def close(self) -> None:
        """Ends the connection; closing twice is closing once, and a later call connects anew."""

    def __enter__(self) -> Self:
        """Connects with the first call, not here."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes."""


@dataclass(frozen=True)
class Luggage:
    """The files of a folder that is to be brought somewhere.

    Attributes:
        files: size of each in bytes, by its path below the folder, in order.
    """

    files: dict[PurePosixPath, int]

    @property
    def num_bytes(self) -> int:
        """Size of all files."""
        return sum(self.files.values())

    @property
    def folders(self) -> list[PurePosixPath]:
        """Every folder that the files need, below the folder, parents first."""
        return sorted({parent for path in self.files for parent in path.parents if parent.name})

    def refuse_when_larger(self, free_bytes: int, where: str) -> None:
        """Returns when the files fit.

        Raises:
            DeployError: they do not.
        """
        if self.num_bytes > free_bytes:
            raise DeployError(
                f"{where}: the files need {self.num_bytes:,} bytes, and the disk has {free_bytes:,} left for them. "
                f"Nothing was written. Make room there, or lower deployment.keep_releases."
            )


def luggage_of(folder: Path) -> Luggage:
    """The folder's files.

    Raises:
        DeployError: there is no such folder, or it holds a link or a device.
    """
    files = {}
    try:
        folder.stat()
        for path in sorted(folder.rglob("*")):
            state = path.lstat()
            if stat.S_ISREG(state.st_mode):
                files[PurePosixPath(path.relative_to(folder).as_posix())] = state.st_size
            elif not stat.S_ISDIR(state.st_mode):
                raise DeployError(f"{path} is no plain file, and only plain files are brought to a host. Remove it.")
    except OSError as error:
        raise DeployError(f"{folder} cannot be brought to a host: it cannot be read ({error.strerror}).") from error
    if not files:
        raise DeployError(f"{folder} cannot be brought to a host: it holds no file.")
    return Luggage(files)


def new_piece(destination: PurePosixPath) -> PurePosixPath:
    """A name beside `destination` that nobody else has, for what is not whole, or not wanted any more."""
    return destination.with_name(f".{destination.name}.{secrets.token_hex(8)}.piece")


def is_piece(name: str, destination: PurePosixPath) -> bool:
    """Whether a call for this destination, possibly one that was cut off, gave that name."""
    return re.fullmatch(rf"\.{re.escape(destination.name)}\.[0-9a-f]{{16}}\.piece", name) is not None


def disk_full(where: str) -> DeployError:
    """The error of a disk that got full while files were written."""
    return DeployError(
        f"{where}: the disk got full, or the account's quota was reached, while files were written. What was written is "
        f"removed. Make room there, or lower deployment.keep_releases."
    )


def disturbed(where: str) -> TransientError:
    """The error of a call whose pieces somebody else took away."""
    return TransientError(f"{where}: files came or went meanwhile; another deployment may be at work. Try again.")


def out_of_time(where: str, what: str, seconds: float) -> TransientError:
    """The error of a call that took too long."""
    return TransientError(f"{where}: {what} took longer than {seconds:g} s. Try again, or raise the time limit.")


class Stdout:
    """What a command says, gathered, and told line by line as it comes.

    Args:
        on_line: told of each line, without its newline; None tells nobody.
    """

    def __init__(self, on_line: OnLine | None) -> None:
        self._on_line = on_line
        self._said = bytearray()
        self._told = 0

    def take(self, piece: bytes) -> None:
        """Tells of the lines that are now whole."""
        self._said += piece
        *lines, _ = self._said[self._told :].split(b"\n")
        for line in lines:
            self._told += len(line) + 1
            self._tell(line)

    def end(self) -> bytes:
        """All that was said; a last line without a newline is told of now."""
        if self._told < len(self._said):
            self._tell(self._said[self._told :])
        return bytes(self._said)

    def _tell(self, line: bytearray) -> None:
        if self._on_line is not None:
            self._on_line(bytes(line))


class LocalLink:
    """A `HostLink` to this machine itself, as the user of this process."""

    name = "this machine"

    def run(
        self,
        arguments: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002  as subprocess calls it
        timeout_seconds: float,
        on_line: OnLine | None = None,
    ) -> Answer:
        """As the protocol says; an error ends the command and its children before it is raised."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as complaints:
            given.write(input)
            given.seek(0)
            try:
                process = subprocess.Popen(  # noqa: S603  an argument list; no shell
                    list(arguments), stdin=given, stdout=subprocess.PIPE, stderr=complaints, start_new_session=True
                )
            except OSError as error:
                status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
                return Answer(status, b"", f"{arguments[0]}: {error.strerror}\n".encode())
            try:
                stdout = _followed(process, timeout_seconds, on_line)
            except TimeoutError as error:
                raise out_of_time(self.name, arguments[0], timeout_seconds) from error
            complaints.seek(0)
            return Answer(process.returncode, stdout, complaints.read())

    def send(self, folder: Path, destination: PurePosixPath, *, timeout_seconds: float) -> None:
        """As the protocol says; the time limit is looked at between two files."""
        where = f"{destination} on {self.name}"
        luggage = luggage_of(folder)
        target = Path(destination)
        deadline = time.monotonic() + timeout_seconds
        fresh, replaced = new_piece(destination), new_piece(destination)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove_pieces(destination)
            luggage.refuse_when_larger(shutil.disk_usage(target.parent).free, where)
            _copy(folder, Path(fresh), luggage, deadline)
            with contextlib.suppress(FileNotFoundError):
                target.rename(replaced)  # a folder cannot be renamed over another, so there is a moment without either
            Path(fresh).rename(target)
            fsync_folder(target.parent)
        except TimeoutError as error:
            raise out_of_time(where, "bringing the files", timeout_seconds) from error
        except OSError as error:
            raise _failed(where, error) from error
        finally:
            for piece in (fresh, replaced):
                shutil.rmtree(piece, ignore_errors=True)

    def close(self) -> None:
        """Nothing is open between two calls."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _followed(process: "subprocess.Popen[bytes]", seconds: float, on_line: OnLine | None) -> bytes:
    """All of stdout once the process ended.

    Raises:
        TimeoutError: its time is up.
    """
    assert process.stdout is not None
    deadline = time.monotonic() + seconds
    stdout = Stdout(on_line)
    with (
        process.stdout,
        ended_on_error(process, KILL_AFTER_SECONDS),
        ended_by_stop(lambda: signal_session(process, signal.SIGKILL)),
    ):
        while piece := _read(process, process.stdout, deadline):
            stdout.take(piece)
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
    return stdout.end()


def _read(process: "subprocess.Popen[bytes]", stream: IO[bytes], deadline: float) -> bytes:
    """What came, at least a byte; nothing at the stream's end, or when only something in the background still has it."""
    came = select.poll()
    came.register(stream, select.POLLIN)
    while time.monotonic() < deadline:
        ended = process.poll() is not None  # asked before the stream is: what it said before its end is there by now
        if came.poll(0 if ended else _LOOK_AGAIN_MS):
            return os.read(stream.fileno(), _PIECE_BYTES)
        if ended:
            return b""
    raise TimeoutError


def _remove_pieces(destination: PurePosixPath) -> None:
    """Moves each piece away before it is removed: somebody at work on it then fails, and never names half of it."""
    for path in list(Path(destination).parent.iterdir()):
        if is_piece(path.name, destination):
            gone = Path(new_piece(destination))
            with contextlib.suppress(FileNotFoundError):  # another call removes it
                path.rename(gone)
                shutil.rmtree(gone)


def _copy(folder: Path, fresh: Path, luggage: Luggage, deadline: float) -> None:
    fresh.mkdir()
    for below in luggage.folders:
        (fresh / below).mkdir()
    for path in luggage.files:
        if time.monotonic() > deadline:
            raise TimeoutError
        with ended_by_stop(lambda: None):
            shutil.copyfile(folder / path, fresh / path, follow_symlinks=False)
    fsync_tree(fresh)


def _failed(where: str, error: OSError) -> TransientError | DeployError:
    if error.errno in DISK_IS_FULL:
        return disk_full(where)
    if error.errno in {errno.ENOENT, errno.ENOTEMPTY}:
        return disturbed(where)
    return DeployError(f"{where}: the files cannot be written ({error.strerror}). Mend the folder, or its owner.")
