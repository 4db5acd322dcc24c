"""Which code made a result: one hash over the library's source and the versions of what computes for it.

Any change of the library makes every earlier result another one. That repeats a step too often rather than once too
seldom: a rule "this file does not matter for that step" would be right until somebody moves a function.

What does not belong here: the commit (provenance.py), which changes with every README line and is absent in a wheel.
"""

import hashlib
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

_LIBRARY = Path(__file__).resolve().parents[1]
_COMPUTES = ("torch", "numpy", "numba", "pandas", "pyarrow", "scipy", "scikit-learn", "safetensors")


@cache
def code_version() -> str:
    """SHA-256 over every .py file of models_lib by name and content, Python's version and that of each library."""
    digest = hashlib.sha256(sys.version.encode())
    for name in _COMPUTES:
        digest.update(f"{name}=={metadata.version(name)}\n".encode())
    for path in sorted(_LIBRARY.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(_LIBRARY)} {len(content)}\n".encode() + content)
    return digest.hexdigest()
