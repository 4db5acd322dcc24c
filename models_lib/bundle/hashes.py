"""Whether a bundle's files are the ones that were written: nothing is interpreted, so nothing heavy is imported.

What does not belong here: whether the model in those files is sound (reader.py).
"""

from collections.abc import Mapping
from pathlib import Path

from models_lib.bundle import layout
from models_lib.bundle.parsing import parse_json
from models_lib.errors import BundleError


def verify_hashes(folder: Path | str, *, expected_hash: str | None = None) -> str:
    """The bundle's hash, after every file was found to be what hashes.json says.

    Args:
        folder: the bundle. A folder that is named by a hash must hold the bundle of that hash.
        expected_hash: the identity that it must have; None takes any.

    Raises:
        ConfigError: there is no such folder, or it cannot be read.
        BundleError: missing, extra or changed files, or another bundle than the expected one.
    """
    where = Path(folder)
    return check_hashes(where, complete_files(where), expected_hash=expected_hash)


def complete_files(folder: Path) -> dict[str, bytes]:
    """The content of every file of a bundle, none of the required ones missing.

    Raises:
        ConfigError: there is no such folder, or it cannot be read.
        BundleError: links, strange files, or a required file is missing.
    """
    files = layout.read_files(folder)
    missing = [path for path in (*layout.REQUIRED_FILES, layout.HASHES_FILE) if path not in files]
    if missing:
        raise BundleError(f"{folder}: {layout.shown(missing)} missing; the bundle is incomplete. Copy it anew.")
    return files


def check_hashes(folder: Path, files: Mapping[str, bytes], *, expected_hash: str | None) -> str:
    """The hash of the bundle with these files, after they were compared with hashes.json.

    Raises:
        BundleError: missing, extra or changed files, or another bundle than the expected one.
    """
    actual = layout.hashes_of(files)
    stated, listed = _listed(files[layout.HASHES_FILE])
    for fact, paths in (
        ("missing", listed.keys() - actual.keys()),
        ("not listed in hashes.json", actual.keys() - listed.keys()),
        ("changed since the bundle was written", {path for path in actual if listed.get(path) != actual[path]}),
    ):
        if paths:
            raise BundleError(f"{folder}: {layout.shown(paths)} {fact}. Take the bundle from the store again.")
    found = layout.bundle_hash(actual)
    _check_claim(folder, found, claim=layout.HASHES_FILE, stated=stated)
    if layout.SHA256_HEX.fullmatch(folder.name):
        _check_claim(folder, found, claim="the folder's name", stated=folder.name)
    if expected_hash is not None:
        _check_claim(folder, found, claim="the caller", stated=expected_hash)
    return found


def _check_claim(folder: Path, found: str, *, claim: str, stated: str) -> None:
    if stated != found:
        raise BundleError(
            f"{folder}: the content is bundle {found[:12]}, but {claim} says {stated[:12]}. "
            f"Take the bundle from the store again."
        )


def _listed(content: bytes) -> tuple[str, dict[str, str]]:
    """The bundle's hash and the SHA-256 of each file, as hashes.json states them."""
    name = layout.HASHES_FILE
    tree = parse_json(content, name=name)
    listed = tree.get("files")
    if tree.keys() != {"bundle", "files"} or not isinstance(listed, dict):
        raise BundleError(f"{name} must hold `bundle` and `files`. Take the bundle from the store again.")
    for path, digest in listed.items():
        if not layout.is_safe(path) or not layout.is_known(path) or path == name:
            raise BundleError(f"{name} lists {path!r}, which no bundle holds. Do not use this bundle.")
        if not isinstance(digest, str) or not layout.SHA256_HEX.fullmatch(digest):
            raise BundleError(f"{name}: {path} has no SHA-256. Take the bundle from the store again.")
    return str(tree["bundle"]), listed
