"""Finished results that other machines may take over: what such a place must do, and the place that is none.

What does not belong here: when results are asked for and kept (finished.py), and a place in a bucket (the adapters).
"""

from pathlib import Path
from typing import Protocol

RESULT_NAME = "result.json"
"""Beside the files of a finished result, and written last."""


class SharedResults(Protocol):
    """Results of steps, each under its symbol and the name of its folder, which says by a hash what it was made from."""

    def fetch(self, symbol: str, name: str, folder: Path) -> bool:
        """Brings a result into an empty folder, result.json last; False when nobody has finished it.

        Whoever asked compares every file with the hashes in result.json.

        Raises:
            CrpbotError: it cannot be brought; the folder may hold some files, without result.json.
        """
        ...

    def keep(self, symbol: str, name: str, folder: Path) -> None:
        """Keeps a finished result for others, visible only when it is whole; the first one stays.

        Raises:
            CrpbotError: it cannot be kept.
        """
        ...


class NotShared:
    """Nobody else takes part: what this machine finished stays with it."""

    def fetch(self, symbol: str, name: str, folder: Path) -> bool:  # noqa: ARG002
        """False: nobody else finishes anything."""
        return False

    def keep(self, symbol: str, name: str, folder: Path) -> None:
        """Keeps nothing."""
