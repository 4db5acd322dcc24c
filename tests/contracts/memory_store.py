"""The store of an object service, in memory: conditional puts and nothing else. No lock, no rename, no append.

It shows that the registry asks for no more than If-Match and If-None-Match, and it is where tests lose races on purpose.
"""

import shutil
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from models_lib.bundle import RunFacts, load_bundle, verify_hashes
from models_lib.bundle.facts import parse_facts
from models_lib.errors import BundleError
from models_lib.files import sha256_bytes
from models_lib.registry import StoredLedger, StoredPointer
from models_lib.registry.store import Cleaning


class MemoryStore:
    """Objects by key; `before_write` and `before_read` are called where another process may slip in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._objects: dict[str, bytes] = {}
        self._atomic = threading.Lock()
        self.before_write: Callable[[str], None] = lambda key: None
        self.before_read: Callable[[str], None] = lambda key: None

    def put(self, folder: Path) -> str:
        bundle = load_bundle(folder)
        kept = self._folder / bundle.hash
        if kept.exists():
            verify_hashes(kept)
        else:
            shutil.copytree(folder, kept)
        if bundle.facts is not None:
            content = (folder / "run.json").read_bytes()
            self._put(f"verdicts/{bundle.hash}/{sha256_bytes(content)}", content, if_match=None)
        return bundle.hash

    def bundle(self, bundle_hash: str) -> Path:
        if not (self._folder / bundle_hash).is_dir():
            raise BundleError(f"bundle {bundle_hash[:12]} is not in the store.")
        return self._folder / bundle_hash

    def renew(self, bundle_hash: str) -> None:
        self.bundle(bundle_hash)

    def find(self, prefix: str) -> tuple[str, ...]:
        return tuple(sorted(path.name for path in self._folder.iterdir() if path.name.startswith(prefix)))

    def verdicts(self, bundle_hash: str) -> tuple[RunFacts, ...]:
        keys = [key for key in self._objects if key.startswith(f"verdicts/{bundle_hash}/")]
        facts = [parse_facts(self._objects[key]) for key in keys]
        return tuple(sorted(facts, key=lambda fact: (fact.judged_at, fact.run_id)))

    def pointer(self, symbol: str) -> StoredPointer | None:
        self.before_read(f"promoted/{symbol}")
        content = self._objects.get(f"promoted/{symbol}")
        return None if content is None else StoredPointer(content, sha256_bytes(content))

    def replace_pointer(self, symbol: str, content: bytes, *, expected: str | None) -> bool:
        return self._put(f"promoted/{symbol}", content, if_match=expected)

    def pointed_symbols(self) -> tuple[str, ...]:
        self.before_read("promoted/")
        return tuple(sorted(key.removeprefix("promoted/") for key in self._objects if key.startswith("promoted/")))

    def ledger(self) -> StoredLedger:
        self.before_read("ledger/")
        return StoredLedger(tuple(self._objects[key] for key in sorted(self._objects) if key.startswith("ledger/")))

    def append(self, line: bytes, *, index: int) -> bool:
        if index > 0 and f"ledger/{index - 1:08d}" not in self._objects:
            return False
        return self._put(f"ledger/{index:08d}", line, if_match=None)

    def cleaning(self, *, now: datetime, dry_run: bool) -> AbstractContextManager[Cleaning]:
        raise AssertionError("memory has no files that get old: what cleans is tried on folders and buckets")

    def _put(self, key: str, content: bytes, *, if_match: str | None) -> bool:
        """If-Match with a version, If-None-Match:* without."""
        self.before_write(key)
        with self._atomic:
            current = self._objects.get(key)
            if (sha256_bytes(current) if current is not None else None) != if_match:
                return False
            self._objects[key] = content
            return True
