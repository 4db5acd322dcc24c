"""Releases in a folder of this machine, which a runtime on the same machine, or one that mounts it, reads.

    <folder>/releases/<SYMBOL>/<hash>/    bundles (models_lib.host.releases)
    <folder>/current/<SYMBOL>             a link to one of them
    <folder>/locks/<SYMBOL>               held by whoever deploys the symbol

What does not belong here: starting a runtime and asking it for its health.
"""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from models_lib.bundle.hashes import verify_hashes
from models_lib.deployment.release import Release
from models_lib.errors import BundleError, ConfigError, DeployError
from models_lib.host.releases import Releases


class FolderTarget:
    """A `DeploymentTarget` over a folder.

    Args:
        folder: absolute.
        keep: releases kept a symbol; the current one and the one that it replaced always are.
        name: as in the configuration.
    """

    def __init__(self, folder: Path, *, keep: int, name: str = "folder") -> None:
        self.name = name
        self._folder = folder
        self._keep = keep
        self._releases = Releases(folder)

    def current(self, symbol: str) -> str | None:
        """The hash in the link's name; the release itself is not verified."""
        return self._releases.current(symbol)

    def all_current(self) -> dict[str, str]:
        """As `current`, of every symbol with a link."""
        return self._releases.all_current()

    def deploy(self, release: Release) -> str:
        """Copies the bundle, verifies the copy, then switches the link."""
        symbol, bundle = release.symbol, release.bundle
        before = self.current(symbol)
        try:
            with self._alone(symbol):
                self._releases.adopt(symbol, bundle.name, partial(shutil.copytree, bundle))
                self._releases.switch(symbol, bundle.name)
                self._releases.renew(symbol, bundle.name, release.judged_at)
                self._releases.forget_old(symbol, {bundle.name, before}, at_least=self._keep)
        except (OSError, BundleError, ConfigError) as error:
            raise DeployError(
                f"{symbol}: release {bundle.name[:12]} cannot be put into {self._folder} ({error}). "
                f"{_still(before)} Mend the folder, then run again."
            ) from error
        return bundle.name

    def deploy_all(self, releases: Sequence[Release]) -> dict[str, DeployError | None]:
        """As `deploy`, one after the other; symbol -> why it is not deployed, None when it is."""
        answers: dict[str, DeployError | None] = {}
        for release in releases:
            try:
                self.deploy(release)
            except DeployError as error:
                answers[release.symbol] = error
            else:
                answers[release.symbol] = None
        return answers

    def put_back(self, symbol: str, bundle_hash: str | None) -> None:
        """Verifies the earlier release's hashes, then switches the link to it."""
        try:
            with self._alone(symbol):
                if bundle_hash is not None:
                    verify_hashes(self._releases.path(symbol, bundle_hash), expected_hash=bundle_hash)
                self._releases.switch(symbol, bundle_hash)
        except (OSError, BundleError, ConfigError) as error:
            raise DeployError(
                f"{symbol}: release {(bundle_hash or 'none')[:12]} cannot be put back in {self._folder} ({error}). "
                f"Deploy a sound bundle by hand."
            ) from error

    @contextlib.contextmanager
    def _alone(self, symbol: str) -> Iterator[None]:
        """Holds the symbol's lock in the folder, which several homes may deploy to."""
        path = self._folder / "locks" / symbol
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _still(before: str | None) -> str:
    return f"Release {before[:12]} is still current." if before else "There is still no release."
