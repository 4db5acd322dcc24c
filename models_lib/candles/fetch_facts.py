"""What a source that asks an exchange knows beside the candles: holes with their causes, the checks, how it asked.

What does not belong here: finding any of it out (archive, fetching.py, cross_checks.py).
"""

from dataclasses import dataclass
from typing import Any, get_args

from models_lib.candles.archive.manifest import Cause
from models_lib.candles.bars import moment
from models_lib.candles.cross_checks import Checks


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
    cause: Cause

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, the time as ISO 8601 with Z."""
        return {"start": moment(self.start_ms), "minutes": self.minutes, "cause": self.cause}


@dataclass(frozen=True, kw_only=True)
class FetchFacts:
    """What is known of one symbol's candles beside them.

    Attributes:
        exchange: who was asked.
        market: what the symbol is there, BTC/USD.
        volume_unit: what its volume counts, BTC.
        holes: inside of what was handed over, in order, before any minute was filled.
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
        """What a person should read of it: alarms, and what was never fetched; the report itself tells all holes."""
        alarms = () if self.checks is None else tuple(check.words for check in self.checks.alarms)
        return (*alarms, *self._told_holes())

    @property
    def holes_by_cause(self) -> dict[str, dict[str, int]]:
        """How many holes each cause has, and their minutes."""
        kinds = {cause: [hole.minutes for hole in self.holes if hole.cause == cause] for cause in get_args(Cause)}
        return {cause: {"holes": len(found), "minutes": sum(found)} for cause, found in kinds.items() if found}

    def _told_holes(self) -> tuple[str, ...]:
        """A hole that was never asked for is nobody's silence: whoever reads the figures must know."""
        told = self.holes_by_cause.get("not fetched")
        if told is None:
            return ()
        where = next(hole for hole in self.holes if hole.cause == "not fetched").to_json()["start"]
        unasked = f"{told['minutes']:,} minutes in {told['holes']:,} holes were never asked of {self.exchange}"
        return (f"{unasked}, the first at {where}. Run crpbot fetch",)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "exchange": self.exchange,
            "market": self.market,
            "volume_unit": self.volume_unit,
            "corrections": self.corrections,
            "skew_ms": self.skew_ms,
            "holes": [hole.to_json() for hole in self.holes],
            "holes_by_cause": self.holes_by_cause,
            "checks": None if self.checks is None else self.checks.to_json(),
        }
