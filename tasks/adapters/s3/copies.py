"""Copies of small S3 objects that are written once and never changed: a home fetches each once, not at every read.

One listing tells which objects there are, a thousand to a request, each with its ETag. An object whose copy has that
ETag is not fetched again; so one that somebody changed or removed in S3 is seen at the next read. The copies of one
prefix are one file; one that is damaged or missing costs fetching anew and nothing else.

What does not belong here: what the objects mean, and files of bundles (store.py).
"""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models_lib.errors import DataError
from models_lib.files import canonical_json, sha256_bytes, write_bytes
from tasks.adapters.s3.objects import S3Folder

_AT_ONCE: Final = 8
"""Half of the connections that a client has."""


@dataclass(frozen=True)
class _Copy:
    """What was fetched once."""

    etag: str
    content: bytes


class Copies:
    """The objects below one prefix.

    Args:
        folder: where they are.
        prefix: how their keys begin.
        path: file of the copies; made when something was fetched.
    """

    def __init__(self, folder: S3Folder, prefix: str, path: Path) -> None:
        self._folder = folder
        self._prefix = prefix
        self._path = path

    def read(self) -> dict[str, bytes]:
        """Key -> content, in order of key; empty where the content is not what was stored.

        Raises:
            TransientError, ConfigError: S3 cannot be asked.
        """
        listed = {head.key: head.etag for head in self._folder.heads(self._prefix)}
        known = self._known()
        kept = {key: copy for key, copy in known.items() if copy.etag == listed.get(key)}
        fetched = self._fetched([key for key in listed if key not in kept])
        if fetched or len(kept) < len(known):
            self._keep(kept | fetched)
        else:
            with contextlib.suppress(OSError):  # its age only matters to `crpbot clean`
                os.utime(self._path)
        found = kept | fetched
        return {key: found[key].content for key in listed if key in found}

    def _fetched(self, keys: Sequence[str]) -> dict[str, _Copy]:
        """An object that was removed since it was listed is left out."""
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            found = zip(keys, pool.map(self._fetch, keys), strict=True)
            return {key: copy for key, copy in found if copy is not None}

    def _fetch(self, key: str) -> _Copy | None:
        try:
            found = self._folder.get(key)
        except DataError:
            return _Copy("", b"")
        return None if found is None else _Copy(found.etag, found.content)

    def _known(self) -> dict[str, _Copy]:
        """As far as the file of the copies can be believed."""
        try:
            digest, _, rest = self._path.read_bytes().partition(b"\n")
        except OSError:
            return {}
        if sha256_bytes(rest).encode() != digest:
            return {}
        return {key: _Copy(etag, text.encode("latin-1")) for key, (etag, text) in json.loads(rest).items()}

    def _keep(self, copies: Mapping[str, _Copy]) -> None:
        rest = canonical_json({key: [copy.etag, copy.content.decode("latin-1")] for key, copy in copies.items()})
        with contextlib.suppress(OSError):  # who may not write in the home may still look
            write_bytes(self._path, sha256_bytes(rest).encode() + b"\n" + rest)
