"""What `crpbot promote`, `rollback`, `history` and `verify` ask of the registry: one call each, plain values back.

What does not belong here: printing, exit statuses and the present time (the command line has them).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from models_lib.config import RunConfig
from models_lib.config.sections import SymbolName
from models_lib.deployment.journal import Journal
from models_lib.errors import ConfigError, PromotionError
from models_lib.holds import held, held_symbols
from models_lib.registry.registry import History, PromotionOutcome, Registry, RegistryOpener


def promote(
    home: Path,
    symbol: str,
    reference: str,
    *,
    registry: Registry,
    who: str,
    why: str,
    now: datetime,
    run_id: str | None = None,
) -> PromotionOutcome:
    """Promotes a bundle by hand, unless its symbol is on hold, against the champion that it was judged against.

    Args:
        home: the state folder.
        symbol: whose champion; any name of a symbol, because a bundle knows its own.
        reference: a bundle folder, or at least eight characters of a kept bundle's hash.
        registry: where it becomes champion.
        who: for the ledger.
        why: for the ledger.
        now: aware.
        run_id: whose verdict on the bundle counts; None takes the newest one.

    Raises:
        ConfigError: no such bundle, or not the name of a symbol.
        BundleError: the bundle is damaged or of another symbol.
        PromotionError: the answer is no.
    """
    _check_name(symbol)
    _refuse_when_held(home, symbol)
    bundle = registry.resolve(reference)
    champion = registry.champion(symbol)
    expected = bundle if champion and champion.bundle == bundle else registry.judged_against(bundle, run_id=run_id)
    with Journal(home, symbol).held(wait=True):  # a run may be about to deploy what it promoted
        return registry.promote(symbol, bundle, expected_champion=expected, who=who, why=why, now=now, run_id=run_id)


def rollback(home: Path, symbol: str, *, registry: Registry, who: str, why: str, now: datetime) -> PromotionOutcome:
    """Goes back to the champion's predecessor.

    Raises:
        ConfigError: unknown symbol.
        PromotionError: there is none, or the record is damaged.
        BundleError: the predecessor is gone or damaged.
    """
    check_known(home, symbol, registry=lambda: registry)
    with Journal(home, symbol).held(wait=True):  # a run may be about to deploy what it promoted
        return registry.rollback(symbol, who=who, why=why, now=now)


def history(home: Path, symbol: str | None = None, *, registry: Registry) -> History:
    """Every change of champion, with the chain verified; `damage` is empty when it can be believed.

    Raises:
        ConfigError: unknown symbol.
    """
    if symbol is not None:
        check_known(home, symbol, registry=lambda: registry)
    return registry.history(symbol)


def find_bundle(reference: str, *, registry: RegistryOpener) -> Path:
    """The folder of the bundle that a person means: a folder, or the start of one kept hash. Nothing is verified.

    Args:
        reference: what the person wrote.
        registry: opened where it is no folder.

    Raises:
        ConfigError: neither.
    """
    if reference and Path(reference).is_dir():
        return Path(reference)
    opened = registry()
    return opened.store.bundle(opened.resolve(reference))


def champion_folder(home: Path, symbol: str, *, registry: Registry) -> Path:
    """The folder of the symbol's champion. Nothing of the bundle is verified.

    Raises:
        ConfigError: unknown symbol, or it has no champion.
        RecordError: the record is damaged.
    """
    check_known(home, symbol, registry=lambda: registry)
    champion = registry.champion(symbol)
    if champion is None or champion.bundle is None:
        raise ConfigError(f"{symbol}: there is no champion. Promote a bundle first, or name one.")
    return registry.store.bundle(champion.bundle)


def _refuse_when_held(home: Path, symbol: str) -> None:
    hold = held(home, symbol)
    if hold is not None:
        raise PromotionError(
            f"{symbol} is {hold.sentence()}. Nothing was changed; `crpbot release-hold {symbol}` ends the hold."
        )


def _check_name(symbol: str) -> None:
    try:
        TypeAdapter(SymbolName).validate_python(symbol)
    except ValidationError as error:
        raise ConfigError(f"{symbol!r} is not the name of a symbol. Write it as in BTC-USD.") from error


def known_symbols(home: Path, configured: Sequence[str] = (), *, registry: Registry) -> tuple[str, ...]:
    """The symbols that are configured by default or here, have a line in the ledger, or are on hold."""
    return _together(home, configured, (entry.symbol for entry in registry.history().entries))


def check_known(home: Path, symbol: str, configured: Sequence[str] = (), *, registry: RegistryOpener) -> None:
    """Refuses a symbol that nobody knows: most likely a misspelt one.

    Args:
        home: where holds are.
        symbol: what the person wrote.
        configured: symbols of the configuration.
        registry: opened where the configuration and the holds do not know the symbol: a symbol can be silenced while the
            registry is away.

    Raises:
        ConfigError: naming the known ones.
    """
    if symbol in _together(home, configured, ()):
        return
    known = known_symbols(home, configured, registry=registry())
    if symbol not in known:
        raise ConfigError(f"{symbol!r} is not a known symbol; known are {', '.join(known)}. Ask for one of these.")


def _together(home: Path, configured: Sequence[str], recorded: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*RunConfig().symbols, *configured, *recorded, *held_symbols(home))))
