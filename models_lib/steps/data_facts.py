"""What a symbol's entry of the summary says about its candles: where they end, what is missing and why, what is alarming.

What does not belong here: finding it out (models_lib.candles), and telling it (models_lib.reports, notifications).
"""

import json
import logging
from collections.abc import Mapping
from typing import Any

from models_lib.steps.plan import RunPlan

REPORT_NAME = "candles.json"
_log = logging.getLogger(__name__)
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


def data_facts_so_far(plan: RunPlan, symbol: str) -> dict[str, Any] | None:
    """The same of a symbol that failed later: what is wrong with its candles may be why. None where it had none yet."""
    path = plan.symbol_folder(symbol) / "candles" / REPORT_NAME
    try:
        return data_facts(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        _log.warning("%s cannot be read, so nothing is said of the candles: %s", path, error, extra={"symbol": symbol})
        return None
