"""Finished results of steps in a bucket, from which another machine goes on.

    <SYMBOL>/<step>-<start of the key>/<SHA-256>     each file, by its content
    <SYMBOL>/<step>-<start of the key>/result.json   the step's result.json, and the name and content of each file

result.json is written last and only where there is none: a result that was half uploaded is not there, and of two
machines that finished the same one stays, with its own files. Those of the other are not found by any name.

What does not belong here: whether a result is believed; whoever fetched it compares files and hashes (models_lib.steps),
and how old ones go (leavings.py).
"""

from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from models_lib.errors import DataError, excerpt
from models_lib.files import sha256_file, write_text
from models_lib.steps.shared_results import RESULT_NAME
from tasks.adapters.s3.objects import S3Folder


class _Shared(BaseModel):
    """What result.json of the bucket says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    result: str
    """The step's own result.json, as it was."""
    files: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]
    """SHA-256 of each file by its path below the result's folder."""

    @field_validator("files")
    @classmethod
    def _paths_stay_inside(cls, files: dict[str, str]) -> dict[str, str]:
        for path in map(PurePosixPath, files):
            if path.is_absolute() or ".." in path.parts or path.name.startswith(".") or path.name == RESULT_NAME:
                raise ValueError(f"{path} is no file of a result")
        return files


class S3Results:
    """Results below one prefix of a bucket; a SharedResults.

    Args:
        folder: holds them, and nothing else.
    """

    def __init__(self, folder: S3Folder) -> None:
        self._folder = folder

    def fetch(self, symbol: str, name: str, folder: Path) -> bool:
        """As SharedResults.

        Raises:
            DataError: result.json or a file is damaged or gone.
            ConfigError: the bucket refuses.
            TransientError: the bucket does not answer.
        """
        place = f"{symbol}/{name}"
        stored = self._folder.get(f"{place}/{RESULT_NAME}")
        if stored is None:
            return False
        try:
            shared = self._parsed(place, stored.content)
            for path, sha256 in shared.files.items():
                self._bring(f"{place}/{sha256}", folder / path)
        except DataError:  # gone for good: whoever makes it again may keep it in its place
            self._folder.delete(f"{place}/{RESULT_NAME}", if_match=stored.etag)
            raise
        write_text(folder / RESULT_NAME, shared.result)
        return True

    def keep(self, symbol: str, name: str, folder: Path) -> None:
        """As SharedResults.

        Raises:
            ConfigError: the bucket refuses.
            TransientError: the bucket does not answer.
        """
        place = f"{symbol}/{name}"
        files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if _belongs(path)}
        hashes = {name: sha256_file(path) for name, path in files.items()}
        for file, path in files.items():
            self._folder.upload(path, f"{place}/{hashes[file]}", if_absent=True)
        shared = _Shared(result=(folder / RESULT_NAME).read_text(), files=hashes)
        self._folder.put(f"{place}/{RESULT_NAME}", shared.model_dump_json().encode(), if_absent=True)

    def _bring(self, key: str, path: Path) -> None:
        try:
            self._folder.download(key, path)
        except DataError:
            self._folder.delete(key)
            raise

    def _parsed(self, place: str, content: bytes) -> _Shared:
        try:
            return _Shared.model_validate_json(content)
        except ValidationError as error:
            raise DataError(
                f"{self._folder.uri}/{place}/{RESULT_NAME} is no result of this version ({excerpt(error)}). It is made again."
            ) from error


def _belongs(path: Path) -> bool:
    """Whether it is a file of the result: no lock, no half-written file, and result.json goes by itself."""
    return path.is_file() and not path.name.startswith(".") and path.name != RESULT_NAME
