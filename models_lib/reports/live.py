"""Live figures as a piece for the nightly run: what was said, beside what the test promised.

What does not belong here: measuring (models_lib.runtime) and fetching a host's health.
"""

from collections.abc import Mapping

from models_lib.reports.pieces import Text
from models_lib.runtime.figures import LiveFigures

KEY = "live-figures"


def live_piece(figures: Mapping[str, LiveFigures | None]) -> Text:
    """Alarms first, then one line a symbol.

    Args:
        figures: by symbol; None where the host has none yet.
    """
    alarms = [alarm for live in figures.values() if live is not None for alarm in live.alarms]
    told = [f"**ALARM** since {alarm.since:%Y-%m-%d %H:%M} UTC: {alarm.sentence}" for alarm in alarms]
    lines = [f"**{symbol}**: {_said(live)}" for symbol, live in sorted(figures.items())]
    return Text(
        key=KEY,
        description=f"What the signals and their bars came to, {len(alarms) or 'no'} {'alarm' if len(alarms) == 1 else 'alarms'}",
        markdown="\n\n".join([*told, *lines]) or "No symbol is served.",
    )


def _said(live: LiveFigures | None) -> str:
    if live is None:
        return "nothing measured yet"
    return f"{live.model_copy(update={'alarms': ()}).line()} (until {live.until:%Y-%m-%d %H:%M} UTC, bundle `{live.bundle[:12]}`)"
