"""What runs leave in a bucket beside the registry, and how a cleaning removes it: shared results, and uploads cut off.

A result goes as a whole, when nothing of it was written for as long as the cleaning says, result.json first: whoever
looks for it afterwards does not find it. A machine that is just taking it over, or keeping it anew, misses a file then,
and makes the result itself.

What does not belong here: bundles and verdicts (store.py), and how long what is kept (models_lib.retention).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from models_lib.errors import CrpbotError
from models_lib.registry.store import Taken
from models_lib.steps.shared_results import RESULT_NAME
from tasks.adapters.s3.objects import ObjectHead, S3Folder, UnfinishedUpload

_RESULT_PARTS = 2
"""<SYMBOL>/<step>-<start of the key>"""


class S3Leavings:
    """What runs leave below one prefix; models_lib.retention.Leavings.

    Args:
        folder: the prefix.
        holds_results: everything there belongs to results of steps (results.py); otherwise only uploads are looked at.
    """

    def __init__(self, folder: S3Folder, *, holds_results: bool) -> None:
        self._folder = folder
        self._holds_results = holds_results

    @property
    def name(self) -> str:
        """The address."""
        return self._folder.uri

    def results(self, *, before: datetime) -> Sequence[Taken]:
        """As Leavings.

        Raises:
            ConfigError: the bucket refuses.
            TransientError: the bucket does not answer.
        """
        if not self._holds_results:
            return ()
        groups: dict[str, list[ObjectHead]] = {}
        for head in self._folder.heads():
            groups.setdefault("/".join(PurePosixPath(head.key).parts[:_RESULT_PARTS]), []).append(head)
        return [
            _Result(self._folder, place, tuple(heads))
            for place, heads in groups.items()
            if max(head.last_modified for head in heads) < before
        ]

    def unfinished(self, *, before: datetime) -> Sequence[Taken]:
        """As Leavings.

        Raises:
            ConfigError: the bucket refuses.
            TransientError: the bucket does not answer.
        """
        return [_Upload(self._folder, upload) for upload in self._folder.unfinished() if upload.begun < before]


@dataclass(frozen=True)
class _Result:
    """The objects of one result."""

    folder: S3Folder
    place: str
    heads: tuple[ObjectHead, ...]

    @property
    def name(self) -> str:
        return f"{self.folder.uri}/{self.place}"

    def size_bytes(self) -> int:
        return sum(head.size_bytes for head in self.heads)

    def remove(self) -> Sequence[str]:
        def all_of_it() -> None:
            for head in sorted(self.heads, key=lambda head: PurePosixPath(head.key).name != RESULT_NAME):
                self.folder.delete(head.key)

        return _faults(all_of_it, self.name)


@dataclass(frozen=True)
class _Upload:
    """The parts of one upload."""

    folder: S3Folder
    upload: UnfinishedUpload

    @property
    def name(self) -> str:
        return f"{self.folder.uri}/{self.upload.key}"

    def size_bytes(self) -> int:
        return self.folder.size_of(self.upload)

    def remove(self) -> Sequence[str]:
        return _faults(lambda: self.folder.abort(self.upload), self.name)


def _faults(remove: Callable[[], None], name: str) -> Sequence[str]:
    try:
        remove()
    except CrpbotError as error:
        return [f"{name}: {error} The next cleaning removes what is left."]
    return []
