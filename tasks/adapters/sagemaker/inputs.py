"""What a job reads, brought to S3 once: its channel's files and its source archive, each under the hash of its content.

What does not belong here: making them (models_lib.training.channel, archive.py).
"""

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models_lib.interruption import refuse_when_stopped
from models_lib.training.channel import SPEC_FILE, pack_inputs
from models_lib.training.spec import TrainingSpec
from tasks.adapters.s3.objects import S3Folder
from tasks.adapters.sagemaker.names import Keys

_FOLDER: Final = "channel"


@dataclass(frozen=True)
class Inputs:
    """The files of one training's channel, on this machine.

    Attributes:
        sha256: of everything that is trained: two trainings with the same one give the same weights.
        folder: that holds the files and nothing else.
        sha256s: of the files by their names in the channel.
    """

    sha256: str
    folder: Path
    sha256s: Mapping[str, str]


@dataclass(frozen=True)
class Code:
    """The program of a job.

    Attributes:
        archive: a gzipped tar file.
        sha256: of it.
        entry: path of the script in it.
        metrics: name and regular expression of each figure in its log.
    """

    archive: Path
    sha256: str
    entry: str
    metrics: tuple[tuple[str, str], ...]


@contextlib.contextmanager
def packed(spec: TrainingSpec) -> Iterator[Inputs]:
    """The channel's files, in a folder below the spec's output that is gone afterwards; the big ones are links."""
    folder = spec.output / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    try:
        files = pack_inputs(spec, folder)
        yield Inputs(files.sha256, folder, {**files.sha256s, SPEC_FILE: files.sha256})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bring(storage: S3Folder, keys: Keys, inputs: Inputs, code: Code) -> None:
    """Uploads what is not there yet with the right content.

    Raises:
        TransientError: S3 does not answer.
        StoppedError: the run was told to stop.
    """
    _bring(storage, keys.archive, code.archive, code.sha256)
    for name, sha256 in inputs.sha256s.items():
        _bring(storage, f"{keys.inputs}/{name}", inputs.folder / name, sha256)


def _bring(storage: S3Folder, key: str, path: Path, sha256: str) -> None:
    refuse_when_stopped()
    there = storage.head(key)
    if there is None or there.sha256 != sha256:
        storage.upload(path, key)
