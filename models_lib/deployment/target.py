"""What a run needs from the place where a champion is put to use.

What does not belong here: any particular place, and the order of promotion and deployment (models_lib.steps.release).
"""

from pathlib import Path
from typing import Protocol

from models_lib.config import DeploymentSection


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

    def deploy(self, symbol: str, bundle: Path) -> str:
        """Puts a bundle to use and returns the release's name.

        Start state: anything that an earlier call left, finished or not.
        Steps: the bundle's files are brought there and verified there; then one atomic switch.
        End state, on return: the bundle is current, and the one before it can be put back. On an error: whatever was
        current before is still current.

        Args:
            symbol: whose release.
            bundle: a bundle folder of the store, named by its hash.

        Raises:
            DeployError: refused or failed.
            TransientError: it does not answer now.
        """

    def put_back(self, symbol: str, bundle_hash: str | None) -> None:
        """Makes an earlier release current again; None leaves the symbol without one.

        Raises:
            DeployError: that release is not there any more, or is damaged.
            TransientError: it does not answer now.
        """


def open_target(section: DeploymentSection) -> DeploymentTarget | None:
    """The configured target; None when none is."""
    from models_lib.deployment.folder import FolderTarget  # noqa: PLC0415  it names the protocol above

    match section.target:
        case None:
            return None
        case "folder":
            assert section.folder is not None, "DeploymentSection refuses the target without its folder"
            return FolderTarget(section.folder.absolute(), keep=section.keep_releases)
