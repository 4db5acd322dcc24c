"""What a source that asks an exchange knows beside the candles: holes with their causes, the checks, how it asked.

What does not belong here: finding any of it out (archive, fetching.py, cross_checks.py).
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from models_lib.candles.cross_checks import Checks

HoleCause = Literal["no trades", "outage", "not fetched"]


@dataclass(frozen=True)
class KnownHole:
    """Missing minutes and why they are missing, as far as that is known.

    Attributes:
        start_ms: open time of the first missing bar.
        minutes: how many are missing.
        cause: "no trades" and "outage" were answered by the exchange; "not fetched" was not asked yet.
    """

    start_ms: int
    minutes: int
    cause: HoleCause


@dataclass(frozen=True, kw_only=True)
class FetchFacts:
    """What is known of one symbol's candles beside them.

    Attributes:
        exchange: who was asked.
        market: what the symbol is there, BTC/USD.
        volume_unit: what its volume counts, BTC.
        holes: inside of what was handed over, in order.
        checks: of the newest bars; None: nobody checked.
        corrections: bars of this fetch that the exchange had corrected, and that were taken over.
        skew_ms: the exchange's clock minus this machine's; None: not measured.
    """

    exchange: str
    market: str
    volume_unit: str
    holes: tuple[KnownHole, ...] = ()
    checks: Checks | None = None
    corrections: int = 0
    skew_ms: float | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should read of it: alarms, and the holes by their cause."""
        alarms = () if self.checks is None else tuple(check.words for check in self.checks.alarms)
        return (*alarms, *_holes_by_cause(self.holes))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "exchange": self.exchange,
            "market": self.market,
            "volume_unit": self.volume_unit,
            "corrections": self.corrections,
            "skew_ms": self.skew_ms,
            "holes": [{**vars(hole)} for hole in self.holes],
            "checks": None if self.checks is None else self.checks.to_json(),
        }


def _holes_by_cause(holes: tuple[KnownHole, ...]) -> tuple[str, ...]:
    """One sentence; none without holes."""
    minutes: Counter[str] = Counter()
    for hole in holes:
        minutes[hole.cause] += hole.minutes
    if not minutes:
        return ()
    told = ", ".join(
        f"{cause}: {count:,} minutes in {sum(hole.cause == cause for hole in holes):,}"
        for cause, count in minutes.items()
    )
    return (f"holes by cause, as far as known: {told}",)
