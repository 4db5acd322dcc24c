"""What a deployer is told when the way to the host is broken, and that a second try finds a clean host."""

import ast
import contextlib
import errno
import inspect
import os
import socket
import time
from pathlib import Path, PurePosixPath

import asyncssh
import pytest

from models_lib.errors import ConfigError, CrpbotError, DeployError, TransientError
from tasks.adapters import ssh, ssh_errors
from tasks.adapters.ssh import KEY_PASSPHRASE, SshLink
from tests.ports import free_port
from tests.proxy import Listener, Proxy
from tests.sshd import Sshd

LIMIT = 20.0
SOON = 5.0
STALL_LIMITS = {
    "silence": ({"silence_limit_seconds": 0.8}, LIMIT, "silent for longer"),
    "time": ({"silence_limit_seconds": 60.0}, 2.0, r"took longer than 2 s"),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    for name in ("model.onnx", "weights", "golden"):
        (folder / name).write_bytes(os.urandom(300_000))
    return folder


@pytest.fixture
def place(tmp_path: Path) -> PurePosixPath:
    return PurePosixPath(tmp_path / "host" / "abc")


def files_of(folder: Path | PurePosixPath) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def refusal(sshd: Sshd, kind: type[CrpbotError], **changes: object) -> str:
    """What a first command is answered; within seconds."""
    began = time.monotonic()
    with SshLink(sshd.section(**changes)) as link, pytest.raises(kind) as refused:
        link.run(["true"], timeout_seconds=LIMIT)
    assert time.monotonic() - began < SOON
    return str(refused.value)


def test_host_with_another_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{sshd.port} {other}")
    assert "shows another key than the one in" in refusal(sshd, DeployError, known_hosts=tmp_path / "known")


@pytest.mark.parametrize("content", ["", "[127.0.0.2]:* "], ids=["empty", "of-another-host"])
def test_unknown_host_is_refused(sshd: Sshd, tmp_path: Path, content: str) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    (tmp_path / "known").write_text(f"{content}{key}" if content else "")
    assert "ssh-keyscan -p" in refusal(sshd, DeployError, known_hosts=tmp_path / "known")


def test_key_that_the_host_does_not_take_is_refused_though_the_operators_own_would_do(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of ~/.ssh takes part: neither its keys nor its configuration."""
    own = tmp_path / ".ssh"
    own.mkdir()
    (own / "id_ed25519").write_bytes(sshd.key_file.read_bytes())
    (own / "config").write_text("Host *\n  Port 1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    said = refusal(sshd, DeployError, key_file=sshd.other_key_file)
    assert "does not let the key" in said
    with SshLink(sshd.section()) as link:
        assert link.run(["true"], timeout_seconds=LIMIT).status == 0


@pytest.mark.parametrize("banner", [b"", b"SSH-2.0-OpenSSH_9.2\r\n"], ids=["nothing", "banner"])
def test_host_that_accepts_and_then_says_nothing_is_given_up(sshd: Sshd, banner: bytes) -> None:
    with Listener(banner) as host:
        said = refusal(sshd, TransientError, port=host.port, connect_timeout_seconds=0.5)
    assert "did not answer in time" in said


def test_host_that_is_no_ssh_server_is_refused(sshd: Sshd) -> None:
    with Listener(b"220 mail.example.org ESMTP\r\n" * 2000) as host:
        said = refusal(sshd, CrpbotError, port=host.port, connect_timeout_seconds=1.0)
    assert f":{host.port}" in said


def test_port_where_nobody_listens_may_be_tried_again(sshd: Sshd) -> None:
    assert "not reachable" in refusal(sshd, TransientError, port=free_port())


def test_name_that_nobody_has_may_be_tried_again(sshd: Sshd) -> None:
    assert "not reachable" in refusal(sshd, TransientError, host="nobody.invalid")


@pytest.mark.parametrize("field", ["key_file", "known_hosts"])
@pytest.mark.parametrize("fault", ["absent", "folder", "garbage"])
def test_file_that_cannot_be_used_is_named(sshd: Sshd, tmp_path: Path, field: str, fault: str) -> None:
    path = tmp_path / "file"
    if fault == "folder":
        path.mkdir()
    elif fault == "garbage":
        path.write_bytes(b"\xff\xfe not what it should be \x00")
    with pytest.raises(ConfigError, match=f"{field}={path}"):
        SshLink(sshd.section(**{field: path}))


def test_key_with_a_passphrase_needs_it_from_the_environment(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "locked"
    locked.write_bytes(asyncssh.read_private_key(sshd.key_file).export_private_key("pkcs8-pem", "s3cret"))
    for passphrase in (None, "wr0ng"):
        if passphrase is not None:
            monkeypatch.setenv(KEY_PASSPHRASE, passphrase)
        with pytest.raises(ConfigError, match=KEY_PASSPHRASE) as refused:
            SshLink(sshd.section(key_file=locked))
        assert "wr0ng" not in str(refused.value)
    monkeypatch.setenv(KEY_PASSPHRASE, "s3cret")
    with SshLink(sshd.section(key_file=locked)) as link:
        assert link.run(["true"], timeout_seconds=LIMIT).status == 0


@pytest.mark.parametrize(
    ("num_bytes", "earlier"),
    [
        (500_000, True),
        pytest.param(0, True, marks=pytest.mark.long),
        pytest.param(0, False, marks=pytest.mark.long),
        pytest.param(100_000, True, marks=pytest.mark.long),
        pytest.param(500_000, False, marks=pytest.mark.long),
    ],
)
def test_cut_transfer_leaves_a_whole_folder_or_none_and_the_next_one_succeeds(
    sshd: Sshd, tree: Path, place: PurePosixPath, num_bytes: int, earlier: bool
) -> None:
    with Proxy(sshd.port) as proxy, SshLink(sshd.section(port=proxy.port)) as link:
        if earlier:
            link.send(tree, place, timeout_seconds=LIMIT)
        before = files_of(place)
        (tree / "weights").write_bytes(os.urandom(350_000))
        link.run(["true"], timeout_seconds=LIMIT)
        proxy.cut_after(num_bytes)
        began = time.monotonic()
        with pytest.raises(TransientError, match="connection was lost"):
            link.send(tree, place, timeout_seconds=LIMIT)
        assert time.monotonic() - began < SOON
        assert proxy.happened.is_set()
        assert files_of(place) == before
        proxy.heal()
        link.send(tree, place, timeout_seconds=LIMIT)
    assert files_of(place) == files_of(tree)
    assert [path.name for path in Path(place.parent).iterdir()] == [place.name]


@pytest.mark.parametrize("limit", ["silence", pytest.param("time", marks=pytest.mark.long)])
def test_stalled_transfer_is_given_up_and_the_next_one_succeeds(
    sshd: Sshd, tree: Path, place: PurePosixPath, limit: str
) -> None:
    changes, seconds, words = STALL_LIMITS[limit]
    with Proxy(sshd.port) as proxy, SshLink(sshd.section(port=proxy.port, **changes)) as link:
        link.run(["true"], timeout_seconds=LIMIT)
        proxy.stall_after(300_000)
        began = time.monotonic()
        with pytest.raises(TransientError, match=words):
            link.send(tree, place, timeout_seconds=seconds)
        assert time.monotonic() - began < SOON
        assert proxy.happened.is_set()
        assert not Path(place).exists()
        proxy.heal()
        link.send(tree, place, timeout_seconds=LIMIT)
    assert files_of(place) == files_of(tree)
    assert [path.name for path in Path(place.parent).iterdir()] == [place.name]


def test_command_on_a_stalled_connection_is_given_up(sshd: Sshd) -> None:
    with Proxy(sshd.port) as proxy, SshLink(sshd.section(port=proxy.port, silence_limit_seconds=0.8)) as link:
        link.run(["true"], timeout_seconds=LIMIT)
        proxy.stall_after(0)
        began = time.monotonic()
        with pytest.raises(TransientError, match="silent for longer"):
            link.run(["true"], timeout_seconds=LIMIT)
        assert time.monotonic() - began < SOON
        proxy.heal()
        assert link.run(["echo", "again"], timeout_seconds=LIMIT).stdout == b"again\n"


def test_stalled_link_closes_at_once(sshd: Sshd) -> None:
    with Proxy(sshd.port) as proxy:
        with SshLink(sshd.section(port=proxy.port, silence_limit_seconds=60.0)) as link:
            link.run(["true"], timeout_seconds=LIMIT)
            proxy.stall_after(0)
            began = time.monotonic()
        assert time.monotonic() - began < SOON


def test_connection_that_broke_between_two_calls_is_made_anew(sshd: Sshd) -> None:
    with Proxy(sshd.port) as proxy, SshLink(sshd.section(port=proxy.port, silence_limit_seconds=0.4)) as link:
        link.run(["true"], timeout_seconds=LIMIT)
        proxy.cut_after(0)
        assert proxy.happened.wait(SOON)  # by a keep-alive
        proxy.heal()
        with contextlib.suppress(TransientError):
            link.run(["true"], timeout_seconds=LIMIT)  # may be the first to notice
        assert link.run(["echo", "again"], timeout_seconds=LIMIT).stdout == b"again\n"


@pytest.mark.long
def test_slow_link_is_not_a_silent_one(sshd: Sshd, tree: Path, place: PurePosixPath) -> None:
    """4 s of transfer under a limit of 2.5 s of silence: keep-alives do not wait behind all of the data."""
    with (
        Proxy(sshd.port, bytes_per_second=220_000) as proxy,
        SshLink(sshd.section(port=proxy.port, silence_limit_seconds=2.5)) as link,
    ):
        began = time.monotonic()
        link.send(tree, place, timeout_seconds=60.0)
        assert time.monotonic() - began > 4.0
    assert files_of(place) == files_of(tree)


def library_errors() -> list[type[Exception]]:
    """Every exception class of the library that a network, a host or its answer can cause.

    ProcessError is raised by its `run(check=True)` alone, which is not used.
    """
    found = (kind for _, kind in inspect.getmembers(asyncssh, inspect.isclass))
    return [kind for kind in found if issubclass(kind, asyncssh.Error) and not issubclass(kind, asyncssh.ProcessError)]


def made(kind: type[Exception]) -> Exception:
    wanted = [
        parameter
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is inspect.Parameter.empty and name not in ("args", "kwargs")
    ]
    return kind(*[asyncssh.DISC_PROTOCOL_ERROR if one.annotation is int else "a reason" for one in wanted])


@pytest.mark.parametrize("kind", library_errors(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_library_has_a_meaning(kind: type[Exception]) -> None:
    error = made(kind)
    assert isinstance(error, ssh_errors.RAISED)
    named = ssh_errors.meaning(error, "deploy@host:22")
    assert type(named) in (DeployError, TransientError)
    assert str(named).startswith("deploy@host:22: ")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (asyncssh.ConnectionLost("x"), TransientError, "connection was lost"),
        (asyncssh.SFTPConnectionLost("x"), TransientError, "connection was lost"),
        (asyncssh.KeyExchangeFailed("no common cipher"), DeployError, "no common cipher"),
        (asyncssh.SFTPPermissionDenied("x"), DeployError, "no permission"),
        (asyncssh.SFTPNoSpaceOnFilesystem("x"), DeployError, "the disk got full"),
        (asyncssh.SFTPQuotaExceeded("x"), DeployError, "quota"),
        (asyncssh.SFTPNoSuchFile("x"), TransientError, "another deployment"),
        (asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "x"), TransientError, "too many"),
        (asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "x"), DeployError, "refuses"),
        (asyncssh.DisconnectError(asyncssh.DISC_TOO_MANY_CONNECTIONS, "x"), TransientError, "too many"),
        (TimeoutError(), TransientError, "did not answer in time"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), TransientError, "not reachable"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), TransientError, "not reachable"),
        (socket.gaierror(socket.EAI_NONAME, "no such name"), TransientError, "no such name"),
        (OSError(errno.ENOSPC, "x"), DeployError, "the disk got full"),
        (EOFError(), TransientError, "connection was lost"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_error_means(error: Exception, kind: type[CrpbotError], words: str) -> None:
    named = ssh_errors.meaning(error, "deploy@host:22")
    assert type(named) is kind
    assert words in str(named)


def test_host_keys_are_always_checked_and_nothing_comes_from_the_operators_home() -> None:
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(ssh))) if isinstance(node, ast.Call)]
    (connect,) = [node for node in calls if ast.unparse(node.func) == "asyncssh.connect"]
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in connect.keywords}
    assert given["known_hosts"] == "self._known_hosts"
    assert given["client_keys"] == "[self._key]"
    assert (given["config"], given["agent_path"], given["preferred_auth"]) == ("None", "None", "'publickey'")
