"""What is compared: two bundles that answer the same question, and the configuration in which they are asked it.

What does not belong here: what they answer (compare.py).
"""

from dataclasses import dataclass
from pathlib import Path

from models_lib.bundle import Bundle, load_bundle
from models_lib.config import RunConfig
from models_lib.errors import ConfigError
from models_lib.registry import Registry
from models_lib.registry.commands import champion_folder, find_bundle
from models_lib.steps.market import with_candles
from models_lib.steps.report import label_name


@dataclass(frozen=True, kw_only=True)
class ComparisonRequest:
    """What a person asked for.

    Attributes:
        symbol: whose models.
        repaired: a bundle folder, or the start of a kept hash.
        v8: the same of the other model; None: the symbol's champion.
        candles: folder with <SYMBOL>.parquet; None: the configured source.
        promote: whether the winner shall become champion.
        who: user@host, for the ledger.
    """

    symbol: str
    repaired: str
    v8: str | None = None
    candles: Path | None = None
    promote: bool = False
    who: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One of the models, and where it lies."""

    folder: Path
    bundle: Bundle


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """The two given models, and the configuration with their question and with the candles that were asked for."""

    repaired: Member
    v8: Member
    config: RunConfig


def open_members(request: ComparisonRequest, config: RunConfig, *, home: Path, registry: Registry) -> Opened:
    """Both bundles, after every check.

    Raises:
        ConfigError: no such bundle, no champion, or models that cannot be compared.
        BundleError: a bundle is damaged, or of another symbol.
    """
    repaired, v8 = _open_repaired(request, registry), _open_v8(request, home, registry)
    _check_alike(repaired.bundle, v8.bundle)
    return Opened(repaired=repaired, v8=v8, config=_config_for(request, config, repaired.bundle))


def _open_repaired(request: ComparisonRequest, registry: Registry) -> Member:
    member = _open(find_bundle(request.repaired, registry=lambda: registry), request.symbol)
    family = member.bundle.manifest.family
    if not family.endswith("-repaired"):
        raise ConfigError(
            f"--repaired {request.repaired}: must be a repaired model, was of family {family}. "
            f"`crpbot repair` makes one of an old file."
        )
    return member


def _open_v8(request: ComparisonRequest, home: Path, registry: Registry) -> Member:
    given = request.v8 is not None
    if request.v8 is not None:
        folder = find_bundle(request.v8, registry=lambda: registry)
    else:
        folder = champion_folder(home, request.symbol, registry=registry)
    member = _open(folder, request.symbol)
    manifest = member.bundle.manifest
    if manifest.repair is not None or manifest.members:
        which = f"--v8 {request.v8}" if given else f"the champion of {request.symbol}, {member.bundle.hash[:12]},"
        kind = "an ensemble" if manifest.members else "a repaired model"
        raise ConfigError(f"{which} is {kind} itself. Name the V8 with --v8.")
    return member


def _open(folder: Path, symbol: str) -> Member:
    return Member(folder=folder, bundle=load_bundle(folder, symbol=symbol))


def _check_alike(repaired: Bundle, v8: Bundle) -> None:
    """Refuses models of different questions or different worlds."""
    first, second = repaired.manifest, v8.manifest
    if first.label.section != second.label.section:
        raise ConfigError(
            f"the models answer different questions: {repaired.hash[:12]} was fitted on "
            f"{label_name(first.label.section)}, {v8.hash[:12]} on {label_name(second.label.section)}, or the two labels "
            f"differ in their settings. Name two of one label."
        )
    if (first.simulated_market is None) != (second.simulated_market is None):
        raise ConfigError(
            f"one of {repaired.hash[:12]} and {v8.hash[:12]} is of real candles, the other of a simulated market. "
            f"Name two of one kind."
        )


def _config_for(request: ComparisonRequest, config: RunConfig, one: Bundle) -> RunConfig:
    """The configuration with the candles that were asked for, and with the question that both bundles were trained on."""
    if request.candles is not None:
        config = with_candles(config, request.candles)
    data, theirs = config.data, one.manifest.simulated_market
    if (theirs is None) != (data.simulated_market is None):
        of = "real candles" if theirs is None else "a simulated market"
        raise ConfigError(
            f"both models are of {of}, and the candles are not (data.source={data.source}): what they reach there says "
            f"nothing. Name the folder of candles with --candles, or set data.source."
        )
    return config.model_copy(update={"label": one.manifest.label.section})
