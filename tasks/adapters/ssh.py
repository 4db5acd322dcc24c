"""A trading host behind SSH: only keys log in, and only hosts whose key is known are spoken to.

Nothing of the operator's own ~/.ssh takes part: no configuration, no agent, no other keys. One connection is kept from
call to call, alive by keep-alives, and made anew when it broke. It lives in a thread with an event loop of its own, so
that a caller's thread can be interrupted whatever the connection waits for: a transfer that stalls ends only when the
connection is aborted from outside (asyncssh's clean-up waits for the peer as well).

What does not belong here: what is run and brought (models_lib.deployment), and what an exception means (ssh_errors.py).
"""

import asyncio
import contextlib
import logging
import os
import queue
import shlex
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent import futures
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self, TypeVar

import asyncssh

from models_lib.config.targets import SshTargetSection
from models_lib.deployment.host_link import (
    KILL_AFTER_SECONDS,
    Answer,
    Luggage,
    OnLine,
    Stdout,
    disk_full,
    is_piece,
    luggage_of,
    new_piece,
    out_of_time,
)
from models_lib.errors import ConfigError, CrpbotError, DeployError
from models_lib.interruption import HEARD_SECONDS, ended_by_stop
from tasks.adapters.ssh_errors import RAISED, meaning

KEY_PASSPHRASE = "CRPBOT_SSH_KEY_PASSPHRASE"  # noqa: S105  the variable's name
_KEEPALIVES = 3
"""Unanswered ones before the connection is given up."""
_BLOCK_BYTES, _BLOCKS_UNDER_WAY = 32_768, 16
"""Half a MiB waits in the connection at most, or a keep-alive's answer would come too late on a slow link."""
_FULL_BELOW_BYTES = 1 << 20
"""SFTP's own word for a full disk is "Failure": with less space left than this, that is what it means."""
_OUT_OF_TIME = frozenset({124, 128 + signal.SIGKILL, -signal.SIGKILL})
"""How timeout(1) ends when it had to end the command."""
_GRACE_SECONDS = 2.0
_LAST_WORDS_SECONDS = 0.5
"""A command that ended and says nothing for so long has said all."""
T = TypeVar("T")
log = logging.getLogger(__name__)


class SshLink:
    """A `HostLink` over SSH, for one thread. The host needs timeout, find, sync and rm of coreutils and findutils.

    Args:
        section: the target.

    Raises:
        ConfigError: the key or the file of known hosts cannot be read.
    """

    def __init__(self, section: SshTargetSection) -> None:
        self.name = f"{section.user}@{section.host}:{section.port}"
        self._section = section
        self._key = _read_key(section.key_file, os.environ.get(KEY_PASSPHRASE))
        self._known_hosts = _read_known_hosts(section.known_hosts)
        self._connection: asyncssh.SSHClientConnection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(
        self,
        arguments: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002  as in the protocol
        timeout_seconds: float,
        on_line: OnLine | None = None,
    ) -> Answer:
        """As the protocol says; the host's own timeout(1) ends the command, also when this connection is gone."""
        lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        return self._call(
            lambda: self._run(arguments, input, timeout_seconds, lines.put),
            limit_seconds=timeout_seconds,
            grace_seconds=KILL_AFTER_SECONDS + _GRACE_SECONDS,
            what=arguments[0],
            lines=lines,
            on_line=on_line,
        )

    def send(self, folder: Path, destination: PurePosixPath, *, timeout_seconds: float) -> None:
        """As the protocol says, by SFTP."""
        luggage = luggage_of(folder)
        self._call(
            lambda: self._send(folder, luggage, destination, timeout_seconds),
            limit_seconds=timeout_seconds,
            what=f"bringing {destination}",
        )

    def close(self) -> None:
        """Aborts the connection: every call has its answers by now, and a goodbye may wait for a silent host."""
        loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._ended(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(
        self,
        act: Callable[[], Coroutine[Any, Any, T]],
        *,
        limit_seconds: float,
        grace_seconds: float = 0.0,
        what: str,
        lines: "queue.SimpleQueue[bytes | None] | None" = None,
        on_line: OnLine | None = None,
    ) -> T:
        """Waits for what happens in the loop's thread; whatever ends the waiting ends the connection."""
        loop = self._running_loop()
        limited = self._limited(act, limit_seconds, grace_seconds, what)
        answer = asyncio.run_coroutine_threadsafe(limited, loop)

        def end() -> None:
            answer.cancel()
            loop.call_soon_threadsafe(self._abort)

        try:
            with ended_by_stop(end):
                if lines is not None:
                    answer.add_done_callback(lambda _: lines.put(None))
                    while (line := _next(lines)) is not None:
                        if on_line is not None:
                            on_line(line)
                while not answer.done():
                    futures.wait((answer,), timeout=HEARD_SECONDS)
                return answer.result()
        except BaseException:
            end()
            raise

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_exception_handler(_of_nobody)
            self._thread = threading.Thread(target=self._loop.run_forever, name=f"ssh {self.name}", daemon=True)
            self._thread.start()
        return self._loop

    async def _limited(
        self, act: Callable[[], Coroutine[Any, Any, T]], limit_seconds: float, grace_seconds: float, what: str
    ) -> T:
        """Connects where needed, then acts under the time limit; every exception that it knows is named."""
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            self._abort()

        await self._connect()
        limit = asyncio.get_running_loop().call_later(limit_seconds + grace_seconds, expire)
        try:
            return await act()
        except (*RAISED, CrpbotError) as error:
            if expired:
                raise out_of_time(self.name, what, limit_seconds) from error
            if isinstance(error, CrpbotError):
                raise
            lost = self._connection is None or self._connection.is_closed()
            raise meaning(error, self.name, lost=lost) from error
        finally:
            limit.cancel()

    async def _connect(self) -> None:
        if self._connection is not None and not self._connection.is_closed():
            return
        section = self._section
        try:
            self._connection = await asyncssh.connect(
                section.host,
                section.port,
                username=section.user,
                known_hosts=self._known_hosts,
                client_keys=[self._key],
                preferred_auth="publickey",
                agent_path=None,
                config=None,
                connect_timeout=section.connect_timeout_seconds,
                login_timeout=section.connect_timeout_seconds,
                keepalive_interval=section.silence_limit_seconds / (_KEEPALIVES + 1),
                keepalive_count_max=_KEEPALIVES,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise self._wrong_host() from error
        except asyncssh.PermissionDenied as error:
            raise DeployError(
                f"{self.name}: the host does not let the key {section.key_file} log in. Add its public half to "
                f"~/.ssh/authorized_keys of {section.user} there, or name another user or key_file."
            ) from error
        except RAISED as error:
            raise meaning(error, self.name) from error

    def _wrong_host(self) -> DeployError:
        section = self._section
        known = self._known_hosts.match(section.host, "", section.port)[0]
        if known:
            return DeployError(
                f"{self.name}: the host shows another key than the one in {section.known_hosts}. It was set up anew, or "
                f"somebody is in between: compare `ssh-keygen -lf` on the host itself before changing that file."
            )
        return DeployError(
            f"{self.name}: the host is unknown, {section.known_hosts} has no key for it. Add what `ssh-keyscan -p "
            f"{section.port} {section.host}` prints, after comparing it with the host's own `ssh-keygen -lf`."
        )

    def _abort(self) -> None:
        if self._connection is not None:
            self._connection.abort()

    async def _ended(self) -> None:
        self._abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._connection is not None:
            await self._connection.wait_closed()
        for _ in range(3):  # what was aborted closes its socket some turns of the loop later
            await asyncio.sleep(0)

    async def _run(self, arguments: Sequence[str], given: bytes, seconds: float, on_line: OnLine | None) -> Answer:
        assert self._connection is not None
        began = time.monotonic()
        guard = ("timeout", "-k", str(KILL_AFTER_SECONDS), f"{seconds:.3f}")
        # The only string that a shell reads: SSH has no other way. Every argument is quoted.
        command = shlex.join([*guard, *arguments])
        session = _Command(on_line)
        channel, _ = await self._connection.create_session(lambda: session, command, encoding=None)
        with contextlib.suppress(BrokenPipeError):  # it need not read
            channel.write(given)
            channel.write_eof()
        await session.end()
        channel.close()
        status = channel.get_returncode()
        if status is None:
            raise asyncssh.ConnectionLost("the command has no exit status")
        if status in _OUT_OF_TIME and time.monotonic() - began >= seconds:
            raise out_of_time(self.name, arguments[0], seconds)
        return Answer(status, session.stdout.end(), bytes(session.stderr))

    async def _send(self, folder: Path, luggage: Luggage, destination: PurePosixPath, seconds: float) -> None:
        assert self._connection is not None
        where = f"{destination} on {self.name}"
        fresh, replaced = new_piece(destination), new_piece(destination)
        async with self._connection.start_sftp_client() as sftp:
            try:
                await sftp.makedirs(destination.parent, exist_ok=True)
                await self._remove_pieces(sftp, destination, seconds)
                luggage.refuse_when_larger(await _free_bytes(sftp, destination.parent), where)
                await _put(sftp, folder, luggage, fresh)
                await self._must(("find", str(fresh), "-exec", "sync", "{}", "+"), seconds)
                with contextlib.suppress(asyncssh.SFTPNoSuchFile):
                    # A folder cannot be renamed over another, so there is a moment without either.
                    await sftp.posix_rename(destination, replaced)
                await sftp.posix_rename(fresh, destination)
                await self._must(("sync", str(destination.parent)), seconds)
            except asyncssh.SFTPFailure as error:
                full = await _free_bytes(sftp, destination.parent) < _FULL_BELOW_BYTES
                raise (disk_full(where) if full else meaning(error, where)) from error
            except asyncssh.SFTPError as error:
                raise meaning(error, where) from error
            finally:
                if not self._connection.is_closed():
                    await self._must(("rm", "-rf", "--", str(fresh), str(replaced)), seconds)

    async def _remove_pieces(self, sftp: asyncssh.SFTPClient, destination: PurePosixPath, seconds: float) -> None:
        """Moves each piece away before it is removed: somebody at work on it then fails, and never names half of it."""
        gone = []
        for name in await sftp.listdir(destination.parent):
            if is_piece(str(name), destination):
                with contextlib.suppress(asyncssh.SFTPNoSuchFile):  # another call removes it
                    await sftp.posix_rename(destination.with_name(str(name)), piece := new_piece(destination))
                    gone.append(str(piece))
        if gone:
            await self._must(("rm", "-rf", "--", *gone), seconds)

    async def _must(self, arguments: Sequence[str], seconds: float) -> None:
        answer = await self._run(arguments, b"", seconds, None)
        if answer.status != 0:
            said = answer.stderr.decode(errors="replace").strip()[-300:]
            raise DeployError(
                f"{self.name}: `{arguments[0]}` failed there with status {answer.status} ({said or 'it said nothing'}). "
                f"Mend what it says, then deploy again."
            )


def _next(lines: "queue.SimpleQueue[bytes | None]") -> bytes | None:
    """The next line; None when there is no more."""
    while True:
        with contextlib.suppress(queue.Empty):
            return lines.get(timeout=HEARD_SECONDS)


def _of_nobody(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An aborted transfer leaves tasks behind that nobody asks for their end; the call itself tells of it."""
    log.debug("%s: %r", context.get("message"), context.get("exception"))


class _Command(asyncssh.SSHClientSession[bytes]):
    """What a command on the host says until it ends."""

    def __init__(self, on_line: OnLine | None) -> None:
        self.stdout = Stdout(on_line)
        self.stderr = bytearray()
        self._num_bytes = 0
        self._ended = asyncio.Event()
        self._closed = asyncio.Event()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._num_bytes += len(data)
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self.stderr += data
        else:
            self.stdout.take(data)

    def exit_status_received(self, status: int) -> None:  # noqa: ARG002  the channel keeps it
        self._ended.set()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: ARG002
        self._ended.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the channel has no exit status then
        self._ended.set()
        self._closed.set()

    async def end(self) -> None:
        """Returns when the command ended and its last words are here.

        They may come after its exit status; what it left in the background may keep its stdout open for ever.
        """
        await self._ended.wait()
        heard = -1
        while heard < self._num_bytes:
            heard = self._num_bytes
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), _LAST_WORDS_SECONDS)
                return


async def _put(sftp: asyncssh.SFTPClient, folder: Path, luggage: Luggage, fresh: PurePosixPath) -> None:
    await sftp.mkdir(fresh)
    for below in luggage.folders:
        await sftp.mkdir(fresh / below)
    for path in luggage.files:
        await sftp.put(
            folder / path, fresh / path, sparse=False, block_size=_BLOCK_BYTES, max_requests=_BLOCKS_UNDER_WAY
        )


async def _free_bytes(sftp: asyncssh.SFTPClient, folder: PurePosixPath) -> int:
    disk = await sftp.statvfs(folder)
    return disk.bavail * disk.frsize


def _read_key(path: Path, passphrase: str | None) -> asyncssh.SSHKey:
    try:
        return asyncssh.read_private_key(path, passphrase)
    except OSError as error:
        raise ConfigError(
            f"key_file={path} cannot be read ({error.strerror}). Name the private key for the host."
        ) from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise ConfigError(
            f"key_file={path} is no private key that can be used ({error}). If it has a passphrase, set {KEY_PASSPHRASE}."
        ) from None  # the library's own chain may hold what it tried


def _read_known_hosts(path: Path) -> asyncssh.SSHKnownHosts:
    try:
        return asyncssh.read_known_hosts(str(path))
    except OSError as error:
        raise ConfigError(
            f"known_hosts={path} cannot be read ({error.strerror}). It must hold the host's public key, as `ssh-keyscan` "
            f"prints it."
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"known_hosts={path} is not in the format of known hosts ({error}). Mend the line."
        ) from error
