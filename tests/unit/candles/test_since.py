"""From when on candles are wanted."""

from datetime import UTC, datetime

import pytest

from models_lib.candles.since import since_ms
from models_lib.errors import ConfigError

NOW_MS = int(datetime(2026, 11, 22, 20, 45, 12, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("1d", datetime(2026, 11, 21, 20, 45, tzinfo=UTC)),
        ("50d", datetime(2026, 10, 3, 20, 45, tzinfo=UTC)),
        ("2y", datetime(2024, 11, 22, 20, 45, tzinfo=UTC)),  # 730 days; no leap day lies between
        ("2024-04-01", datetime(2024, 4, 1, tzinfo=UTC)),
    ],
)
def test_time_is_a_minute(text: str, start: datetime) -> None:
    assert since_ms(text, now_ms=NOW_MS) == int(start.timestamp() * 1000)


@pytest.mark.parametrize("text", ["", "2", "y", "0d", "-1d", "2w", "1.5y", "2024-4-31", "2024-04-01T00:00", "soon"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--since must be like 2y, 30d or 2024-04-01, was"):
        since_ms(text, now_ms=NOW_MS)


@pytest.mark.parametrize("text", ["2026-11-23", "11y", "2016-01-01"])
def test_time_too_far_away_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--since must lie in the past, at most 3,650 days back"):
        since_ms(text, now_ms=NOW_MS)
