"""The same market with the direction taken out: every bar is mirrored, or left as it is, by the toss of a coin.

How much prices move, when, and on what volume stays as it was, to the last bits of a log return; whether they move up or
down is a coin's choice, so nothing in the past says anything about it. Whatever a model finds here about direction, it
was told by something that it must not know.

What does not belong here: simulated markets (simulated.py), and what is trained on these candles (models_lib.steps).
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models_lib.candles.schema import PRICE_COLUMNS

Floats = NDArray[np.float64]


def sign_flipped(frame: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """The candles with a random sign a bar: its log return, and its open, high and low about the close before it.

    A mirrored bar has its high where the low was, so every bar stays a valid one. Times, holes and volumes stay. The
    step across a hole is mirrored like any other. The first price stays; the others wander as far as a sum of so many
    returns with random signs does, and are not brought back: features and labels know no price level.

    Args:
        frame: the columns of the candle schema, sorted; the frame itself is not changed.
        seed: of the coin.
    """
    sign = np.random.default_rng(seed).choice((-1.0, 1.0), size=len(frame))
    logs = {name: np.log(frame[name].to_numpy(np.float64)) for name in PRICE_COLUMNS}
    before = np.concatenate((logs["open"][:1], logs["close"][:-1]))
    level = logs["open"][:1].sum() + np.concatenate(([0.0], np.cumsum(sign * (logs["close"] - before))))
    moved = {name: np.exp(level[:-1] + sign * (logs[name] - before)) for name in ("open", "high", "low")}
    moved["close"] = np.exp(level[1:])
    flipped = frame.copy()
    flipped["open"], flipped["close"] = moved["open"], moved["close"]
    # Of a mirrored bar the two change places. All four bound the bar, because exp may round neighbours past each other.
    bounds = np.stack(tuple(moved.values()))
    flipped["high"], flipped["low"] = bounds.max(axis=0), bounds.min(axis=0)
    return flipped
