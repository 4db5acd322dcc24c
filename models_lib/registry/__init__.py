"""The registry: which bundle is champion of each symbol, how that changes, and the record of every change.

`open_registry(home)` gives the local one, `opened(store)` the one on another store. Whoever asks for a champion is given the
registry, because the configuration says which it is. `Store` is what a place must offer to hold a registry.

What does not belong here: what a bundle is (models_lib.bundle) and whether it is good (models_lib.evaluation).
"""

from models_lib.registry.commands import history, promote, rollback
from models_lib.registry.ledger import Damage, LedgerEntry
from models_lib.registry.local import LocalStore
from models_lib.registry.registry import (
    Champion,
    Champions,
    History,
    PromotionOutcome,
    Registry,
    RegistryOpener,
    Roles,
    open_registry,
    opened,
)
from models_lib.registry.store import Store, StoredLedger, StoredPointer

__all__ = [
    "Champion",
    "Champions",
    "Damage",
    "History",
    "LedgerEntry",
    "LocalStore",
    "PromotionOutcome",
    "Registry",
    "RegistryOpener",
    "Roles",
    "Store",
    "StoredLedger",
    "StoredPointer",
    "history",
    "open_registry",
    "opened",
    "promote",
    "rollback",
]
