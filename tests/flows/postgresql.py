"""A real PostgreSQL from Debian's package, in a folder of its own."""

import contextlib
import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.ports import free_port

PASSWORD = "canary-7c41e9"


def programs() -> Path | None:
    """The folder of initdb and postgres; None where they are not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def unprivileged() -> str:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return getpass.getuser()
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@contextlib.contextmanager
def cluster(where: Path) -> Iterator[str]:
    """The address of a fresh cluster on loopback, made with the programs in `where`."""
    user = unprivileged()
    as_user = {"user": user} if os.getuid() == 0 else {}
    folder, port = Path(tempfile.mkdtemp(prefix="crpbot-postgresql-")), free_port()
    try:
        (folder / "password").write_text(PASSWORD)
        if as_user:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        data = str(folder / "data")
        words = ["-D", data, "-U", "crpbot", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync"]
        subprocess.run([where / "initdb", *words], cwd=folder, check=True, capture_output=True, **as_user)
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        process = subprocess.Popen(
            [where / "postgres", "-D", data, "-p", str(port), *settings],
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
            **as_user,
        )
        try:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if "ready to accept connections" in line:
                    break
            else:
                raise AssertionError(f"PostgreSQL did not start: {''.join(said)}")
            yield f"postgresql://crpbot:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # its fast way to end
            process.communicate(timeout=60)
    finally:
        shutil.rmtree(folder)
