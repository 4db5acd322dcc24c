"""The runtime on this machine: what a deployment brings to one that nobody set up, and what it said.

It gets the trainer's settings and its newest candles. A host that somebody set up says both in a runtime.yaml of its own, which is left alone.

What does not belong here: reading them (models_lib.runtime).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from models_lib.candles.schema import VALUE_COLUMNS, epoch_ms
from models_lib.config import DeploymentSection
from models_lib.config.serving_sections import SignalsSection
from models_lib.config.targets import LocalTargetSection
from models_lib.deployment.host import HostTarget
from models_lib.deployment.look import look_at_folder
from models_lib.deployment.target import DeploymentTarget, local_folder
from models_lib.errors import ConfigError
from models_lib.features import SERVING_BARS
from models_lib.files import write_bytes, write_text
from models_lib.runtime.configuration import CONFIG_FILE, signals_as_yaml
from models_lib.runtime.speaking import SIGNALS_FILE

_OURS = "# Each deployment writes this file anew from the training configuration."
_HOW_TO_OWN_IT = "# Without the line above it is yours: no deployment writes it, nor brings candles."
_CANDLES = "candles"
_MARKET = "market"
"""In a file's metadata: the simulated market that its candles are of, or that they are real."""
_REAL = "real"
_log = logging.getLogger(__name__)


def bring_signals_section(target: DeploymentTarget, signals: SignalsSection) -> None:
    """Writes the trainer's `signals` into the target's runtime.yaml; says so where they are set and not used.

    Args:
        target: what is deployed to next.
        signals: of the training configuration.
    """
    folder = _unattended(target)
    if folder is not None:
        write_text(folder / CONFIG_FILE, f"{_OURS}\n{_HOW_TO_OWN_IT}\n{signals_as_yaml(signals)}")
    elif signals != SignalsSection():
        _log.warning(
            "target %s: its runtime has a %s of its own, so the section `signals` of this configuration changes nothing there. "
            "Set in that file what its signals may risk.",
            target.name,
            CONFIG_FILE,
        )


def bring_candles(
    target: DeploymentTarget, symbol: str, candles: Callable[[], pd.DataFrame], *, simulated_market: str | None
) -> None:
    """Writes the newest candles into the target's folder; a host that somebody set up has its own.

    Args:
        target: where the symbol is deployed next.
        symbol: whose candles.
        candles: gives them, checked and filled.
        simulated_market: the market that they are of; None: a real one.
    """
    folder = _unattended(target)
    if folder is not None and isinstance(target, HostTarget):
        rows = SERVING_BARS + target.rules.watch.rehearsal_minutes
        _write_candles(folder / _CANDLES / f"{symbol}.safetensors", candles().tail(rows), simulated_market)


def candles_brought(folder: Path, markets: Mapping[str, str | None]) -> Path | None:
    """The folder of the candles that deployments brought to a runtime's folder; None when there is none.

    Args:
        folder: the runtime's.
        markets: symbol -> the simulated market that a model of it was trained on; None: a real one.

    Raises:
        ConfigError: the candles of one of these symbols are of another market: its model would be judged by them.
    """
    candles = folder / _CANDLES
    if not candles.is_dir():
        return None
    for symbol, market in markets.items():
        path = candles / f"{symbol}.safetensors"
        brought = _market_of(path) if path.exists() else market  # that it is missing, the replay itself says
        if brought != market:
            raise ConfigError(
                f"{path}: the candles that the last deployment brought are of {market_words(brought)}, and {symbol}'s model was "
                f"trained on {market_words(market)}. Name candles of that market with --candles DIR, or deploy the champion first."
            )
    return candles


def _write_candles(path: Path, candles: pd.DataFrame, simulated_market: str | None) -> None:
    """The file as the runtime's replay reads it, whole or not at all."""
    ohlcv = candles[list(VALUE_COLUMNS)].to_numpy(dtype="float64")
    of = {_MARKET: simulated_market or _REAL}
    write_bytes(path, save({"timestamps": epoch_ms(candles), "ohlcv": ohlcv.copy(order="C")}, metadata=of))


def _market_of(path: Path) -> str | None:
    try:
        with safe_open(path, framework="numpy") as file:
            market: str = (file.metadata() or {}).get(_MARKET, _REAL)
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"{path}: no candles can be read from it ({error}). Deploy again, or name --candles DIR."
        ) from error
    return None if market == _REAL else market


def market_words(simulated_market: str | None) -> str:
    """What a market is called in a sentence; None: a real one."""
    return "a real market" if simulated_market is None else f"the simulated market {simulated_market}"


def spoken_on_this_machine(section: DeploymentSection, symbols: Sequence[str], *, home: Path) -> list[str]:
    """A line a symbol of what the runtime of the configured target said of it, and where its signals are.

    Args:
        section: whose target counts, if it is a runtime on this machine.
        symbols: those that were deployed to it.
        home: the state folder, where the embedded target lies.
    """
    target = section.targets.get(section.target or "")
    if not isinstance(target, LocalTargetSection) or not symbols:
        return []
    folder = local_folder(target, home=home)
    health, signals = look_at_folder(folder).health, folder / SIGNALS_FILE
    known = health.symbols if health is not None else {}
    lines = [f"{symbol}  {known[symbol].sentence()}" for symbol in symbols if symbol in known]
    return [*lines, f"signals: {signals}"] if signals.exists() else lines


def _unattended(target: DeploymentTarget) -> Path | None:
    """The folder of a runtime on this machine without a runtime.yaml of an operator; None for every other target."""
    if not isinstance(target, HostTarget) or not isinstance(target.section, LocalTargetSection):
        return None
    folder = target.section.folder
    assert folder is not None, "a local target got its folder when it was opened"
    path = folder / CONFIG_FILE
    if path.exists() and path.read_bytes().partition(b"\n")[0] != _OURS.encode():
        return None
    return folder
