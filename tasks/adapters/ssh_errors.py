"""What asyncssh's exceptions mean to a deployer: try again, or mend the host, the key or the configuration.

What does not belong here: connecting, and anything that needs a connection.
"""

import asyncssh

from models_lib.deployment.host_link import DISK_IS_FULL, disk_full, disturbed
from models_lib.errors import DeployError, TransientError

RAISED = (asyncssh.Error, OSError, EOFError)
"""Every class that asyncssh raises for what a network, a host or its answer did; time-outs are OSErrors."""
_FULL = (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)
_CAME_OR_WENT = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPFileAlreadyExists, FileNotFoundError)
_LOST = (
    asyncssh.ConnectionLost,
    asyncssh.MACError,
    asyncssh.CompressionError,
    asyncssh.ServiceNotAvailable,
    asyncssh.SFTPNoConnection,
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPEOFError,
    EOFError,
)
# The first row that fits counts.
_MEANINGS: tuple[tuple[tuple[type[BaseException], ...], type[TransientError | DeployError], str], ...] = (
    (
        (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect, PermissionError),
        DeployError,
        "no permission ({said}). Give the folder to the user who deploys.",
    ),
    ((TimeoutError,), TransientError, "the host did not answer in time ({said}). Try again, or check that it is up."),
    (
        _LOST,
        TransientError,
        "the connection was lost, or the host was silent for longer than silence_limit_seconds ({said}). Try again.",
    ),
    ((asyncssh.Error,), DeployError, "the host refuses ({said}). Check its SSH server."),
    ((OSError,), TransientError, "not reachable ({said}). Try again, or check host and port."),
)


def meaning(error: BaseException, where: str, *, lost: bool = False) -> TransientError | DeployError:
    """The error for the caller.

    Args:
        error: one of `RAISED`; HostKeyNotVerifiable and PermissionDenied have remedies of their own, at the log-in.
        where: whom it is about.
        lost: whether the connection is gone.
    """
    if isinstance(error, _FULL) or getattr(error, "errno", None) in DISK_IS_FULL:
        return disk_full(where)
    if isinstance(error, _CAME_OR_WENT):
        return disturbed(where)
    said = _said(error)
    if lost or (isinstance(error, asyncssh.ChannelOpenError) and error.code == asyncssh.OPEN_CONNECT_FAILED):
        error = asyncssh.ConnectionLost(said)  # what broke first is not always told
    if _is_crowded(error):
        return TransientError(f"{where}: the host has too many connections or sessions ({said}). Try again.")
    kind, sentence = next((kind, text) for classes, kind, text in _MEANINGS if isinstance(error, classes))
    return kind(f"{where}: {sentence.format(said=said)}")


def _is_crowded(error: BaseException) -> bool:
    if isinstance(error, asyncssh.ChannelOpenError):
        return error.code == asyncssh.OPEN_RESOURCE_SHORTAGE
    return isinstance(error, asyncssh.DisconnectError) and error.code == asyncssh.DISC_TOO_MANY_CONNECTIONS


def _said(error: BaseException) -> str:
    """One line of what the library says."""
    text = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return f"{type(error).__name__}: {' '.join(str(text).split())[:200]}".removesuffix(": ")
