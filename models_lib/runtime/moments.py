"""Aware times and the milliseconds since 1970 that candles and the state are kept by."""

from datetime import UTC, datetime


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970-01-01T00:00Z of an aware time, rounded down."""
    return int(moment.timestamp() * 1_000)


def from_ms(epoch_ms: int) -> datetime:
    """The aware UTC time."""
    return datetime.fromtimestamp(epoch_ms / 1_000, tz=UTC)
