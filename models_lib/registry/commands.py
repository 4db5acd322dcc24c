"""What `crpbot promote`, `rollback` and `history` do: one call each, plain values back.

What does not belong here: printing, exit statuses and the present time (the command line has them).
"""

from datetime import datetime
from pathlib import Path

from models_lib.registry.registry import History, PromotionOutcome, open_registry


def promote(home: Path, symbol: str, reference: str, *, who: str, why: str, now: datetime) -> PromotionOutcome:
    """Promotes a bundle by hand, against the champion that it was judged against.

    Args:
        home: the state folder.
        symbol: whose champion.
        reference: a bundle folder, or at least eight characters of a kept bundle's hash.
        who: for the ledger.
        why: for the ledger.
        now: aware.

    Raises:
        ConfigError: no such bundle.
        BundleError: the bundle is damaged or of another symbol.
        PromotionError: the answer is no.
    """
    registry = open_registry(home)
    bundle = registry.resolve(reference)
    champion = registry.champion(symbol)
    expected = bundle if champion and champion.bundle == bundle else registry.judged_against(bundle)
    return registry.promote(symbol, bundle, expected_champion=expected, who=who, why=why, now=now)


def rollback(home: Path, symbol: str, *, who: str, why: str, now: datetime) -> PromotionOutcome:
    """Goes back to the champion's predecessor.

    Raises:
        PromotionError: there is none, or the record is damaged.
        BundleError: the predecessor is gone or damaged.
    """
    return open_registry(home).rollback(symbol, who=who, why=why, now=now)


def history(home: Path, symbol: str | None = None) -> History:
    """Every change of champion, with the chain verified; `damage` is empty when it can be believed."""
    return open_registry(home).history(symbol)
