"""From when on candles are wanted, as people say it: `2y`, `30d` or `2024-04-01`.

What does not belong here: what is asked for then (fetching.py).
"""

import re
from datetime import UTC, datetime
from typing import Final

from models_lib.candles.bars import floor_minute
from models_lib.candles.schema import DAY_MS
from models_lib.errors import ConfigError

_DAYS: Final = {"d": 1, "y": 365}
_LONGEST_DAYS: Final = 3_650
"""As data.days."""


def since_ms(text: str, *, now_ms: int) -> int:
    """The first minute that is meant: so many days or years of 365 days before now, or the beginning of a UTC day.

    Raises:
        ConfigError: it is no such time, lies more than ten years back or in the future.
    """
    start_ms = _start_ms(text, now_ms)
    if start_ms is None:
        raise ConfigError(f"--since must be like 2y, 30d or 2024-04-01, was {text!r}.")
    if not now_ms - (_LONGEST_DAYS + 1) * DAY_MS <= start_ms < now_ms:
        raise ConfigError(
            f"--since must lie in the past, at most {_LONGEST_DAYS:,} days back, was {text!r}. Name a later or an earlier day."
        )
    return start_ms


def _start_ms(text: str, now_ms: int) -> int | None:
    if length := re.fullmatch(r"([0-9]{1,4})([dy])", text):
        days = int(length[1]) * _DAYS[length[2]]
        return floor_minute(now_ms) - days * DAY_MS if days else None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(day.timestamp() * 1000)
