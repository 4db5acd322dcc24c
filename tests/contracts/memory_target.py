"""A place for releases in memory: whole copies by hash, and the hash that is current. It fails when it is told to."""

import shutil
import tempfile
from pathlib import Path

from models_lib.bundle import verify_hashes
from models_lib.errors import BundleError, ConfigError, DeployError, TransientError


class MemoryTarget:
    """A `DeploymentTarget`; `silent` makes every call answer that it does not answer now."""

    name = "memory"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._current: dict[str, str] = {}
        self.silent = False

    def current(self, symbol: str) -> str | None:
        self._answer()
        return self._current.get(symbol)

    def deploy(self, symbol: str, bundle: Path) -> str:
        self._answer()
        release = self._release(symbol, bundle.name)
        try:
            with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
                fresh = Path(shutil.copytree(bundle, Path(scratch) / "fresh"))
                verify_hashes(fresh, expected_hash=bundle.name)
                shutil.rmtree(release, ignore_errors=True)
                release.parent.mkdir(exist_ok=True)
                fresh.rename(release)
        except (OSError, BundleError, ConfigError) as error:
            raise DeployError(f"{symbol}: {error}") from error
        self._current[symbol] = bundle.name
        return bundle.name

    def put_back(self, symbol: str, bundle_hash: str | None) -> None:
        self._answer()
        if bundle_hash is None:
            self._current.pop(symbol, None)
            return
        try:
            verify_hashes(self._release(symbol, bundle_hash), expected_hash=bundle_hash)
        except (BundleError, ConfigError) as error:
            raise DeployError(f"{symbol}: {error}") from error
        self._current[symbol] = bundle_hash

    def _answer(self) -> None:
        if self.silent:
            raise TransientError("the target does not answer now.")

    def _release(self, symbol: str, bundle_hash: str) -> Path:
        return self._folder / symbol / bundle_hash
