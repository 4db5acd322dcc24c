"""Candles for a runtime on this machine that has no source of its own: the newest ones of the run, beside its releases.

What does not belong here: reading them (models_lib.runtime.sources).
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from safetensors.numpy import save

from models_lib.candles.schema import VALUE_COLUMNS, epoch_ms
from models_lib.config.targets import LocalTargetSection
from models_lib.deployment.host import HostTarget
from models_lib.deployment.target import DeploymentTarget
from models_lib.features import SERVING_BARS
from models_lib.files import write_bytes

_OPERATORS_CHOICE = "runtime.yaml"


def bring_local_candles(target: DeploymentTarget, symbol: str, candles: Callable[[], pd.DataFrame]) -> None:
    """Writes the newest candles into the target's folder; another kind of target, or one with a runtime.yaml, has its own.

    Args:
        target: where the symbol is deployed next.
        symbol: whose candles.
        candles: gives them, checked and filled.
    """
    if not isinstance(target, HostTarget) or not isinstance(target.section, LocalTargetSection):
        return
    folder = target.section.folder
    assert folder is not None, "a local target got its folder when it was opened"
    if (folder / _OPERATORS_CHOICE).exists():
        return
    rows = SERVING_BARS + target.rules.watch.rehearsal_minutes
    write_newest_candles(folder / "candles" / f"{symbol}.safetensors", candles().tail(rows))


def write_newest_candles(path: Path, candles: pd.DataFrame) -> None:
    """The file as the runtime's replay reads it, whole or not at all."""
    ohlcv = candles[list(VALUE_COLUMNS)].to_numpy(dtype="float64")
    write_bytes(path, save({"timestamps": epoch_ms(candles), "ohlcv": ohlcv.copy(order="C")}))
