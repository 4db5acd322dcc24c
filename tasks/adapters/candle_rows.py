"""How many candles a symbol has, without reading them: the end of a parquet file says so, also in a bucket.

What does not belong here: whether they are enough (models_lib.candles.coverage).
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from models_lib.candles.coverage import MINUTES_A_DAY, coverage, parquet_rows
from models_lib.config import DataSection, RunConfig
from models_lib.errors import ConfigError, DataError, TransientError
from models_lib.preflight import Finding

if TYPE_CHECKING:
    from tasks.adapters.aws.clients import Aws


def data_finding(data: DataSection, symbol: str, *, aws: "Aws | None") -> Finding:
    """Whether the symbol's candles are there and cover the configured window.

    Args:
        data: where they are, and the window.
        symbol: whose.
        aws: for data.source=s3.

    Raises:
        ClientError, BotoCoreError: as boto3 does, where the bucket gives no answer.
    """
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
    except DataError as error:
        return Finding("data", "fail", str(error), "Correct data.source, data.path or data.uri.", symbol)
    return coverage(symbol, rows, data, where=where)


def data_findings(config: RunConfig, symbols: Sequence[str]) -> tuple[Finding, ...]:
    """The same for each symbol, for a training on this machine; what the bucket does not answer is unknown."""
    aws = None
    if config.data.source == "s3":
        from tasks.adapters.aws.clients import Aws  # noqa: PLC0415 - boto3 only where it is used

        aws = Aws.of(config.aws)
    return tuple(_told(config.data, symbol, aws) for symbol in symbols)


def _told(data: DataSection, symbol: str, aws: "Aws | None") -> Finding:
    if aws is None:
        return data_finding(data, symbol, aws=None)
    from tasks.adapters.aws.faults import translated  # noqa: PLC0415 - boto3 only where it is used

    try:
        with translated(f"{data.uri}/{symbol}.parquet"):
            return data_finding(data, symbol, aws=aws)
    except TransientError as error:
        return Finding("data", "unknown", str(error), "Try again later.", symbol)
    except ConfigError as error:
        return Finding("data", "fail", str(error), "Correct aws.region, data.uri or the credentials.", symbol)


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
