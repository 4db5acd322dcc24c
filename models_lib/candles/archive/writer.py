"""The one writer of a symbol: pages go to the journal at once, and from there into the months, many at a time.

A settlement writes new month files beside the old ones and then replaces the manifest: killed anywhere, it has happened or
it has not. Done twice with the same pages it changes nothing, so a journal that was settled but not emptied does no harm.

What does not belong here: locks, and whose archive it is (archive.py).
"""

import logging
import threading
from collections.abc import Iterable, Sequence
from typing import Final

from models_lib.candles.archive.holes import due, find_holes
from models_lib.candles.archive.journal import Journal
from models_lib.candles.archive.manifest import Manifest, Month, minutes_of, newest, newest_flags
from models_lib.candles.archive.merge import Merged, merge
from models_lib.candles.archive.months import decoded, encoded, month_span, months_in
from models_lib.candles.archive.page import Page
from models_lib.candles.archive.places import ArchivePlace, Record
from models_lib.candles.bars import Bars, Span, Spans, floor_minute
from models_lib.candles.schema import BAR_MS
from models_lib.config import ExchangeSection
from models_lib.files import sha256_bytes

SETTLE_BARS: Final = 50_000
SETTLE_PAGES: Final = 1_000
"""So many bars, or pages where they are empty, are settled at once: more cost memory, fewer write each month often."""
_log = logging.getLogger(__name__)


class Writer:
    """Made by `CandleArchive.writer`. Safe to use from several threads at once.

    Args:
        place: where months and manifest lie.
        journal: opened; its pages are settled first.
        record: the manifest as it lies there.
        manifest: what it says, or a new one.
        section: what counts as young, as an outage, and how often a hole is asked for.

    Attributes:
        num_corrections: values that gave way to newer ones, through this writer.
        changed: open times of the bars long closed that the exchange told differently, through this writer: all of them,
            but for those of which the manifest, which keeps the newest, knew it already.
    """

    def __init__(
        self,
        place: ArchivePlace,
        journal: Journal,
        *,
        record: Record | None,
        manifest: Manifest,
        section: ExchangeSection,
    ) -> None:
        self._place = place
        self._journal = journal
        self._record = record
        self._section = section
        self._pending = list(journal.recovered)
        self._lock = threading.RLock()
        self._manifest = manifest
        self._on_record = None if record is None else manifest
        self.num_corrections = 0
        self.changed: set[int] = set()
        self._flags_before = frozenset(manifest.flags)
        self._sweep()
        self._drop_damaged()

    @property
    def manifest(self) -> Manifest:
        """What is settled."""
        return self._manifest

    def wanted(self, span: Span, *, now_ms: int, page_minutes: int) -> Spans:
        """What to ask the exchange for: never answered minutes, young ones, holes that are due, the page before the first bar.

        Args:
            span: nothing outside of it.
            now_ms: by the exchange's clock; minutes that are not closed are not wanted.
            page_minutes: holes that fit into one page are joined to one span.
        """
        with self._lock:
            manifest = self._manifest
            # Before the first bar there is no hole. So an exchange that for once had nothing of anything would never be asked for
            # it again: where no bar ever came, what was answered does not count.
            known = manifest.asked_spans if manifest.months else Spans()
            asked = known.union(_union(page.answered for page in self._pending))
            closed = Span(span.start_ms, min(span.end_ms, floor_minute(now_ms)))
            holes = due(manifest.holes, now_ms=now_ms, hole_nights=self._section.hole_nights, page_minutes=page_minutes)
            again = manifest.young_spans.union(holes).union(_before_first_bar(manifest, page_minutes))
            return Spans.of([closed]).minus(asked).union(again.within(closed))

    def add(self, page: Page) -> None:
        """Returns when the page is safe from a kill; from time to time it settles.

        Raises:
            OSError: the disk is full or broken.
            BusyError: somebody else wrote to the same bucket; the page is safe.
            TransientError: the bucket does not answer; the page is safe.
        """
        with self._lock:
            self._journal.append(page)
            self._pending.append(page)
            if sum(len(one.bars) for one in self._pending) >= SETTLE_BARS or len(self._pending) >= SETTLE_PAGES:
                self.settle()

    def note_skew(self, skew_ms: float) -> None:
        """Puts the exchange's clock minus this machine's into the record; written by the next settlement."""
        with self._lock:
            self._manifest = self._manifest.model_copy(update={"skew_ms": skew_ms})

    def settle(self) -> None:
        """Puts the pages of the journal into the months; the journal is empty then.

        Raises:
            BusyError: somebody else wrote to the same bucket: only a new writer can go on. The journal stays as it is.
            TransientError: the bucket does not answer; the journal stays as it is.
        """
        with self._lock:
            if not self._pending and self._manifest is self._on_record:
                return
            while (fresh := self._merged(tuple(self._pending))) is None:
                self._drop_damaged()
            merged, manifest = fresh
            self._replace_record(manifest)
            self.num_corrections += sum(len(one.corrections) for one in merged)
            self.changed.update(flag.stamp_ms for one in merged for flag in one.flags if flag not in self._flags_before)
            if self._pending:
                self._pending.clear()
                self._journal.empty()

    def _merged(self, pages: Sequence[Page]) -> tuple[list[Merged], Manifest] | None:
        """What the pages change, with the new months written; None when a month turned out to be damaged."""
        base = self._manifest
        months, results = dict(base.months), []
        for name in months_in(_union((*page.answered, *page.bars.spans) for page in pages)):
            stored = self._stored(name)
            if stored is None:
                return None
            merged = self._merge_month(name, stored, pages)
            results.append(merged)
            if not merged.bars.same_as(stored):
                months[name] = self._kept(name, merged.bars)
        return results, self._described(
            base.model_copy(update={"months": dict(sorted(months.items()))}), pages, results
        )

    def _merge_month(self, name: str, stored: Bars, pages: Sequence[Page]) -> Merged:
        asked = self._manifest.asked_spans
        return merge(
            stored,
            pages,
            within=month_span(name),
            asked=asked,
            final=asked.minus(self._manifest.young_spans),
            revise_minutes=self._section.revise_minutes,
        )

    def _described(self, manifest: Manifest, pages: Sequence[Page], merged: Sequence[Merged]) -> Manifest:
        """The manifest with all but its months as the pages leave it."""
        revise_minutes, outage_minutes = self._section.revise_minutes, self._section.outage_minutes
        asked = _believed(self._manifest, manifest.present).union(_union(page.answered for page in pages))
        final = manifest.asked_spans.minus(manifest.young_spans).union(
            _union(page.final(revise_minutes) for page in pages)
        )
        holes = find_holes(asked, manifest.present, known=manifest.holes, pages=pages, outage_minutes=outage_minutes)
        corrections = [one for result in merged for one in result.corrections]
        flags = [one for result in merged for one in result.flags]
        return manifest.model_copy(
            update={
                "asked": minutes_of(asked),
                "young": minutes_of(asked.minus(final)),
                "holes": holes,
                "corrections": newest(manifest.corrections, corrections),
                "flags": newest_flags(manifest.flags, flags),
                "updated_ms": max(manifest.updated_ms, *(page.received_ms for page in pages), 0),
            }
        )

    def _stored(self, name: str) -> Bars | None:
        month = self._manifest.months.get(name)
        if month is None:
            return Bars.none()
        content = self._place.month(self._manifest.symbol, month.file, month.sha256)
        return None if content is None else decoded(content, month.rows, where=f"{self._place.name}/{month.file}")

    def _kept(self, name: str, bars: Bars) -> Month:
        content = encoded(bars)
        sha256 = sha256_bytes(content)
        month = Month(
            file=f"{name}.{sha256[:16]}.parquet", sha256=sha256, rows=len(bars), present=minutes_of(bars.spans)
        )
        self._place.keep_month(self._manifest.symbol, month.file, content)
        return month

    def _replace_record(self, manifest: Manifest) -> None:
        """Makes it the manifest; files that neither it nor the one before it names go."""
        before = self._on_record
        if manifest == before:
            return
        was_named = before.files() if before else set()
        manifest = manifest.model_copy(update={"earlier_files": tuple(sorted(was_named - manifest.files()))})
        self._record = self._place.replace_record(manifest.symbol, manifest.to_bytes(), over=self._record)
        self._on_record = self._manifest = manifest
        gone = set(before.earlier_files if before else ()) - was_named - manifest.files()
        self._place.remove(manifest.symbol, sorted(gone))

    def _sweep(self) -> None:
        """Removes files that a killed writer left before any manifest named them."""
        manifest = self._manifest
        named = manifest.files() | set(manifest.earlier_files)
        self._place.remove(manifest.symbol, self._place.strays(manifest.symbol, named=named))

    def _drop_damaged(self) -> None:
        """Forgets what was answered about months whose file is missing or damaged: they are asked for again."""
        for name, month in self._manifest.months.items():
            if self._place.month(self._manifest.symbol, month.file, month.sha256) is None:
                _log.warning(
                    "%s/%s/%s: the file is missing or damaged; its %d bars are asked for again.",
                    self._place.name,
                    self._manifest.symbol,
                    month.file,
                    month.rows,
                )
                self._manifest = self._manifest.without_month(name, month_span(name))


def _before_first_bar(manifest: Manifest, page_minutes: int) -> Spans:
    """The answered minutes of the page before the first bar.

    They are no hole, as the symbol was not listed then: unless the exchange had for once nothing of what was old. One request
    a fetch shows that.
    """
    if not manifest.months:
        return Spans()
    first_ms = manifest.present.spans[0].start_ms
    return manifest.asked_spans.within(Span(first_ms - page_minutes * BAR_MS, first_ms))


def _believed(before: Manifest, present: Spans) -> Spans:
    """The minutes that count as answered: none before a first bar that lies where the exchange had said there was none."""
    asked = before.asked_spans
    if not before.months:
        return asked
    listed = Span(present.spans[0].start_ms, before.present.spans[0].start_ms)
    return asked.minus(Spans.of([Span(0, listed.start_ms)])) if asked.within(listed) else asked


def _union(spans: Iterable[Iterable[Span]]) -> Spans:
    return Spans.of(span for some in spans for span in some)
