"""The files of a bundle: which there are, which of them make its identity, and how a folder is read.

    model.safetensors        weights, scaler, temperature             | the identity
    manifest.json            what the model is and how it was made    |
    golden/golden.safetensors  candles -> features -> logits -> probabilities
    model.onnx               where present                            |
    run.json, reports/*      facts of the run that made it, outside the identity
    hashes.json              the bundle's hash, and the SHA-256 of every other file

What does not belong here: what the files say (manifest.py, golden.py, facts.py).
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from models_lib.errors import BundleError, ConfigError, excerpt
from models_lib.files import canonical_json, sha256_bytes

MODEL_FILE = "model.safetensors"
ONNX_FILE = "model.onnx"
SCHEMA_VERSION: Final = 2
"""Version of the manifest and of the folder's layout that is written for a network that was trained here."""
COMPOSED_VERSION: Final = 3
"""Version that is written for repaired models and ensembles, and for nothing else: earlier hosts take the others still."""
READABLE_VERSIONS: Final = (1, 2, 3)
"""Version 1 has no envelope and no model.onnx; such a bundle can be judged and compared, and no host takes it."""
MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden/golden.safetensors"
RUN_FILE = "run.json"
REPORTS_FOLDER = "reports"
HASHES_FILE = "hashes.json"
_FOLDERS = ("golden", REPORTS_FOLDER)
REQUIRED_FILES = (MODEL_FILE, MANIFEST_FILE, GOLDEN_FILE)
SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_SAFE_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


def is_identity(path: str) -> bool:
    """Whether the file counts for the bundle's hash."""
    return path in (MODEL_FILE, ONNX_FILE, MANIFEST_FILE) or path.startswith("golden/")


def is_known(path: str) -> bool:
    """Whether a bundle may hold a file of this name at all."""
    return path in (*REQUIRED_FILES, ONNX_FILE, RUN_FILE, HASHES_FILE) or path.startswith(f"{REPORTS_FOLDER}/")


def is_safe(path: str) -> bool:
    """Whether a listed path stays inside the bundle: relative, plain characters, no part that starts with a dot."""
    return _SAFE_PATH.fullmatch(path) is not None


def bundle_hash(hashes: Mapping[str, str]) -> str:
    """The bundle's identity: SHA-256 over the JSON of the sorted [path, sha256] pairs of its identity files.

    Args:
        hashes: path -> SHA-256 of every file; those outside the identity are left out of account.
    """
    pairs = sorted([path, digest] for path, digest in hashes.items() if is_identity(path))
    return sha256_bytes(canonical_json(pairs))


def read_files(folder: Path) -> dict[str, bytes]:
    """The content of every file in the folder, by its path with forward slashes.

    Each file is read once, without following links; hash and content come from the same bytes afterwards.

    Raises:
        ConfigError: there is no such folder, or it cannot be read.
        BundleError: a link, a device or pipe, or a name that no bundle has.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such bundle folder. Check the path.")
    try:
        return {path: _read_plain(folder / path) for path in _paths(folder, folder)}
    except OSError as error:
        raise ConfigError(f"{folder}: the bundle cannot be read ({error.strerror}). Check its permissions.") from error


def hashes_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """Path -> SHA-256 of every file except hashes.json."""
    return {path: sha256_bytes(content) for path, content in files.items() if path != HASHES_FILE}


def hashes_json(hashes: Mapping[str, str]) -> dict[str, Any]:
    """What hashes.json says about these files."""
    return {"bundle": bundle_hash(hashes), "files": dict(sorted(hashes.items()))}


def shown(names: Iterable[str], *, at_most: int = 5) -> str:
    """The names for a message: the first few, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - at_most
    return ", ".join(map(excerpt, ordered[:at_most])) + (f" and {more} more" if more > 0 else "")


def _paths(folder: Path, root: Path) -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=lambda found: found.name):
        path = PurePosixPath(Path(entry.path).relative_to(root)).as_posix()
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            raise BundleError(f"{root}: {path} is a link; a bundle holds plain files only. Copy the bundle anew.")
        if stat.S_ISDIR(mode) and path in _FOLDERS:
            yield from _paths(Path(entry.path), root)
            continue
        if not stat.S_ISREG(mode):
            raise BundleError(
                f"{root}: {path} is not a plain file of a bundle. Check the path, or copy the bundle anew."
            )
        if not is_known(path) or not is_safe(path):
            raise BundleError(f"{root}: {path!r} is no file of a bundle. Check the path, or copy the bundle anew.")
        yield path


def _read_plain(path: Path) -> bytes:
    """The content of a file that was plain a moment ago; a link put in its place since is not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()
