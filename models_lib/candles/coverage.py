"""Whether a symbol has about as many candles as the configured window: a sample file trains a model of nothing.

Rows are counted, not bytes: a small file may hold years of a quiet market, and a big one a day of another table.

What does not belong here: reading the candles (sources.py) and judging them (checks.py).
"""

import math
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from models_lib.config import DataSection
from models_lib.errors import DataError, excerpt
from models_lib.preflight import Finding

LOWEST_SHARE: Final = 0.9
"""Of the window's minutes; exchanges leave out minutes without trades."""
MINUTES_A_DAY: Final = 1_440


def rows_needed(data: DataSection) -> int:
    """Fewest candles that count as the configured window."""
    return math.ceil(LOWEST_SHARE * data.days * MINUTES_A_DAY)


def coverage(symbol: str, num_rows: int, data: DataSection, *, where: str) -> Finding:
    """Whether so many candles cover the window of `data.days`.

    Args:
        symbol: whose.
        num_rows: of its candles.
        data: names the window.
        where: they lie, for the message.
    """
    window, lowest = data.days * MINUTES_A_DAY, rows_needed(data)
    fact = (
        f"{num_rows:,} candles in {where}, {num_rows / window:.1%} of the {window:,} minutes of data.days={data.days}"
    )
    if num_rows >= lowest:
        return Finding("data", "pass", fact, symbol=symbol)
    remedy = (
        f"Fetch the whole window (at least {lowest:,} candles, {LOWEST_SHARE:.0%}), or set data.days to what there is: "
        f"{int(num_rows / LOWEST_SHARE) // MINUTES_A_DAY}."
    )
    few = "no candles" if num_rows == 0 else f"at least {LOWEST_SHARE:.0%} needed"
    return Finding("data", "fail", f"{fact} ({few}).", remedy, symbol)


def parquet_rows(source: Path | pa.NativeFile, *, where: str) -> int:
    """The number of rows that a parquet file says it has; its end is read, not its rows.

    Args:
        source: the file.
        where: it lies, for the message.

    Raises:
        DataError: no parquet file, or none that is whole.
    """
    try:
        return int(pq.read_metadata(source).num_rows)
    except (OSError, pa.ArrowException) as error:
        reason = excerpt(str(error).partition("\n")[0])
        raise DataError(f"{where}: cannot be read as parquet ({reason}). Fetch the file again.") from error
