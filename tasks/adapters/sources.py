"""The source of candles that a configuration names, local or not, and whether a run may count on it.

What does not belong here: what a source is and what candles must satisfy (models_lib.candles), how a bucket is read
(s3/candles.py) and how an exchange is asked (exchange_candles.py).
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from models_lib.config import RunConfig
from models_lib.errors import ConfigError, DataError, TransientError

if TYPE_CHECKING:
    from models_lib.candles.sources import CandleSource
    from tasks.adapters.exchange.ccxt_exchange import CcxtExchange

_LONGEST_WAIT_SECONDS = 5.0
"""For a question before a run begins."""
_log = logging.getLogger("models_lib.candles")


def open_source(config: RunConfig, *, home: Path) -> "CandleSource":
    """The source that `data.source` names.

    Args:
        config: of the run.
        home: the state folder, in which an exchange's candles are kept.

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
        case "exchange":
            from tasks.adapters.archives import open_archive  # noqa: PLC0415
            from tasks.adapters.exchange_candles import ExchangeCandles  # noqa: PLC0415

            section = config.exchange
            second = open_asked(config, home=home, second=True) if section.second else None
            return ExchangeCandles(
                open_asked(config, home=home),
                open_archive(config, home=home),
                section,
                days=data.days,
                round_minutes=data.round_minutes,
                second=second,
            )


def open_asked(
    config: RunConfig, *, home: Path, second: bool = False, longest_wait_seconds: float | None = None
) -> "CcxtExchange":
    """The configured exchange; all processes of this home keep one pace.

    Args:
        config: with its section.
        home: the state folder.
        second: the one that candles are held against.
        longest_wait_seconds: how long to wait when it asks for patience; None: as long as the patience of the section.
    """
    from tasks.adapters.archives import candles_home  # noqa: PLC0415 - pandas only where it is used
    from tasks.adapters.exchange.ccxt_exchange import open_exchange  # noqa: PLC0415

    pace = candles_home(home) / "pace"
    return open_exchange(config.exchange, pace_folder=pace, second=second, longest_wait_seconds=longest_wait_seconds)


def check_source(config: RunConfig, *, home: Path) -> None:
    """Refuses a bucket or an exchange that no run can count on, before anything is started.

    A missing symbol is that symbol's affair alone, and who does not answer now may do so when it is needed.

    Raises:
        ConfigError: no such bucket, no credentials, no right, or no candles of any symbol; or an exchange that refuses this
            machine, knows none of the symbols, or does not reach back far enough.
    """
    try:
        match config.data.source:
            case "s3":
                _check_bucket(config, home)
            case "exchange":
                _check_exchange(config, home)
            case _:
                pass
    except TransientError as error:
        _log.warning("%s", error)


def _check_bucket(config: RunConfig, home: Path) -> None:
    from tasks.adapters.s3.candles import S3Candles  # noqa: PLC0415 - boto3 only where it is used

    source = open_source(config, home=home)
    assert isinstance(source, S3Candles), "data.source=s3"
    source.check()


def _check_exchange(config: RunConfig, home: Path) -> None:
    from tasks.adapters.archives import open_archive  # noqa: PLC0415 - pandas only where it is used

    open_archive(config, home=home).record(config.symbols[0])  # a bucket that refuses does so here
    exchange = open_asked(config, home=home, longest_wait_seconds=_LONGEST_WAIT_SECONDS)
    _refuse_short_history(exchange, config.data.days)
    for symbol in config.symbols:
        try:
            exchange.market(symbol)
        except DataError as error:
            unknown = error
        else:
            return
    raise ConfigError(f"{exchange.name} knows none of the symbols. {unknown}") from unknown


def _refuse_short_history(exchange: "CcxtExchange", days: int) -> None:
    from models_lib.candles.coverage import MINUTES_A_DAY  # noqa: PLC0415 - pyarrow only where it is used

    minutes = exchange.history_minutes
    if minutes is not None and minutes < days * MINUTES_A_DAY:
        raise ConfigError(
            f"exchange.name={exchange.name} serves only its newest {minutes:,} minutes, and data.days={days} needs "
            f"{days * MINUTES_A_DAY:,}. Choose another exchange for a training."
        )
