"""One hash for the code that defines the features, written into every bundle.

What does not belong here: judging a difference. A changed hash with equal golden vectors is a warning (models_lib.bundle).
"""

import hashlib
from importlib.resources import files
from typing import Final

from models_lib.features.definitions import FEATURE_NAMES, FEATURE_SET, FEATURE_SET_VERSION

SOURCES: Final = ("kernels.py", "measures.py", "definitions.py", "compute.py", "newest.py")
"""Modules whose text decides the values."""


def feature_code_hash() -> str:
    """The SHA-256, in lower-case hex, of the defining sources, the name and version of the set and the ordered names.

    Line endings do not count, so a checkout on another system has the same hash.
    """
    digest = hashlib.sha256("\n".join((FEATURE_SET, str(FEATURE_SET_VERSION), *FEATURE_NAMES)).encode())
    for name in SOURCES:
        source = files("models_lib.features").joinpath(name).read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{name} {len(source)}\n".encode() + source)
    return digest.hexdigest()
