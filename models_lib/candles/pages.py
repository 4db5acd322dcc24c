"""Which pages an exchange is asked for, so that every wanted minute is in exactly one of them and none is asked in vain.

What does not belong here: which minutes are wanted (archive) and the asking (fetching.py).
"""

from models_lib.candles.bars import Span, Spans
from models_lib.candles.schema import BAR_MS


def pages_of(wanted: Spans, page_bars: int) -> list[Span]:
    """The fewest spans of at most `page_bars` minutes that hold every wanted minute, by time.

    The first page begins with the first wanted minute, each further one with the first minute that no page before it holds:
    no other choice needs fewer. A page ends with its last wanted minute, and takes in what lies between two near holes.

    Args:
        wanted: the minutes.
        page_bars: most minutes of one page.
    """
    length_ms = page_bars * BAR_MS
    pages: list[Span] = []
    for span in wanted:
        start = span.start_ms
        if pages and (room_ms := pages[-1].start_ms + length_ms) > start:
            start = min(room_ms, span.end_ms)
            pages[-1] = Span(pages[-1].start_ms, start)
        pages += [Span(at, min(at + length_ms, span.end_ms)) for at in range(start, span.end_ms, length_ms)]
    return pages
