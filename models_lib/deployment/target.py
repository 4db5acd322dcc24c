"""What a run needs from the place where a champion is put to use, and the places that a configuration names.

What does not belong here: any particular place, and the order of promotion and deployment (models_lib.steps.release).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from models_lib.config import DeploymentSection
from models_lib.config.targets import FolderTargetSection, LocalTargetSection, SshTargetSection
from models_lib.deployment.folder import FolderTarget
from models_lib.deployment.host import HostTarget
from models_lib.deployment.host_link import HostLink, LocalLink
from models_lib.deployment.look import Look
from models_lib.deployment.release import Release
from models_lib.errors import ConfigError, DeployError

_log = logging.getLogger(__name__)

EMBEDDED_HOST = "host"
"""Where a local target without a folder of its own lies in the state folder."""
SshOpener = Callable[[SshTargetSection], HostLink]
"""A new way to a host behind SSH. It comes from the adapters, for this library has no network."""


class DeploymentTarget(Protocol):
    """A place with one current release a symbol. Each call may be repeated: doing it twice is doing it once."""

    @property
    def name(self) -> str:
        """As in the configuration."""

    def current(self, symbol: str) -> str | None:
        """The hash of the bundle that is in use there; None when there is none.

        Raises:
            DeployError: the target cannot tell.
            TransientError: it does not answer now.
        """

    def look(self) -> Look:
        """Everything that is seen of it at once, answered without waiting long.

        Raises:
            DeployError, TransientError: as `current`.
        """

    def deploy(self, release: Release) -> str:
        """Puts a bundle to use and returns its hash.

        Start state: anything that an earlier call left, finished or not.
        Steps: the bundle's files are brought there and verified there; then one atomic switch.
        End state, on return: the bundle is current, and the one before it can be put back. On an error: whatever was
        current before is still current.

        Raises:
            DeployError: refused or failed.
            TransientError: it does not answer now.
        """

    def deploy_all(self, releases: Sequence[Release]) -> Mapping[str, DeployError | None]:
        """As `deploy`, of several symbols at once; symbol -> why it is not deployed, None when it is.

        Raises:
            DeployError, TransientError: of none of them, for a reason that is not one symbol's.
        """

    def put_back(self, symbol: str, bundle_hash: str | None) -> None:
        """Makes an earlier release current again; None leaves the symbol without one.

        Raises:
            DeployError: that release is not there any more, or is damaged.
            TransientError: it does not answer now.
        """

    def hold(self, symbol: str, *, reason: str) -> str:
        """Silences the symbol there from the next bar on; one sentence of what that came to.

        Raises:
            DeployError, TransientError: as `current`; the symbol may speak on.
        """

    def release_hold(self, symbol: str) -> str:
        """Ends the symbol's hold there; one sentence of what that came to.

        Raises:
            DeployError, TransientError: as `current`.
        """


def local_folder(section: LocalTargetSection, *, home: Path) -> Path:
    """Where a runtime of this machine has its folder."""
    return section.folder or home.absolute() / EMBEDDED_HOST


def open_target(
    section: DeploymentSection,
    name: str | None,
    *,
    home: Path,
    ssh: SshOpener,
    who: str,
    say: Callable[[str], None] = _log.info,
) -> DeploymentTarget | None:
    """The target of that name; None when the name is None.

    Args:
        section: the configured targets.
        name: one of them, or None.
        home: the state folder, where the embedded target lies.
        ssh: opens the way to a host behind SSH.
        who: for the host's record.
        say: takes progress, sentence by sentence.

    Raises:
        ConfigError: no target has that name.
    """
    if name is None:
        return None
    match section.targets.get(name):
        case FolderTargetSection() as folder:
            return FolderTarget(folder.folder, keep=section.keep_releases, name=name, who=who)
        case LocalTargetSection() as local:
            placed = local.model_copy(update={"folder": local_folder(local, home=home)})
            return HostTarget(name, placed, section, LocalLink, who, say)
        case SshTargetSection() as remote:
            return HostTarget(name, remote, section, lambda: ssh(remote), who, say)
        case _:
            raise ConfigError(
                f"{name!r} is no configured target; configured are {', '.join(sorted(section.targets)) or 'none'}. Add it to "
                f"deployment.targets in the configuration file, or name one of these."
            )
