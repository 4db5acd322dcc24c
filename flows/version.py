"""Which crpbot this is, in one line."""

import shutil
import subprocess
from importlib import metadata
from pathlib import Path

_SOURCE = Path(__file__).resolve().parents[1]


def version_line() -> str:
    """`crpbot 0.1.0`, with the commit where the code lies in its own repository."""
    try:
        version = metadata.version("crpbot-training")
    except metadata.PackageNotFoundError:
        version = "that is not installed"
    commit = _commit()
    return f"crpbot {version}{f' ({commit})' if commit else ''}"


def _commit() -> str | None:
    """Short commit, with `+` when tracked files differ from it; None where git or the repository is missing.

    A package that was installed into some other project's tree must not claim that project's commit: this file counts.
    """
    if _git("ls-files", "--error-unmatch", "flows/version.py") is None:
        return None
    commit = _git("rev-parse", "--short=12", "HEAD")
    return commit if commit is None else commit + ("+" if _git("diff", "--quiet", "HEAD") is None else "")


def _git(*arguments: str) -> str | None:
    """What git says about the source folder; None when it is absent or says no."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - git and fixed arguments
            [git, "-C", str(_SOURCE), *arguments], capture_output=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode(errors="replace").strip()
