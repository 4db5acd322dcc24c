"""What is deployed: a judged bundle, and when it was last found good.

What does not belong here: where it goes (target.py).
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from models_lib.errors import BundleError
from models_lib.registry import Registry


@dataclass(frozen=True)
class Release:
    """One symbol's bundle for a target.

    Attributes:
        symbol: whose.
        bundle: a bundle folder of the store, named by its hash.
        judged_at: the newest verdict that no blocking gate opposed; the bundle's days count from here. A night that comes
            to the same bundle again renews it.
    """

    symbol: str
    bundle: Path
    judged_at: datetime


def release_of(registry: Registry, symbol: str, bundle_hash: str) -> Release:
    """The stored bundle as a release.

    Raises:
        BundleError: it is not in the store, or no verdict allows it.
    """
    good = [facts.judged_at for facts in registry.store.verdicts(bundle_hash) if not facts.failed_blocking()]
    if not good:
        raise BundleError(
            f"{symbol}: bundle {bundle_hash[:12]} has no verdict that allows it, so it is not deployed. Train again."
        )
    return Release(symbol, registry.store.bundle(bundle_hash), max(good))
