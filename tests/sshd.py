"""A real sshd on loopback with throw-away keys, for this user; and how a section names it.

with Sshd(folder) as host:
with SshLink(host.section(folder=host.folder)) as link: ...
"""

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncssh
import pytest

from models_lib.config.targets import SshTargetSection
from tests.ports import free_port

_SSHD = Path("/usr/sbin/sshd")
_START_SECONDS = 10.0


class Sshd:
    """The server, from entering the context to leaving it.

    Attributes:
        port: where it listens on 127.0.0.1.
        folder: for what tests put on "the host".
        key_file: logs in.
        other_key_file: does not.
        known_hosts: knows this host, at every port: a proxy before it has another one.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder / "host"
        self.folder.mkdir()
        self.key_file, self.other_key_file = folder / "id", folder / "id_other"
        self.known_hosts = folder / "known_hosts"
        self._config, self._log = folder / "sshd_config", folder / "sshd.log"
        host_key = self._make_keys(folder)
        self._config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nPidFile none\nStrictModes no\nUsePAM no\n"
            f"AuthorizedKeysFile {folder / 'authorized_keys'}\nPasswordAuthentication no\nPermitRootLogin yes\n"
            f"Subsystem sftp internal-sftp\nMaxStartups 100\nLogLevel ERROR\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def section(self, **changes: Any) -> SshTargetSection:
        """A target at this host with small time limits."""
        values = {
            "kind": "ssh",
            "host": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "key_file": self.key_file,
            "known_hosts": self.known_hosts,
            "folder": self.folder,
            "connect_timeout_seconds": 5.0,
            "silence_limit_seconds": 5.0,
            "transfer_timeout_seconds": 20.0,
        }
        return SshTargetSection.model_validate(values | changes)

    def __enter__(self) -> Self:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd of root wants it
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([_SSHD, "-D", "-e", "-f", self._config], stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, "sshd did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _make_keys(self, folder: Path) -> Path:
        host_key = folder / "host_key"
        keys = {
            path: asyncssh.generate_private_key("ssh-ed25519")
            for path in (host_key, self.key_file, self.other_key_file)
        }
        for path, key in keys.items():
            path.touch(0o600)
            path.write_bytes(key.export_private_key())
        (folder / "authorized_keys").write_bytes(keys[self.key_file].export_public_key())
        public = keys[host_key].export_public_key().decode()
        self.known_hosts.write_text(f"[127.0.0.1]:* {public}")
        return host_key


def need_sshd() -> None:
    """Skips the test, loudly, where there is no sshd."""
    if not _SSHD.exists() or shutil.which("timeout") is None:
        pytest.skip("needs /usr/sbin/sshd (Debian package openssh-server): the way over SSH was NOT tested")
