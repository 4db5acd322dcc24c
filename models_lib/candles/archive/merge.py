"""What counts where an exchange said different things about one minute.

Exchanges correct their newest bars for some minutes. So an answer about a minute has a rank: AHEAD of what was asked (it
came along with an answer about other minutes), YOUNG (the minute had just closed), FINAL (it had been closed for
`revise_minutes`). The higher rank counts, whatever came first. Among equal ones the newer counts and is logged as a
correction; only two FINAL ones contradict each other: then the first one stays, and a flag is raised. So the order in which
pages arrive does not matter where they agree, nor where their ranks differ.

What does not belong here: where bars lie, and which minutes are asked for again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models_lib.candles.archive.manifest import Correction, Flag
from models_lib.candles.archive.page import Page
from models_lib.candles.bars import Bars, Span, Spans
from models_lib.candles.schema import VALUE_COLUMNS

AHEAD: Final = 0
YOUNG: Final = 1
FINAL: Final = 2
_STORED: Final = -1
"""In place of the page's number, for a bar that was stored before."""


@dataclass(frozen=True, eq=False)
class Merged:
    """What is stored from now on, and what that changed.

    Attributes:
        bars: all of them.
        corrections: values that gave way to newer ones.
        flags: final values that were not believed, as others were stored.
    """

    bars: Bars
    corrections: tuple[Correction, ...]
    flags: tuple[Flag, ...]


@dataclass(frozen=True, eq=False)
class _Said:
    """Everything that was said, several times about the same minute, the bar that counts last.

    Attributes:
        stamps, values: as in Bars, but stamps repeat; sorted.
        page: number of the page that said it, or _STORED; int64 [N].
        rank: int64 [N].
    """

    stamps: NDArray[np.int64]
    values: NDArray[np.float64]
    page: NDArray[np.int64]
    rank: NDArray[np.int64]


def merge(
    stored: Bars, pages: Sequence[Page], *, within: Span, asked: Spans, final: Spans, revise_minutes: int
) -> Merged:
    """The bars that open in `within` after the pages.

    Args:
        stored: what is stored of `within`.
        pages: in any order; among equal ranks the one received last counts.
        within: only this is looked at.
        asked: the minutes that were answered before.
        final: those of them that had been closed for `revise_minutes` then.
        revise_minutes: for so long an exchange corrects.
    """
    ordered = sorted(pages, key=lambda page: page.received_ms)
    said = _said(stored, _ranks(stored.stamps, asked, final), ordered, within, revise_minutes)
    last_of_minute = np.ones(said.stamps.size, dtype=bool)
    last_of_minute[:-1] = said.stamps[1:] != said.stamps[:-1]
    counts = np.flatnonzero(last_of_minute)
    winner = counts[np.searchsorted(counts, np.arange(said.stamps.size))]
    bits = said.values.view(np.int64)
    differs = np.flatnonzero((bits != bits[winner]).any(axis=1))
    found = [(row, int(winner[row])) for row in differs.tolist()]
    return Merged(
        Bars(said.stamps[counts], said.values[counts]),
        tuple(_correction(said, row, over, ordered) for row, over in found if said.rank[row] != FINAL),
        tuple(_flag(said, row, over) for row, over in found if said.rank[row] == FINAL),
    )


def _said(stored: Bars, rank: NDArray[np.int64], pages: Sequence[Page], within: Span, revise_minutes: int) -> _Said:
    stamps, values, page, ranks = [stored.stamps], [stored.values], [np.full(len(stored), _STORED)], [rank]
    for number, one in enumerate(pages):
        bars = one.bars.within(within)
        stamps.append(bars.stamps)
        values.append(bars.values)
        page.append(np.full(len(bars), number))
        ranks.append(_ranks(bars.stamps, one.answered, one.final(revise_minutes)))
    all_stamps, all_pages, all_ranks = np.concatenate(stamps), np.concatenate(page), np.concatenate(ranks)
    newest_last = np.where(all_ranks == FINAL, -all_pages, all_pages)  # the first final one counts, else the newest
    order = np.lexsort((newest_last, all_ranks, all_stamps))
    all_values = np.ascontiguousarray(np.concatenate(values)[order])
    return _Said(all_stamps[order], all_values, all_pages[order], all_ranks[order])


def _ranks(stamps: NDArray[np.int64], asked: Spans, final: Spans) -> NDArray[np.int64]:
    """int64 [N]; final minutes are asked ones."""
    return _inside(stamps, asked).astype(np.int64) + _inside(stamps, final)


def _inside(stamps: NDArray[np.int64], spans: Spans) -> NDArray[np.bool_]:
    """Which of the stamps lie in one of the spans; bool [N]."""
    edges = np.array(spans.spans, dtype=np.int64).reshape(-1)
    inside: NDArray[np.bool_] = np.searchsorted(edges, stamps, side="right") % 2 == 1
    return inside


def _correction(said: _Said, row: int, over: int, pages: Sequence[Page]) -> Correction:
    known_as = said.page[over] if said.page[over] != _STORED else said.page[row]
    return Correction(
        stamp_ms=int(said.stamps[row]),
        before=tuple(said.values[row].tolist()),
        after=tuple(said.values[over].tolist()),
        seen_ms=pages[int(known_as)].received_ms,
    )


def _flag(said: _Said, row: int, over: int) -> Flag:
    return Flag(kind="changed", stamp_ms=int(said.stamps[row]), words=", ".join(_changes(said, row, over)))


def _changes(said: _Said, row: int, over: int) -> Iterator[str]:
    for column, name in enumerate(VALUE_COLUMNS):
        stored, other = float(said.values[over, column]), float(said.values[row, column])
        if stored != other:
            yield f"{name} {stored!r} is stored, {other!r} came later"
