"""One hash for the code that defines a set of features, written into every bundle.

What does not belong here: judging a difference. A changed hash with equal golden vectors is a warning (models_lib.bundle).
"""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Final

SOURCES: Final = ("kernels.py", "measures.py", "definitions.py", "raw72.py", "sets.py", "compute.py", "newest.py")
"""Modules whose text decides the values."""


def code_hash_of(name: str, version: int, feature_names: Sequence[str]) -> str:
    """The SHA-256, in lower-case hex, of the defining sources, the name and version of the set and the ordered names.

    Line endings do not count, so a checkout on another system has the same hash.
    """
    digest = hashlib.sha256("\n".join((name, str(version), *feature_names)).encode())
    for module in SOURCES:
        source = files("models_lib.features").joinpath(module).read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{module} {len(source)}\n".encode() + source)
    return digest.hexdigest()
