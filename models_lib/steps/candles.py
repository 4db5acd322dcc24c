"""Candles of one symbol, fetched, checked, filled and kept for the run."""

import logging
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from models_lib.candles.schema import data_hash
from models_lib.candles.sources import CandleSource, load_candles
from models_lib.config import DataSection
from models_lib.files import whole_file, write_json
from models_lib.steps.data_facts import REPORT_NAME
from models_lib.steps.refs import CandlesRef, FileRef

_log = logging.getLogger(__name__)


def fetch_candles(symbol: str, data: DataSection, folder: Path, *, source: CandleSource, now: datetime) -> CandlesRef:
    """The symbol's checked and filled candles, with the report of the checks beside them.

    Raises:
        DataError: the candles are missing or break a rule.
    """
    frame, report = checked_candles(symbol, data, source=source, now=now)
    candles_path, report_path = folder / "candles.parquet", folder / REPORT_NAME
    with whole_file(candles_path) as fresh:
        frame.to_parquet(fresh, compression="zstd", index=False)
    write_json(report_path, report)
    return CandlesRef(
        symbol=symbol,
        candles=FileRef.of(candles_path),
        report=FileRef.of(report_path),
        data_hash=report["data_hash"],
        rows=len(frame),
    )


def checked_candles(
    symbol: str, data: DataSection, *, source: CandleSource, now: datetime
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The symbol's checked and filled candles, and as plain values what the checks found, where they are from, their hash.

    Raises:
        DataError: the candles are missing or break a rule.
    """
    frame, report = load_candles(source, symbol, data, now=now)
    for warning in report.warnings:
        _log.warning("%s", warning, extra={"symbol": symbol})
    return frame, {**report.to_json(), "origin": source.origin(symbol), "data_hash": data_hash(frame)}


def read_candles(ref: CandlesRef) -> pd.DataFrame:
    """The candles that `ref` names."""
    return pd.read_parquet(ref.candles.checked())
