"""Releases in a folder of this machine, which a runtime on the same machine, or one that mounts it, reads.

    <folder>/releases/<SYMBOL>/<hash>/    bundles, each complete and verified before it got that name
    <folder>/current/<SYMBOL>             a link to one of them; the switch replaces the link in one step
    <folder>/locks/<SYMBOL>               held by whoever deploys the symbol

What does not belong here: starting a runtime and asking it for its health.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from models_lib.bundle.hashes import verify_hashes
from models_lib.errors import BundleError, ConfigError, DeployError
from models_lib.files import fsync_folder, fsync_tree


class FolderTarget:
    """A `DeploymentTarget` over a folder.

    Args:
        folder: absolute.
        keep: releases kept a symbol; the current one and the one that it replaced always are.
    """

    name = "folder"

    def __init__(self, folder: Path, *, keep: int) -> None:
        self._folder = folder
        self._keep = keep

    def current(self, symbol: str) -> str | None:
        """The hash in the link's name; the release itself is not verified."""
        link = self._link(symbol)
        try:
            return link.readlink().name
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DeployError(
                f"{symbol}: {link} is no link to a release ({error.strerror}). Somebody else wrote there: move it away."
            ) from error

    def deploy(self, symbol: str, bundle: Path) -> str:
        """Copies the bundle, verifies the copy, then switches the link."""
        before = self.current(symbol)
        try:
            with self._alone(symbol):
                self._bring(symbol, bundle)
                self._switch(symbol, bundle.name)
                self._forget_old(symbol, {bundle.name, before})
        except (OSError, BundleError, ConfigError) as error:
            raise DeployError(
                f"{symbol}: release {bundle.name[:12]} cannot be put into {self._folder} ({error}). "
                f"{_still(before)} Mend the folder, then run again."
            ) from error
        return bundle.name

    def put_back(self, symbol: str, bundle_hash: str | None) -> None:
        """Verifies the earlier release's hashes, then switches the link to it."""
        try:
            with self._alone(symbol):
                if bundle_hash is None:
                    self._remove_link(symbol)
                    return
                verify_hashes(self._releases(symbol) / bundle_hash, expected_hash=bundle_hash)
                self._switch(symbol, bundle_hash)
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

    def _bring(self, symbol: str, bundle: Path) -> None:
        release = self._releases(symbol) / bundle.name
        if not _is_sound(release):
            fresh = release.with_name(f".{bundle.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
            try:
                shutil.copytree(bundle, fresh)
                verify_hashes(fresh, expected_hash=bundle.name)
                fsync_tree(fresh)
                shutil.rmtree(release, ignore_errors=True)  # damaged, or not there
                fresh.rename(release)
                fsync_folder(release.parent)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        os.utime(release)  # its age as a release

    def _switch(self, symbol: str, release: str) -> None:
        link = self._link(symbol)
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(f".{symbol}.partial")
        fresh.unlink(missing_ok=True)  # a killed switch left it
        fresh.symlink_to(Path("..") / "releases" / symbol / release, target_is_directory=True)
        fresh.replace(link)
        fsync_folder(link.parent)

    def _remove_link(self, symbol: str) -> None:
        link = self._link(symbol)
        if link.is_symlink():
            link.unlink()
            fsync_folder(link.parent)

    def _forget_old(self, symbol: str, keep: set[str | None]) -> None:
        """Removes the oldest releases beyond `keep` and the pieces of killed deployments; what cannot go harms nobody.

        Pieces are nobody's work: whoever deploys the symbol holds its lock.
        """
        with contextlib.suppress(OSError):
            found = list(self._releases(symbol).iterdir())
            pieces = [path for path in found if path.name.startswith(".")]
            by_age = sorted(set(found) - set(pieces), key=lambda path: path.stat().st_mtime, reverse=True)
            old = [path for path in by_age if path.name not in keep][max(0, self._keep - len(keep)) :]
            for path in (*pieces, *old):
                shutil.rmtree(path, ignore_errors=True)

    def _releases(self, symbol: str) -> Path:
        return self._folder / "releases" / symbol

    def _link(self, symbol: str) -> Path:
        return self._folder / "current" / symbol


def _is_sound(release: Path) -> bool:
    try:
        verify_hashes(release, expected_hash=release.name)
    except (BundleError, ConfigError):
        return False
    return True


def _still(before: str | None) -> str:
    return f"Release {before[:12]} is still current." if before else "There is still no release."
