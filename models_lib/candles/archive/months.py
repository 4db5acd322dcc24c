"""The file of one month: parquet, encoded for many prices that hardly differ, the same bytes for the same bars.

Doubles are cut into their eight bytes, each kind beside its like (BYTE_STREAM_SPLIT), which zstd packs well, and which reads
quicker than a dictionary of a million different prices.

What does not belong here: where files lie, and what stands in the manifest about them.
"""

from datetime import UTC, datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models_lib.candles.bars import Bars, Span, Spans
from models_lib.candles.schema import CANDLE_COLUMNS, VALUE_COLUMNS
from models_lib.errors import DataError

_SCHEMA: Final = pa.schema(
    [
        pa.field("timestamp", pa.timestamp("ms", tz="UTC"), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in VALUE_COLUMNS),
    ]
)
_ENCODING: Final = {"timestamp": "DELTA_BINARY_PACKED"} | dict.fromkeys(VALUE_COLUMNS, "BYTE_STREAM_SPLIT")


def month_of(time_ms: int) -> str:
    """As in 2024-04."""
    return f"{datetime.fromtimestamp(time_ms / 1000.0, UTC):%Y-%m}"


def month_span(name: str) -> Span:
    """The minutes of the month 2024-04."""
    year, month = int(name[:4]), int(name[5:])
    following = (year + 1, 1) if month == 12 else (year, month + 1)
    return Span(_start_ms(year, month), _start_ms(*following))


def months_in(spans: Spans) -> list[str]:
    """The names of the months that have minutes of the spans, in order."""
    names: dict[str, None] = {}
    for span in spans:
        start_ms = span.start_ms
        while start_ms < span.end_ms:
            name = month_of(start_ms)
            names[name] = None
            start_ms = month_span(name).end_ms
    return sorted(names)


def encoded(bars: Bars) -> bytes:
    """The content of the file with these bars."""
    columns = [
        pa.array(bars.stamps, type=pa.int64()).cast(_SCHEMA.field(0).type),
        *(pa.array(np.ascontiguousarray(bars.values[:, column])) for column in range(len(VALUE_COLUMNS))),
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_arrays(columns, schema=_SCHEMA),
        sink,
        compression="zstd",
        use_dictionary=False,
        column_encoding=_ENCODING,
        write_statistics=False,
        row_group_size=max(1, len(bars)),
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content


def decode_into(content: bytes, stamps: NDArray[np.int64], values_5N: NDArray[np.float64], *, where: str) -> None:
    """Fills the arrays with the bars of a file that has just as many.

    Raises:
        DataError: the content is no such file.
    """
    try:
        # Not read_table: it goes through a dataset, which costs a third more for a file of this size.
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            table = file.read(columns=list(CANDLE_COLUMNS), use_threads=False)
        stamps[:] = table.column(0).cast(pa.int64()).to_numpy()
        for row, name in zip(values_5N, VALUE_COLUMNS, strict=True):
            row[:] = table.column(name).to_numpy()
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{where}: cannot be read as the bars of a month ({reason}). Fetch again.") from error


def decoded(content: bytes, rows: int, *, where: str) -> Bars:
    """The bars of a file.

    Raises:
        DataError: the content is no such file.
    """
    stamps, values_5N = np.empty(rows, dtype=np.int64), np.empty((len(VALUE_COLUMNS), rows))
    decode_into(content, stamps, values_5N, where=where)
    return Bars(stamps, values_5N.T)


def _start_ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000
