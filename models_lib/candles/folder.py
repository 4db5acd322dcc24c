"""The judgement of a whole folder of candles, symbol by symbol: files of parquet, or an archive of fetched candles.

What does not belong here: how findings are printed, and exit statuses.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd

from models_lib.candles.archive.archive import CandleArchive
from models_lib.candles.archive.places import MANIFEST_FILE, LocalPlace
from models_lib.candles.bars import Span
from models_lib.candles.checks import CandleReport, check_candles
from models_lib.candles.sources import read_parquet
from models_lib.config import DataSection
from models_lib.errors import ConfigError, DataError

_ALL: Final = Span(0, 1 << 62)


@dataclass(frozen=True)
class FileFinding:
    """What was found in one file or archive: a report, or the message of the first broken rule."""

    path: Path
    """The file; of an archive the symbol's folder."""
    symbol: str
    """The file's name without .parquet, or the folder's name."""
    report: CandleReport | None
    error: str | None

    @property
    def passed(self) -> bool:
        """Whether the file breaks no rule."""
        return self.error is None

    def to_json(self) -> dict[str, Any]:
        """The finding as plain JSON values."""
        return {
            "path": str(self.path),
            "symbol": self.symbol,
            "passed": self.passed,
            "report": None if self.report is None else self.report.to_json(),
            "error": self.error,
        }


def check_folder(folder: Path, *, rules: DataSection, now: datetime | None) -> list[FileFinding]:
    """One finding for each symbol in `folder`, by name; one that is bad does not hide the others.

    Args:
        folder: holds <SYMBOL>.parquet files, or an archive: <SYMBOL>/manifest.json; nothing deeper is searched.
        rules: the limits.
        now: aware; the age of each newest bar is held against it. None: not judged.

    Raises:
        ConfigError: the folder does not exist or holds no candles.
    """
    if not folder.is_dir():
        fact = "is not a folder" if folder.exists() else "does not exist"
        raise ConfigError(f"the folder {folder} {fact}. Name the folder with <SYMBOL>.parquet files.")
    files = (path for path in folder.glob("*.parquet") if not path.name.startswith("."))
    archives = (path.parent for path in folder.glob(f"*/{MANIFEST_FILE}"))
    paths = sorted((*files, *archives))
    if not paths:
        raise ConfigError(
            f"the folder {folder} holds no .parquet file and no archive of candles. Name the folder with <SYMBOL>.parquet "
            f"files, or the one with <SYMBOL>/{MANIFEST_FILE}."
        )
    return [_check(path, rules, now) for path in paths]


def _check(path: Path, rules: DataSection, now: datetime | None) -> FileFinding:
    symbol = path.name if path.is_dir() else path.stem
    try:
        frame = _read_archive(path) if path.is_dir() else read_parquet(path, symbol=symbol)
        report = check_candles(frame, symbol=symbol, rules=rules, where=str(path), now=now)
    except DataError as error:
        return FileFinding(path=path, symbol=symbol, report=None, error=str(error))
    return FileFinding(path=path, symbol=symbol, report=report, error=None)


def _read_archive(path: Path) -> pd.DataFrame:
    """Everything of the symbol whose folder this is."""
    return CandleArchive(LocalPlace(path.parent), staging=path.parent).frame(path.name, _ALL)
