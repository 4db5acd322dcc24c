"""What is deployed: a judged bundle, and when it was last found good.

What does not belong here: where it goes (target.py).
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


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
