"""The source archive of a training job: built from the installed package, and opened again before anybody pays for it.

SageMaker's toolkit unpacks it into the container, installs requirements.txt and runs the entry with every hyperparameter as
`--name value`. It says little when the entry is not in it; so that is looked at here, and tried.

What does not belong here: uploading it (backend.py), a training with it (rehearsal.py).
"""

import gzip
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

import models_lib
from models_lib.errors import PreflightError, excerpt
from models_lib.files import sha256_bytes, write_bytes
from models_lib.preflight import Finding

ENTRY: Final = "train.py"
ARCHIVE_FILE: Final = "source.tar.gz"
REQUIREMENTS_FILE: Final = "requirements.txt"
MOST_BYTES: Final = 16 * 1024 * 1024
"""Of the archive; the library has a fiftieth of it."""
_MOST_UNPACKED_BYTES: Final = 8 * MOST_BYTES
_REQUIRED: Final = ("pydantic", "safetensors")
"""What the images may lack; they bring torch and numpy."""
_REQUIRED_ON_CPU: Final = ("numba",)
"""With it a training on a CPU gives the same bytes as here, and takes a fraction of the time."""
_TOOLKITS_PATTERN: Final = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._+-]*(/[A-Za-z0-9._+-]+)*")
"""Of an entry, as in sagemaker-training 5.1.4; a test compares them."""
_CHECK_SECONDS: Final = 120.0
_REBUILD: Final = "Let crpbot build the archive: leave training.sagemaker as it is and install this project whole."


@dataclass(frozen=True)
class Archive:
    """A source archive on this machine's disk.

    Attributes:
        path: a gzip tar.
        sha256: of the file; the same sources and versions of libraries give the same.
        entry: path of the script within it.
        size_bytes: of the file.
    """

    path: Path
    sha256: str
    entry: str
    size_bytes: int


def build_archive(folder: Path, *, device: Literal["cpu", "cuda"] = "cuda") -> Archive:
    """Writes the archive into `folder`: the entry, the library's modules, and pinned requirements.

    Args:
        folder: for the file; made when absent.
        device: on which the job trains; on a CPU the compiled loops are wanted, too.
    """
    library = Path(models_lib.__file__).parent
    sources = {f"models_lib/{path.relative_to(library).as_posix()}": path for path in library.rglob("*.py")}
    content = {name: path.read_bytes() for name, path in sources.items()}
    content[ENTRY] = content["models_lib/training/entry.py"]
    required = _REQUIRED + (_REQUIRED_ON_CPU if device == "cpu" else ())
    pinned = sorted(f"{name}=={metadata.version(name)}\n" for name in required)
    content[REQUIREMENTS_FILE] = "".join(pinned).encode()
    packed = _packed(content)
    path = folder / ARCHIVE_FILE
    write_bytes(path, packed)
    return Archive(path, sha256_bytes(packed), ENTRY, len(packed))


def _packed(content: Mapping[str, bytes]) -> bytes:
    """A gzip tar of the files; no times, owners or order of this machine."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(content):
            member = tarfile.TarInfo(name)
            member.size = len(content[name])
            tar.addfile(member, io.BytesIO(content[name]))
    return gzip.compress(plain.getvalue(), mtime=0)


def unpack(path: Path, folder: Path) -> dict[str, bytes]:
    """Unpacks the archive into `folder` and returns the files by name.

    Raises:
        PreflightError: no whole gzip tar, too large, or with members that no archive of sources has.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise PreflightError(f"{path.name} has {size:,} bytes (at most {MOST_BYTES:,} allowed).")
        with tarfile.open(path, mode="r:gz") as tar:
            members = list(_safe(tar))
            tar.extractall(folder, members=members, filter="data")
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise PreflightError(f"{path.name} is no whole gzip tar: {excerpt(error)}.") from error
    return {member.name: (folder / member.name).read_bytes() for member in members if member.isreg()}


def _safe(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members, each a folder or a regular file below the archive's top."""
    total = 0
    for member in tar:
        total += member.size
        if total > _MOST_UNPACKED_BYTES:
            raise PreflightError(f"it unpacks to more than {_MOST_UNPACKED_BYTES:,} bytes.")
        outside = member.name.startswith("/") or ".." in member.name.split("/")
        if outside or not (member.isreg() or member.isdir()):
            raise PreflightError(f"{excerpt(member.name)} is neither a file nor a folder below the archive's top.")
        yield member


def check_archive(path: Path, *, entry: str, hyperparameters: Mapping[str, str]) -> tuple[Finding, ...]:
    """Two findings: whether the archive is one, and whether the job's entry is in it and takes its hyperparameters.

    The archive is unpacked into a folder of its own, and the entry is run there as the container runs it, with --check in
    addition: it loads everything that a training loads, and trains nothing.

    Args:
        path: the file that will be uploaded.
        entry: the job's `sagemaker_program`.
        hyperparameters: of the job; those of the toolkit itself (sagemaker_...) are not passed on.
    """
    with tempfile.TemporaryDirectory(prefix="crpbot-archive-") as scratch:
        folder = Path(scratch).resolve()
        try:
            files = unpack(path, folder)
        except PreflightError as error:
            return (
                Finding("archive", "fail", str(error), _REBUILD),
                Finding("entry script", "unknown", "it cannot be looked for.", _REBUILD),
            )
        unsound = _unsound(files)
        whole = f"{len(files)} files, {path.stat().st_size:,} bytes."
        archive = Finding("archive", "fail", unsound, _REBUILD) if unsound else Finding("archive", "pass", whole)
        wrong = _wrong_entry(files, entry) or _refused(folder, entry, hyperparameters)
        if wrong:
            return archive, Finding("entry script", "fail", *wrong)
        return archive, Finding("entry script", "pass", f"{entry} is there and takes {', '.join(hyperparameters)}.")


def _unsound(files: Mapping[str, bytes]) -> str | None:
    """What would go wrong with the archive as a whole."""
    if "setup.py" in files:
        return "it has a setup.py at its top: the container would install it as a package and run no script."
    lines = files.get(REQUIREMENTS_FILE, b"").decode(errors="replace").split()
    loose = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!]+", line)]
    if loose:
        return f"{REQUIREMENTS_FILE} does not name one version of {excerpt(', '.join(loose))}."
    return None


def _wrong_entry(files: Mapping[str, bytes], entry: str) -> tuple[str, str] | None:
    """Fact and remedy when the entry is not there, or not one that the toolkit runs as Python."""
    segments = set(entry.split("/"))
    if not _TOOLKITS_PATTERN.fullmatch(entry) or segments & {".", ".."} or not entry.endswith(".py"):
        needed = "letters, digits and ._+-/, ending in .py"
        fact = f"the toolkit does not run {excerpt(entry)!r} as Python: a path in the archive of {needed}, is needed."
        return fact, f"Name the script {ENTRY}."
    if entry not in files:
        scripts = sorted(name for name in files if name.endswith(".py") and "/" not in name)
        told = f"at its top it has {excerpt(', '.join(scripts))}" if scripts else "it has no script at its top"
        return (
            f"the job would run {entry}, which is not in the archive; {told}.",
            f"Give the script and the job's sagemaker_program the same name, {ENTRY}.",
        )
    try:
        compile(files[entry], entry, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return f"{entry} is no Python: {excerpt(error)}.", "Mend the script."
    return None


def _refused(folder: Path, entry: str, hyperparameters: Mapping[str, str]) -> tuple[str, str] | None:
    """Fact and remedy when the entry, run in its folder, does not load what it needs or does not take what it is given."""
    ended = _checked(folder, entry, hyperparameters)
    if isinstance(ended, str):
        return ended, "Mend the script, or let crpbot build the archive."
    if Path(ended).resolve() != folder:
        return (
            f"{entry} does not load the library of the archive, but that of {ended}.",
            "Put models_lib beside the script, or let crpbot build the archive.",
        )
    return None


def _checked(folder: Path, entry: str, hyperparameters: Mapping[str, str]) -> "str | Path":
    """The folder that the library was loaded from, as the entry says with --check; or what went wrong, as a string."""
    try:
        ended = subprocess.run(  # noqa: S603  our own interpreter, on the archive that we would pay for
            [*command(entry, hyperparameters), "--check"],
            cwd=folder,
            env=plain_environment(),
            capture_output=True,
            text=True,
            timeout=_CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{entry} --check did not end within {_CHECK_SECONDS:g} s."
    if ended.returncode != 0:
        words = ended.stderr.strip().splitlines() or ["it says nothing"]
        return f"{entry} ends with status {ended.returncode}: {excerpt(words[-1])}."
    try:
        return Path(json.loads(ended.stdout)["code"])
    except (ValueError, KeyError, TypeError):
        return f"{entry} --check does not say what it loaded, but {excerpt(ended.stdout) or 'nothing'}."


def command(entry: str, hyperparameters: Mapping[str, str]) -> list[str]:
    """As the toolkit starts the entry, in the folder of the code."""
    passed = {name: value for name, value in sorted(hyperparameters.items()) if not name.startswith("sagemaker_")}
    return [sys.executable, entry, *(part for name, value in passed.items() for part in (f"--{name}", value))]


def plain_environment(**more: str) -> dict[str, str]:
    """What a container's process sees: nothing of this machine's variables that could lend it a module or a credential."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **kept, **more}
