"""What a symbol's entry of the summary says about its candles: where they end, what is missing and why, what is alarming.

What does not belong here: finding it out (models_lib.candles), and telling it (models_lib.reports, notifications).
"""

from collections.abc import Mapping
from typing import Any

_TAKEN = (
    "origin",
    "first",
    "last",
    "rows",
    "expected_minutes",
    "missing_minutes",
    "filled_minutes",
    "stale",
    "warnings",
)


def data_facts(report: Mapping[str, Any]) -> dict[str, Any]:
    """The short form of a report on candles, as plain values.

    Args:
        report: the JSON that lies beside the candles of the run.
    """
    fetched = report["fetched"] or {}
    return {
        **{name: report[name] for name in _TAKEN},
        "holes_by_cause": fetched.get("holes_by_cause"),
        "alarms": [check for check in fetched.get("checks") or () if check["alarm"]],
    }
