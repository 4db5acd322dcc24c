"""Which minutes are missing, why as far as that can be known, and when they are asked for again.

A hole lies between the first and the last bar: before the first one the symbol was not listed, after the last one nothing is
known yet. It is asked for again once a day (UTC, by the exchange's clock), as exchanges mend their history at night.

What does not belong here: minutes that were never asked for; they are no hole but work to be done.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeVar

from models_lib.candles.archive.manifest import Hole
from models_lib.candles.archive.page import Page
from models_lib.candles.bars import Span, Spans
from models_lib.candles.schema import BAR_MS, DAY_MS

Told = TypeVar("Told")


def find_holes(
    asked: Spans, present: Spans, *, known: Sequence[Hole], pages: Sequence[Page], outage_minutes: int
) -> tuple[Hole, ...]:
    """The holes in order; what was known about their minutes is kept.

    Args:
        asked: every minute that was ever answered.
        present: every minute that has a bar.
        known: the holes before the pages.
        pages: what was answered since then.
        outage_minutes: a hole of at least so many minutes is an outage.
    """
    if not present:
        return ()
    extent = Span(present.spans[0].start_ms, present.spans[-1].end_ms)
    missing = asked.within(extent).minus(present)
    before = _by_place(missing, ((hole.span, hole) for hole in known))
    since = _by_place(missing, ((page.span, page) for page in pages))
    return tuple(
        _hole(span, before.get(number, ()), since.get(number, ()), outage_minutes)
        for number, span in enumerate(missing)
    )


def due(holes: Iterable[Hole], *, now_ms: int, hole_nights: int, page_minutes: int) -> Spans:
    """What to ask for: holes that were not asked for today and not on `hole_nights` days after the first one.

    Holes that one page can hold are joined, with the bars between them, as that is one request instead of many.
    """
    today = now_ms // DAY_MS
    wanted = [hole.span for hole in holes if hole.times_asked <= hole_nights and not _asked_today(hole, today)]
    joined: list[Span] = []
    for span in sorted(wanted):
        if joined and span.end_ms - joined[-1].start_ms <= page_minutes * BAR_MS:
            joined[-1] = Span(joined[-1].start_ms, span.end_ms)
        else:
            joined.append(span)
    return Spans.of(joined)


def _asked_today(hole: Hole, today: int) -> bool:
    """Also when it was at the beginning of tomorrow: right after midnight the clock is known to some milliseconds only."""
    return hole.last_asked_ms is not None and hole.last_asked_ms // DAY_MS in {today, today + 1}


def _hole(span: Span, before: Sequence[Hole], since: Sequence[Page], outage_minutes: int) -> Hole:
    """The hole with what is known of it: joined of several, it counts as asked for like the one asked least."""
    if not since and len(before) == 1 and before[0].span == span:
        return before[0]  # a coin that trades seldom has many, and a settlement touches few
    times = min((hole.times_asked for hole in before), default=0)
    last_ms = max((hole.last_asked_ms for hole in before if hole.last_asked_ms is not None), default=None)
    last_day = -1 if last_ms is None else last_ms // DAY_MS
    days = {page.closed_ms // DAY_MS for page in since}
    outage = span.minutes >= outage_minutes or any(page.troubled for page in since)
    outage = outage or any(hole.cause == "outage" for hole in before)
    return Hole(
        start_ms=span.start_ms,
        minutes=span.minutes,
        cause="outage" if outage else "no trades",
        times_asked=times + sum(day > last_day for day in days),
        last_asked_ms=max((page.closed_ms for page in since), default=last_ms),
    )


def _by_place(missing: Spans, told: Iterable[tuple[Span, Told]]) -> dict[int, list[Told]]:
    """Number of the missing span -> what was told about spans that overlap it."""
    starts = [span.start_ms for span in missing]
    ends = [span.end_ms for span in missing]
    found: dict[int, list[Told]] = defaultdict(list)
    for span, what in told:
        for number in range(bisect_right(ends, span.start_ms), bisect_left(starts, span.end_ms)):
            found[number].append(what)
    return found
