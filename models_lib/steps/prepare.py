"""A symbol's training inputs outside a run: for a rehearsal, which keeps nothing.

What does not belong here: the same steps within a run, whose results are kept and taken over (once.py).
"""

from datetime import datetime
from pathlib import Path

from models_lib.candles.sources import CandleSource
from models_lib.config import RunConfig
from models_lib.steps.candles import fetch_candles
from models_lib.steps.features import compute_feature_matrix
from models_lib.steps.labels import label_rows
from models_lib.steps.refs import Prepared
from models_lib.steps.scaler import fit_feature_scaler
from models_lib.steps.train import training_spec
from models_lib.training.spec import TrainingSpec


def prepare_training(
    config: RunConfig, symbol: str, folder: Path, *, source: CandleSource, now: datetime
) -> TrainingSpec:
    """The order that a run would give for this symbol now, made from its candles.

    Args:
        config: the resolved configuration.
        symbol: whose.
        folder: for everything that is made.
        source: of the candles.
        now: aware; the age of the newest candle is held against it.

    Raises:
        DataError: the candles are missing, break a rule or are too few.
    """
    folder.mkdir(parents=True, exist_ok=True)
    candles = fetch_candles(symbol, config.data, folder, source=source, now=now)
    features = compute_feature_matrix(candles, folder, threads=1)
    labels = label_rows(candles, config.label, config.splits, folder)
    scaler = fit_feature_scaler(features, labels, folder)
    prepared = Prepared(candles=candles, features=features, labels=labels, scaler=scaler)
    return training_spec(config, prepared, folder / "training")
