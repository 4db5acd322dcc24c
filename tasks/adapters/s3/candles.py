"""Candles in a bucket: one <SYMBOL>.parquet for each symbol, as in a folder.

A file comes down to a temporary folder and is verified before it is read; it is gone afterwards, as the step that asked
keeps what it made of it.

What does not belong here: the rules for candles (models_lib.candles.checks).
"""

import tempfile
from pathlib import Path

import pandas as pd

from models_lib.candles.sources import OnlyCandles, read_parquet
from models_lib.errors import ConfigError, DataError
from tasks.adapters.s3.objects import S3Folder

_SUFFIX = ".parquet"


class S3Candles(OnlyCandles):
    """A place in a bucket with one <SYMBOL>.parquet for each symbol; a CandleSource.

    Args:
        folder: holds the files.
    """

    def __init__(self, folder: S3Folder) -> None:
        self._folder = folder

    def fetch(self, symbol: str) -> pd.DataFrame:
        """The content of the symbol's file.

        Raises:
            DataError: there is none, or it is damaged.
            ConfigError: the bucket refuses.
            TransientError: the bucket does not answer.
        """
        if self._folder.head(symbol + _SUFFIX) is None:
            raise DataError(
                f"{symbol}: there is no object {self.origin(symbol)}. Put the symbol's candles there, or leave the symbol "
                f"out."
            )
        with tempfile.TemporaryDirectory(prefix="crpbot-candles-") as scratch:
            path = Path(scratch) / (symbol + _SUFFIX)
            self._folder.download(symbol + _SUFFIX, path)
            try:
                return read_parquet(path, symbol=symbol)
            except DataError as error:  # it names a file that nobody can look at
                raise DataError(str(error).replace(str(path), self.origin(symbol))) from error

    def origin(self, symbol: str) -> str:
        """The address of the symbol's file."""
        return f"{self._folder.uri}/{symbol}{_SUFFIX}"

    def content(self, symbol: str) -> str | None:
        """The SHA-256 of the symbol's file, or what S3 calls its content where nobody told the SHA-256; None without a file.

        Raises:
            ConfigError: the bucket refuses.
            TransientError: the bucket does not answer.
        """
        head = self._folder.head(symbol + _SUFFIX)
        return None if head is None else head.sha256 or f"etag {head.etag}"

    def check(self) -> None:
        """Returns when there are candles of at least one symbol.

        Raises:
            ConfigError: there are none, or the bucket refuses.
            TransientError: the bucket does not answer.
        """
        if not any(name.endswith(_SUFFIX) for name in self._folder.names()):
            raise ConfigError(
                f"data.uri={self._folder.uri}: no candles are there. It must hold one <SYMBOL>.parquet object a symbol."
            )
