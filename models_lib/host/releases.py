"""Releases in a folder: complete bundles, and one link a symbol that says which of them is current.

    releases/<SYMBOL>/<hash>/    bundles, each complete and verified before it got that name
    current/<SYMBOL>             a link to one of them; the switch replaces the link in one step
    judged/<SYMBOL>/<hash>.json  when that one was last found good, which a night can renew

What does not belong here: locks, journals and who else must know (the callers).
"""

import contextlib
import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from models_lib.bundle.hashes import verify_hashes
from models_lib.errors import BundleError, ConfigError, DeployError
from models_lib.files import fresh_folder, fsync_folder, fsync_tree, write_json


class Releases:
    """The releases in `folder`. Whoever changes them holds the lock that the caller chose.

    Args:
        folder: absolute.
        links: name of the folder with the links.
    """

    def __init__(self, folder: Path, *, links: str = "current") -> None:
        self._folder = folder
        self._links = links

    def current(self, symbol: str) -> str | None:
        """The hash in the link's name; the release itself is not verified.

        Raises:
            DeployError: what is there is no link.
        """
        link = self._link(symbol)
        try:
            return link.readlink().name
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DeployError(
                f"{symbol}: {link} is no link to a release ({error.strerror}). Somebody else wrote there: move it away."
            ) from error

    def symbols(self) -> tuple[str, ...]:
        """The symbols that have a link, or what lies in its place, in order."""
        folder = self._folder / self._links
        return tuple(sorted(path.name for path in folder.glob("*") if path.name[0] != "."))

    def all_current(self) -> dict[str, str]:
        """As `current`, of every symbol that has one."""
        found = {symbol: self.current(symbol) for symbol in self.symbols()}
        return {symbol: bundle for symbol, bundle in found.items() if bundle is not None}

    def path(self, symbol: str, bundle_hash: str) -> Path:
        """The release's folder."""
        return self._folder / "releases" / symbol / bundle_hash

    def is_sound(self, symbol: str, bundle_hash: str) -> bool:
        """Whether the release is there, every file as it was written."""
        try:
            verify_hashes(self.path(symbol, bundle_hash), expected_hash=bundle_hash)
        except (BundleError, ConfigError):
            return False
        return True

    def adopt(self, symbol: str, bundle_hash: str, bring: Callable[[Path], object]) -> None:
        """Makes the release complete, unless it is already: what is brought gets its name after it was verified.

        Args:
            symbol: whose.
            bundle_hash: what it must be.
            bring: puts the files into the folder that it is given, which does not exist yet.

        Raises:
            OSError, BundleError, ConfigError: it cannot be written, or is not that bundle.
        """
        release = self.path(symbol, bundle_hash)
        if not self.is_sound(symbol, bundle_hash):
            release.parent.mkdir(parents=True, exist_ok=True)
            with fresh_folder(release) as fresh:
                _bring(bring, fresh)
                verify_hashes(fresh, expected_hash=bundle_hash)
                fsync_tree(fresh)
                shutil.rmtree(release, ignore_errors=True)  # damaged, or not there
                fresh.rename(release)
                fsync_folder(release.parent)
        os.utime(release)  # its age as a release

    def switch(self, symbol: str, bundle_hash: str | None) -> None:
        """Makes the release current, in one step; None leaves the symbol without one."""
        link = self._link(symbol)
        if bundle_hash is None:
            self._remove(link)
            return
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(f".{symbol}.partial")
        fresh.unlink(missing_ok=True)  # a killed switch left it
        fresh.symlink_to(Path("..") / "releases" / symbol / bundle_hash, target_is_directory=True)
        fresh.replace(link)
        fsync_folder(link.parent)

    def renew(self, symbol: str, bundle_hash: str, judged_at: datetime) -> None:
        """Writes down when the release was last found good; its days count from then (models_lib.runtime.releases)."""
        write_json(self._folder / "judged" / symbol / f"{bundle_hash}.json", {"judged_at": judged_at.isoformat()})

    def forget_old(self, symbol: str, keep: set[str | None], *, at_least: int) -> None:
        """Removes the oldest releases beyond `keep` and the pieces of killed deployments; what cannot go harms nobody.

        Called when another release became current; `keep` names it and the one before. Pieces are nobody's work: whoever changes the symbol's releases holds the lock.
        """
        with contextlib.suppress(OSError):
            found = list((self._folder / "releases" / symbol).iterdir())
            pieces = [path for path in found if path.name.startswith(".")]
            by_age = sorted(set(found) - set(pieces), key=lambda path: path.stat().st_mtime, reverse=True)
            old = [path for path in by_age if path.name not in keep][max(0, at_least - len(keep - {None})) :]
            for path in (*pieces, *old):
                shutil.rmtree(path, ignore_errors=True)
            kept = {path.name for path in by_age} - {path.name for path in old}
            for facts in (self._folder / "judged" / symbol).iterdir():
                if facts.stem not in kept:  # of a release that is gone, or a piece
                    facts.unlink()

    def _link(self, symbol: str) -> Path:
        return self._folder / self._links / symbol

    @staticmethod
    def _remove(link: Path) -> None:
        if link.is_symlink():
            link.unlink()
            fsync_folder(link.parent)


def _bring(bring: Callable[[Path], object], fresh: Path) -> None:
    try:
        bring(fresh)
    except shutil.Error as error:  # copytree's own: a list of every file; the first says enough
        raise OSError(error.args[0][0][2]) from error
