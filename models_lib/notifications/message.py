"""One notice: what happened, to which symbol of which run, why, and the numbers that failed.

What does not belong here: how a channel lays it out (tasks/adapters), and when it is sent (outbox.py).
"""

import math
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from models_lib.config.sections import NoticeEvent
from models_lib.files import canonical_json, sha256_bytes
from models_lib.reports import wording

LONGEST_REASON = 4_000
"""Characters; a longer reason is cut, because the report has the rest."""
LONGEST_TITLE = 150
MOST_FIGURES = 20


def _sayable(text: object) -> object:
    """Text that every channel and every file takes: no control characters but line ends, no broken Unicode."""
    if not isinstance(text, str):
        return text
    whole = text.encode("utf-8", "replace").decode()
    return "".join(character if character.isprintable() or character == "\n" else " " for character in whole)


Text = Annotated[str, BeforeValidator(_sayable)]
Line = Annotated[str, BeforeValidator(_sayable), Field(max_length=1_000, pattern=r"^[^\n]*$")]
Number = Annotated[float, Field(allow_inf_nan=False)]
Value = Number | tuple[Number, Number] | None
"""One number, both ends of a band, or None for what was not measured."""


class Figure(BaseModel):
    """One number that failed, beside the limit that it was held against."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Line
    value: Value
    limit: Value
    note: Line = ""

    def line(self) -> str:
        """`calibration_error: 0.081 (limit 0.05)`, and the note after it."""
        said = f"{self.name}: {_said(self.value)}"
        limit = "" if self.limit is None else f" (limit {_said(self.limit)})"
        return f"{said}{limit}{f'; {self.note}' if self.note else ''}"


class Notice(BaseModel):
    """Something that somebody should know; frozen, and the same notice has the same `id`.

    Attributes:
        run_id: the run that it is about; what belongs to no run has a name of its own that does not come again.
        symbol: None for what concerns the whole run.
        stage: the step in which it happened, where that is known.
        reason: why, in words; also several lines.
        figures: the numbers that failed.
        link: where to read on: the run in the UI, or the path of the report.
        time: when it happened, aware.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: NoticeEvent
    run_id: Annotated[Line, Field(min_length=1)]
    symbol: Line | None = None
    stage: Line | None = None
    reason: Text
    figures: tuple[Figure, ...] = ()
    link: Line | None = None
    time: AwareDatetime

    @property
    def id(self) -> str:
        """SHA-256 of (event, run, symbol, stage) in hex: what makes two notices one, whatever their words."""
        return sha256_bytes(canonical_json([self.event, self.run_id, self.symbol, self.stage]))

    @property
    def short_id(self) -> str:
        """What a person compares to see whether two messages are the same one sent twice."""
        return self.id[:12]

    def title(self) -> str:
        """One line: `BTC-USD held: no edge after costs measured`, cut to LONGEST_TITLE characters."""
        subject = self.symbol or "run"
        first = next((line for line in self.reason.splitlines() if line.strip()), "")
        said = f"{subject} {self.event.replace('_', ' ')}{f': {first}' if first else ''}"
        return cut(" ".join(said.split()), LONGEST_TITLE)

    def facts(self) -> list[tuple[str, str]]:
        """What is known beside the reason, named, in the order in which people ask."""
        facts = {"symbol": self.symbol, "stage": self.stage, "run": self.run_id, "time": _moment(self.time)}
        return [(name, fact) for name, fact in facts.items() if fact]

    def told_reason(self) -> str:
        """The reason, cut to LONGEST_REASON characters."""
        return cut(self.reason.strip(), LONGEST_REASON)

    def figure_lines(self) -> list[str]:
        """One line a number that failed; beyond MOST_FIGURES only how many more there are."""
        lines = [figure.line() for figure in self.figures[:MOST_FIGURES]]
        rest = len(self.figures) - MOST_FIGURES
        return [*lines, f"and {rest} more"] if rest > 0 else lines

    def text(self) -> str:
        """The whole notice as plain text, for every channel that knows no layout."""
        parts = [
            self.told_reason(),
            "\n".join(f"- {line}" for line in self.figure_lines()),
            "\n".join(f"{name}: {fact}" for name, fact in self.facts()),
            self.link or "",
            f"message {self.short_id}; seen twice, it is one message",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"


def cut(text: str, limit: int) -> str:
    """`text` with at most `limit` characters, an ellipsis at its end where something is missing."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M %Z}"


def _said(value: Value) -> str:
    if isinstance(value, tuple):
        low, high = value
        return wording.number(low) if math.isclose(low, high) else f"{wording.number(low)} to {wording.number(high)}"
    return wording.number(value)
