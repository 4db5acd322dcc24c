"""The judgement of a whole folder of candles, file by file.

What does not belong here: how findings are printed, and exit statuses.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from models_lib.candles.checks import CandleReport, check_candles
from models_lib.candles.sources import read_parquet
from models_lib.config import DataSection
from models_lib.errors import ConfigError, DataError


@dataclass(frozen=True)
class FileFinding:
    """What was found in one file: a report, or the message of the first broken rule."""

    path: Path
    symbol: str
    """The file's name without .parquet."""
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
    """One finding for each .parquet file in `folder`, by name; one bad file does not hide the others.

    Args:
        folder: holds <SYMBOL>.parquet files; sub-folders are not searched.
        rules: the limits.
        now: aware; the age of each newest bar is held against it. None: not judged.

    Raises:
        ConfigError: the folder does not exist or holds no .parquet file.
    """
    if not folder.is_dir():
        fact = "is not a folder" if folder.exists() else "does not exist"
        raise ConfigError(f"the folder {folder} {fact}. Name the folder with <SYMBOL>.parquet files.")
    paths = sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))
    if not paths:
        raise ConfigError(f"the folder {folder} holds no .parquet file. Name the folder with <SYMBOL>.parquet files.")
    return [_check_file(path, rules, now) for path in paths]


def _check_file(path: Path, rules: DataSection, now: datetime | None) -> FileFinding:
    symbol = path.stem
    try:
        frame = read_parquet(path, symbol=symbol)
        report = check_candles(frame, symbol=symbol, rules=rules, where=str(path), now=now)
    except DataError as error:
        return FileFinding(path=path, symbol=symbol, report=None, error=str(error))
    return FileFinding(path=path, symbol=symbol, report=report, error=None)
