"""Where candles come from: one protocol, the embedded market and the folder of parquet files.

A source hands over raw candles; `load_candles` is the way to candles that may be used.

What does not belong here: sources that need the network (they live with the adapters), and the rules (checks.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from models_lib.candles.checks import CandleReport, check_and_fill
from models_lib.candles.fetch_facts import FetchFacts
from models_lib.candles.schema import BAR_MINUTES
from models_lib.candles.simulated import MarketKind, simulate_candles
from models_lib.config import DataSection, RunConfig
from models_lib.errors import ConfigError, DataError
from models_lib.files import sha256_file


class CandleSource(Protocol):
    """Hands over the raw candles of a symbol."""

    def fetch(self, symbol: str) -> pd.DataFrame:
        """The raw candles of `symbol`: readable, but not yet checked.

        Raises:
            DataError: this symbol has no readable candles here.
        """
        ...

    def origin(self, symbol: str) -> str:
        """Where the candles of `symbol` come from, for messages and the record of the run."""
        ...

    def content(self, symbol: str) -> str | None:
        """What the source would hand over now, as a hash; None when its settings say it all, or nothing is there."""
        ...

    def facts(self, symbol: str) -> FetchFacts | None:
        """What is known beside the candles that `fetch` handed over last; None where no exchange was asked for them."""
        ...

    def remarks(self, symbol: str) -> tuple[str, ...]:
        """Sentences about these candles that a person should read; they become warnings of the report."""
        ...


class OnlyCandles:
    """A source that knows its candles and nothing beside them."""

    def facts(self, symbol: str) -> FetchFacts | None:  # noqa: ARG002  (the same for all)
        """None: no exchange was asked."""
        return None

    def remarks(self, symbol: str) -> tuple[str, ...]:  # noqa: ARG002
        """None."""
        return ()


@dataclass(frozen=True)
class SimulatedSource(OnlyCandles):
    """The embedded market: offline, and the same candles for the same market, seed, symbol and days."""

    market: MarketKind
    seed: int
    days: int

    def fetch(self, symbol: str) -> pd.DataFrame:
        """The simulated candles of `symbol`, `days` x 1,440 rows; every name has a market."""
        return simulate_candles(symbol, market=self.market, seed=self.seed, days=self.days)

    def origin(self, symbol: str) -> str:  # noqa: ARG002  (one market for all symbols)
        """As in "simulated market default, seed 7, 50 days"."""
        return f"simulated market {self.market}, seed {self.seed}, {self.days} days"

    def content(self, symbol: str) -> str | None:  # noqa: ARG002  (one market for all symbols)
        """None: market, seed, days and symbol say it all."""
        return None


class ParquetSource(OnlyCandles):
    """A folder with one <SYMBOL>.parquet for each symbol."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            fact = "is not a folder" if folder.exists() else "does not exist"
            raise ConfigError(
                f"the folder of candles {folder} {fact}. Set data.path to the folder with <SYMBOL>.parquet."
            )
        self.folder = folder

    def fetch(self, symbol: str) -> pd.DataFrame:
        """The content of the symbol's file."""
        path = self.folder / f"{symbol}.parquet"
        if not path.is_file():
            raise DataError(
                f"{symbol}: there is no file {path}. Put the symbol's candles there, or leave the symbol out."
            )
        return read_parquet(path, symbol=symbol)

    def origin(self, symbol: str) -> str:
        """The path of the symbol's file."""
        return str(self.folder / f"{symbol}.parquet")

    def content(self, symbol: str) -> str | None:
        """SHA-256 of the symbol's file; None when it cannot be read."""
        try:
            return sha256_file(self.folder / f"{symbol}.parquet")
        except OSError:
            return None


def read_parquet(path: Path, *, symbol: str) -> pd.DataFrame:
    """The table in `path`, unchecked; an index that was stored by pandas comes back as a column.

    Raises:
        DataError: the file is empty, damaged, or may not be read.
    """
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{symbol} ({path}): the file is empty (0 bytes). Fetch it again.")
        frame: pd.DataFrame = pq.read_table(path).to_pandas(ignore_metadata=True)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{symbol} ({path}): cannot be read as parquet ({reason}). Fetch the file again.") from error
    return frame


SourceOpener = Callable[[RunConfig], CandleSource]
"""Opens the source that a configuration names, for those who may not know all of them."""


def load_candles(
    source: CandleSource, symbol: str, data: DataSection, *, now: datetime | None
) -> tuple[pd.DataFrame, CandleReport]:
    """The checked and filled candles of `symbol`, and the report on them.

    Args:
        source: where they come from.
        symbol: which.
        data: the rules.
        now: aware; the age of the newest bar is held against it, except on the simulated market. None: not judged.

    Raises:
        DataError: the symbol has no readable candles, or they break a rule.
    """
    raw = source.fetch(symbol)
    judged_at = None if data.source == "simulated" else now
    if judged_at is not None and data.source == "exchange":
        # It gives closed bars only, by its own clock; the newest ones closed while the run was under way.
        judged_at = max(judged_at, raw["timestamp"].iloc[-1] + pd.Timedelta(minutes=BAR_MINUTES))
    frame, report = check_and_fill(raw, symbol=symbol, rules=data, where=source.origin(symbol), now=judged_at)
    facts, warnings = source.facts(symbol), (*report.warnings, *source.remarks(symbol))
    return frame, replace(report, warnings=warnings, fetched=None if facts is None else facts.to_json())
