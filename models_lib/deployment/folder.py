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
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from models_lib.bundle.hashes import verify_hashes
from models_lib.deployment.look import Look, look_at_folder
from models_lib.deployment.release import Release
from models_lib.errors import BundleError, ConfigError, DeployError
from models_lib.holds import BY_THE_SYSTEM, place_hold, release_hold
from models_lib.host.releases import Releases


class FolderTarget:
    """A `DeploymentTarget` over a folder.

    Args:
        folder: absolute.
        keep: releases kept a symbol; the current one and the one that it replaced always are.
        name: as in the configuration.
        who: for holds.
    """

    def __init__(self, folder: Path, *, keep: int, name: str = "folder", who: str = BY_THE_SYSTEM) -> None:
        self.name = name
        self._who = who
        self._folder = folder
        self._keep = keep
        self._releases = Releases(folder)

    def current(self, symbol: str) -> str | None:
        """The hash in the link's name; the release itself is not verified."""
        return self._releases.current(symbol)

    def look(self) -> Look:
        """What lies there; a runtime that serves the folder writes its health into it."""
        return look_at_folder(self._folder)

    def hold(self, symbol: str, *, reason: str) -> str:
        """A hold that a runtime of the folder obeys."""
        return place_hold(self._folder, symbol, placed_by=self._who, reason=reason, now=datetime.now(UTC)).message

    def release_hold(self, symbol: str) -> str:
        """Ends it."""
        return release_hold(self._folder, symbol, who=self._who, now=datetime.now(UTC)).message

    def deploy(self, release: Release) -> str:
        """Copies the bundle, verifies the copy, then switches the link."""
        symbol, bundle = release.symbol, release.bundle
        try:
            with self._alone(symbol):
                before = self.current(symbol)
                self._releases.adopt(symbol, bundle.name, partial(shutil.copytree, bundle))
                self._releases.renew(symbol, bundle.name, release.judged_at)
                self._releases.switch(symbol, bundle.name)
                if before != bundle.name:  # a repeated one does not know which release is the previous one
                    self._releases.forget_old(symbol, {bundle.name, before}, at_least=self._keep)
        except (OSError, BundleError, ConfigError) as error:
            raise DeployError(
                f"{symbol}: release {bundle.name[:12]} cannot be put into {self._folder} ({error}). "
                f"{_still(self.current(symbol))} Mend the folder, then run again."
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


def _still(current: str | None) -> str:
    return f"Release {current[:12]} is still current." if current else "There is still no release."
