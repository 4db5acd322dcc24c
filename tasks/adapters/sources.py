"""The source of candles that a configuration names, local or not.

What does not belong here: what a source is and what candles must satisfy (models_lib.candles), and how a bucket is read
(s3/candles.py).
"""

import logging
from typing import TYPE_CHECKING

from models_lib.config import RunConfig
from models_lib.errors import TransientError

if TYPE_CHECKING:
    from models_lib.candles.sources import CandleSource

_log = logging.getLogger("models_lib.candles")


def open_source(config: RunConfig) -> "CandleSource":
    """The source that `data.source` names.

    Raises:
        ConfigError: the folder of a parquet source does not exist.
    """
    from models_lib.candles.sources import ParquetSource, SimulatedSource  # noqa: PLC0415 - pandas only where it is used

    data = config.data
    match data.source:
        case "simulated":
            return SimulatedSource(market=data.market, seed=data.seed, days=data.days)
        case "parquet":
            assert data.path is not None, "DataSection refuses parquet without a path"
            return ParquetSource(data.path)
        case "s3":
            from tasks.adapters.aws.clients import Aws  # noqa: PLC0415 - boto3 only where it is used
            from tasks.adapters.s3.candles import S3Candles  # noqa: PLC0415
            from tasks.adapters.s3.objects import S3Folder  # noqa: PLC0415

            assert data.uri is not None, "DataSection refuses s3 without an address"
            return S3Candles(S3Folder(Aws.of(config.aws), data.uri))


def check_bucket(config: RunConfig) -> None:
    """Refuses a bucket of candles that does not exist or may not be read, before anything is started.

    A missing symbol is that symbol's affair alone, and a bucket that does not answer now may do so when it is needed.

    Raises:
        ConfigError: no such bucket, no credentials, no right, or no candles of any symbol.
    """
    if config.data.source != "s3":
        return
    from tasks.adapters.s3.candles import S3Candles  # noqa: PLC0415 - boto3 only where it is used

    source = open_source(config)
    assert isinstance(source, S3Candles), "data.source=s3"
    try:
        source.check()
    except TransientError as error:
        _log.warning("%s", error)
