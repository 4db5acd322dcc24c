"""Numbers as words: one form for each kind of quantity, and one phrase for what nobody measured.

What does not belong here: judgements about the numbers (answers.py).
"""

import math
from collections.abc import Callable, Sequence
from datetime import datetime

OLD_NETWORK = (
    "The old network names no training span: it may have been trained on these rows, which would flatter its accuracy "
    "and ECE."
)
"""For figures of a network that came from a file; on rows after all that was fitted around it, too."""
NOT_MEASURED = "not measured"
"""The phrase for a quantity that has no value."""

Say = Callable[[float | None], str]
"""How one kind of quantity is said."""


def _worded(value: float | None, say: Callable[[float], str]) -> str:
    if value is None:
        return NOT_MEASURED
    if not math.isfinite(value):
        return f"not a finite number ({value})"
    return say(value)


def decimal(value: float | None, places: int = 3) -> str:
    """`0.588`, or the phrase for what was not measured."""
    return _worded(value, lambda number: f"{number:,.{places}f}")


def number(value: float | None) -> str:
    """`0.0004`, `8.42`, `52,011`: three digits that count, for what has no unit of its own."""
    return _worded(value, lambda number: f"{number:,.0f}" if abs(number) >= 1_000 else f"{number:.3g}")


def signed(value: float | None, places: int = 4) -> str:
    """`+0.0341`: a difference always shows its sign."""
    return _worded(value, lambda number: f"{number:+,.{places}f}")


def percent(value: float | None, places: int = 1) -> str:
    """`74.1 %` of a share in [0, 1]."""
    return _worded(value, lambda number: f"{100 * number:.{places}f} %")


def signed_points(value: float | None) -> str:
    """`+0.5 points` of a difference of two shares."""
    return _worded(value, lambda number: f"{100 * number:+.1f} points")


def basis_points(value: float | None) -> str:
    """`-9.1 bp` of a number that is in basis points already."""
    return _worded(value, lambda number: f"{number:+.1f} bp")


def whole(value: float | None) -> str:
    """`1,051,200`."""
    return _worded(value, lambda number: f"{number:,.0f}")


def interval(bounds: tuple[float, float] | None, say: Say) -> str:
    """`-1.9 to +2.7 bp`: each end in the words of `say`, a common unit only once."""
    if bounds is None:
        return NOT_MEASURED
    low, high = say(bounds[0]), say(bounds[1])
    number, _, unit = low.partition(" ")
    return f"{number if math.isfinite(bounds[0]) and high.endswith(f' {unit}') else low} to {high}"


def duration(seconds: float | None) -> str:
    """`0.42 s`, `12.3 s`, `3 min 07 s` or `2 h 05 min`."""

    def say(number: float) -> str:
        if number < 10:
            return f"{number:.2f} s"
        if number < 120:
            return f"{number:.1f} s"
        minutes, rest = divmod(round(number), 60)
        return f"{minutes} min {rest:02d} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"

    return _worded(seconds, say)


def minutes_long(minutes: int) -> str:
    """`14 min`, `3.5 h` or `61.2 days`: the length of a hole, rounded."""
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes / 60:.1f} h" if minutes < 2_880 else f"{minutes / 1_440:.1f} days"


def moment(when: datetime | None) -> str:
    """`2026-01-02 00:00 UTC` of an aware UTC time."""
    return NOT_MEASURED if when is None else when.strftime("%Y-%m-%d %H:%M UTC")


def listed(names: Sequence[str], *, most: int) -> str:
    """`A, B, C`, or `A, B and 98 more`: the first names, and how many were left out."""
    left_out = len(names) - most
    return ", ".join(names) if left_out <= 0 else f"{', '.join(names[:most])} and {left_out:,} more"


def inert_markdown(text: str) -> str:
    """Foreign text as one line of Markdown in which nothing acts: no mark, no link, no HTML, no column, no list."""
    line = " ".join(text.split())
    for sign in ("\\", "`", "*", "[", "]", "|"):
        line = line.replace(sign, f"\\{sign}")
    line = line.replace("<", "&lt;")
    return f"\\{line}" if line[:1] in ("-", "+", "#", ">") else line


def plural(count: int, noun: str) -> str:
    """`1 gate`, `3 gates`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
