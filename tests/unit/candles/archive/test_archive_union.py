"""Whatever comes, in whatever order, cut off wherever: the archive is the union of the pages that were safe."""

import contextlib
import itertools
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_lib.candles.archive.archive import CandleArchive
from models_lib.candles.archive.manifest import Manifest
from models_lib.candles.archive.page import Page
from models_lib.candles.archive.writer import Writer
from models_lib.candles.bars import Bars, Spans
from models_lib.candles.exchange import Answer
from models_lib.candles.schema import BAR_MS
from tests.archived import EXCHANGE, MARKET, SYMBOL, at, bars, everything, filled, local_archive, row, span

MINUTES = 200
"""The market's length; its second half lies in the next month and year."""

Action = tuple[str, Any]


@st.composite
def markets(draw: st.DrawFn) -> frozenset[int]:
    """The minutes in which something was traded."""
    silent = draw(st.lists(st.tuples(st.integers(0, MINUTES), st.integers(1, 70)), max_size=4))
    return frozenset(range(MINUTES)) - {minute for first, length in silent for minute in range(first, first + length)}


@st.composite
def answers(draw: st.DrawFn, traded: frozenset[int]) -> Page:
    """An honest page: all closed bars of its span, some beside it, in any order, some twice, the last one unfinished."""
    first = draw(st.integers(0, MINUTES - 1))
    end = first + draw(st.integers(0, 80))
    closed = draw(st.integers(first, MINUTES + 40))
    before, after = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    rows = [row(minute) for minute in range(first - before, end + after) if minute in traded and minute < closed]
    rows += rows[: draw(st.integers(0, 3))]
    if draw(st.booleans()):
        rows.append([at(closed), 9.0, 9.5, 8.5, 9.0, 0.0])
    draw(st.randoms(use_true_random=False)).shuffle(rows)
    asked_ms = at(closed) + draw(st.integers(0, BAR_MS - 1))
    return Page.of(SYMBOL, Answer(span(first, end), rows, asked_ms, asked_ms + draw(st.integers(0, 10**6))))


@st.composite
def stories(draw: st.DrawFn) -> list[Action]:
    traded = draw(markets())
    page = st.tuples(st.just("add"), answers(traded))
    other = st.one_of(
        st.tuples(st.just("settle"), st.none()),
        st.tuples(st.just("close"), st.none()),
        st.tuples(st.just("kill"), st.floats(0.0, 1.0)),
        st.tuples(st.just("kill as it is"), st.none()),
    )
    return draw(st.lists(st.one_of(page, page, other), max_size=12))


@dataclass
class Process:
    """A writer at work on an archive in a folder, and what of its pages must be there for ever.

    A kill is played by going on in a copy of the folders as they are at that moment, the journal cut off where the kill tore it.
    """

    folder: Path
    kept: list[Page] = field(default_factory=list)
    """Settled."""
    at_risk: list[tuple[int, Page]] = field(default_factory=list)
    """In the journal, with its length after each."""
    lives: int = 0

    def __post_init__(self) -> None:
        self._open()

    def _open(self) -> None:
        self.archive = local_archive(self.folder / str(self.lives))
        self.stack = contextlib.ExitStack()
        self.writer: Writer = self.stack.enter_context(self.archive.writer(SYMBOL, market=MARKET, exchange=EXCHANGE))
        self._all_safe()

    @property
    def journal(self) -> Path:
        return self.folder / str(self.lives) / "staging" / EXCHANGE.name / f"{SYMBOL}.journal"

    def _all_safe(self) -> None:
        self.kept += [page for _, page in self.at_risk]
        self.at_risk = []

    def add(self, page: Page) -> None:
        self.writer.add(page)
        self.at_risk.append((self.journal.stat().st_size, page))

    def settle(self, _: None) -> None:
        self.writer.settle()
        self._all_safe()

    def close(self, _: None = None) -> None:
        self.stack.close()
        self._all_safe()
        self._open()

    def kill(self, share: float | None) -> None:
        source = self.folder / str(self.lives)
        size = self.journal.stat().st_size
        shutil.copytree(source, self.folder / str(self.lives + 1))
        self.stack.close()
        self.lives += 1
        if share is not None:
            size = int(share * size)
            with self.journal.open("r+b") as stream:
                stream.truncate(size)
        self.at_risk = [(end, page) for end, page in self.at_risk if end <= size]
        self._open()

    def act(self, name: str, what: Any) -> None:
        {"add": self.add, "settle": self.settle, "close": self.close, "kill": self.kill, "kill as it is": self.kill}[
            name
        ](what)


def union_of(pages: list[Page]) -> Bars:
    return bars({(int(stamp) - at(0)) // BAR_MS for page in pages for stamp in page.bars.stamps})


def facts(manifest: Manifest | None) -> Any:
    """What must not depend on the order of the pages; how often a hole was asked for and earlier files may."""
    if manifest is None:
        return None
    holes = [(hole.span, hole.cause) for hole in manifest.holes]
    return (
        manifest.months,
        manifest.asked,
        manifest.young,
        holes,
        manifest.corrections,
        manifest.flags,
        manifest.updated_ms,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stories")


@settings(max_examples=30, deadline=None)
@given(story=stories(), order=st.randoms(use_true_random=False))
def test_the_archive_is_the_union_of_the_safe_pages(story: list[Action], order: Any, folders: Path) -> None:
    _assert_the_union_is_held(story, order, folders)


@pytest.mark.long
@settings(max_examples=600, deadline=None)
@given(story=stories(), order=st.randoms(use_true_random=False))
def test_many_times_the_archive_is_the_union_of_the_safe_pages(story: list[Action], order: Any, folders: Path) -> None:
    _assert_the_union_is_held(story, order, folders)


def _assert_the_union_is_held(story: list[Action], order: Any, folders: Path) -> None:
    scratch = folders / f"{len(list(folders.iterdir()))}"
    process = Process(scratch)
    for name, what in story:
        process.act(name, what)
    process.close()
    process.stack.close()
    held = everything(process.archive)
    assert held.same_as(union_of(process.kept))
    manifest = process.archive.record(SYMBOL)
    if process.kept:
        asked = Spans.of(one for page in process.kept for one in page.answered)
        final = Spans.of(one for page in process.kept for one in page.final(EXCHANGE.revise_minutes))
        assert manifest is not None
        assert manifest.asked_spans == asked
        assert manifest.young_spans == asked.minus(final)
        assert manifest.rows == len(held)
        within = manifest.extent
        missing = asked.within(within).minus(held.spans) if within else Spans()
        assert Spans.of(hole.span for hole in manifest.holes) == missing
    _same_in_any_order_and_twice(process, order, scratch)
    shutil.rmtree(scratch)
    scratch.mkdir()


def _same_in_any_order_and_twice(process: Process, order: Any, scratch: Path) -> None:
    shuffled = list(process.kept)
    order.shuffle(shuffled)
    other = filled(local_archive(scratch / "shuffled"), *shuffled)
    assert facts(other.record(SYMBOL)) == facts(process.archive.record(SYMBOL))
    before = other.place.record(SYMBOL)
    filled(other, *shuffled)
    assert other.place.record(SYMBOL) == before  # to the byte: the same said again changes nothing


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_split_of_the_same_minutes_gives_the_same_files(data: st.DataObject, folders: Path) -> None:
    """0..200 in one page, or cut anywhere, gives files with the same names: with the same content."""
    scratch = folders / f"split-{len(list(folders.iterdir()))}"
    cuts = sorted({0, MINUTES, *data.draw(st.lists(st.integers(0, MINUTES), max_size=6))})
    parts = [_page(first, end) for first, end in itertools.pairwise(cuts)]
    whole = _files(filled(local_archive(scratch / "whole"), _page(0, MINUTES)))
    assert _files(filled(local_archive(scratch / "parts"), *parts)) == whole
    assert [name[:7] for name in sorted(whole)] == ["2025-12", "2026-01"]


def _page(first: int, end: int) -> Page:
    rows = [row(minute) for minute in range(first, end)]
    return Page.of(SYMBOL, Answer(span(first, end), rows, at(10_000), at(10_001)))


def _files(archive: CandleArchive) -> set[str]:
    manifest = archive.record(SYMBOL)
    assert manifest is not None
    return manifest.files()
