"""Where a run comes from: commit, uncommitted changes, host, versions of what computed it.

Facts for a reader, outside the bundle's identity: the same training gives the same bundle whatever stands here.
"""

import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_LIBRARIES = ("crpbot-training", "torch", "numpy", "numba", "pandas", "pyarrow", "scipy", "scikit-learn", "prefect")
_SOURCE = Path(__file__).resolve().parents[2]
_GIT_SECONDS = 20.0
_LONGEST_DIFF = 1_000_000


@dataclass(frozen=True)
class Provenance:
    """The code and the machine of a run.

    Attributes:
        host: name of the machine.
        commit: of the code; None outside a repository.
        uncommitted_diff: against that commit, cut at a million characters; None outside a repository.
        versions: Python and the libraries.
    """

    host: str
    commit: str | None
    uncommitted_diff: str | None
    versions: dict[str, str]


def provenance() -> Provenance:
    """The facts of this process."""
    versions = {"python": sys.version.split()[0]} | {name: _version(name) for name in _LIBRARIES}
    # A package installed into some other project's tree must not claim that project's commit.
    tracked = _git("ls-files", "--error-unmatch", "models_lib/errors.py") is not None
    diff = _git("diff", "HEAD") if tracked else None
    return Provenance(
        host=socket.gethostname(),
        commit=(_git("rev-parse", "HEAD") or "").strip() or None if tracked else None,
        uncommitted_diff=None if diff is None else diff[:_LONGEST_DIFF],
        versions=versions,
    )


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git(*arguments: str) -> str | None:
    """What git says about the source folder; None when it is absent or says no."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603  git and fixed arguments
            [git, "-C", str(_SOURCE), *arguments],
            capture_output=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode(errors="replace")
