"""How many candles a symbol has, without reading them: the end of a parquet file says so, or the record of an archive.

What does not belong here: whether they are enough (models_lib.candles.coverage).
"""

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from models_lib.candles.coverage import MINUTES_A_DAY, coverage, parquet_rows, rows_needed
from models_lib.candles.fetching import newest_days
from models_lib.config import RunConfig
from models_lib.errors import ConfigError, DataError, TransientError
from models_lib.preflight import Finding
from tasks.adapters.archives import open_archive
from tasks.adapters.exchange.catalogue import CATALOGUE

if TYPE_CHECKING:
    from tasks.adapters.aws.clients import Aws


def data_finding(config: RunConfig, symbol: str, *, home: Path, aws: "Aws | None") -> Finding:
    """Whether the symbol's candles are there and cover the configured window.

    Args:
        config: says where they are, and the window.
        symbol: whose.
        home: the state folder, for data.source=exchange.
        aws: for data.source=s3.

    Raises:
        ClientError, BotoCoreError: as boto3 does, where the bucket gives no answer.
    """
    data = config.data
    try:
        match data.source:
            case "simulated":
                rows, where = data.days * MINUTES_A_DAY, f"the simulated market {data.market}"
            case "parquet":
                assert data.path is not None, "DataSection refuses parquet without a path"
                path = data.path / f"{symbol}.parquet"
                rows, where = parquet_rows(path, where=str(path)), str(path)
            case "s3":
                assert aws is not None, "the source in S3 is asked with a client"
                where = f"{data.uri}/{symbol}.parquet"
                rows = _rows_of_object(aws.client("s3"), where)
            case "exchange":
                return _archive_finding(config, symbol, home)
    except DataError as error:
        return Finding("data", "fail", str(error), "Correct data.source, data.path or data.uri.", symbol)
    return coverage(symbol, rows, data, where=where)


def data_findings(config: RunConfig, symbols: Sequence[str], *, home: Path) -> tuple[Finding, ...]:
    """The same for each symbol, for a training on this machine; what the bucket does not answer is unknown."""
    aws = None
    if config.data.uri is not None:
        from tasks.adapters.aws.clients import Aws  # noqa: PLC0415 - boto3 only where it is used

        aws = Aws.of(config.aws)
    return tuple(_told(config, home, symbol, aws) for symbol in symbols)


def _told(config: RunConfig, home: Path, symbol: str, aws: "Aws | None") -> Finding:
    if aws is None:
        return data_finding(config, symbol, home=home, aws=None)
    from tasks.adapters.aws.faults import translated  # noqa: PLC0415 - boto3 only where it is used

    try:
        with translated(f"{config.data.uri}/{symbol}"):
            return data_finding(config, symbol, home=home, aws=aws)
    except TransientError as error:
        return Finding("data", "unknown", str(error), "Try again later.", symbol)
    except ConfigError as error:
        return Finding("data", "fail", str(error), "Correct aws.region, data.uri or the credentials.", symbol)


def _archive_finding(config: RunConfig, symbol: str, home: Path) -> Finding:
    """What is not fetched yet is unknown, as the run fetches it first; what the exchange does not have, it will not have."""
    archive, data = open_archive(config, home=home), config.data
    # The exchange is not asked here; that it can never serve so many is known without.
    newest_bars = CATALOGUE[config.exchange.name].newest_bars
    if newest_bars is not None and newest_bars <= data.days * MINUTES_A_DAY:
        fact = (
            f"exchange.name={config.exchange.name} serves only its newest {newest_bars - 1:,} closed minutes; "
            f"data.days={data.days} needs {data.days * MINUTES_A_DAY:,}."
        )
        return Finding("data", "fail", fact, "Choose another exchange for a training.", symbol)
    window = newest_days(data.days, time.time_ns() // 1_000_000)
    record = archive.record(symbol)
    rows = 0 if record is None else record.present.within(window).minutes
    asked = 0 if record is None else record.asked_spans.within(window).minutes
    if rows >= rows_needed(data) or asked >= rows_needed(data):
        return coverage(symbol, rows, data, where=f"{archive.place.name}/{symbol}")
    fact = (
        f"{asked:,} of the {data.days * MINUTES_A_DAY:,} minutes of data.days={data.days} were fetched from "
        f"{config.exchange.name} so far; the run fetches the rest first."
    )
    return Finding("data", "unknown", fact, f"To have them before: crpbot fetch --symbols {symbol}", symbol)


def _rows_of_object(client: Any, uri: str) -> int:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    # Imported here: a machine that trains locally on local files starts without boto3.
    from botocore.exceptions import ClientError  # noqa: PLC0415

    try:
        head = client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}:
            raise DataError(f"{uri}: there is no such object. Bring the symbol's candles there.") from error
        raise
    with pa.PythonFile(_Ranged(client, bucket, key, int(head["ContentLength"])), mode="r") as file:
        return parquet_rows(file, where=uri)


class _Ranged(io.RawIOBase):
    """An object as a file of which only the read pieces are fetched."""

    def __init__(self, client: Any, bucket: str, key: str, size: int) -> None:
        super().__init__()
        self._client, self._place, self._size, self._at = client, {"Bucket": bucket, "Key": key}, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if self._at >= end:
            return b""
        answer = self._client.get_object(**self._place, Range=f"bytes={self._at}-{end - 1}")
        piece = bytes(answer["Body"].read())
        self._at += len(piece)
        return piece
