"""One symbol's part of a fetch: which pages are still to be asked, what failed and until when it is put off, what came.

What does not belong here: who asks when (fetching.py), and what a page is worth (archive).
"""

import contextlib
import random
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from models_lib.candles.archive.archive import CandleArchive
from models_lib.candles.archive.page import Page
from models_lib.candles.archive.writer import Writer
from models_lib.candles.bars import Span, floor_minute, moment
from models_lib.candles.exchange import Clock, Exchange
from models_lib.candles.pages import pages_of
from models_lib.candles.schema import BAR_MS
from models_lib.config import ExchangeSection
from models_lib.errors import BusyError, CrpbotError, DataError, OutOfPatienceError, TransientError

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
MOST_BAD_ANSWERS: Final = 4
"""A page with rows that are no bars is asked for so often; an exchange that says it again means it."""


@dataclass(frozen=True)
class Fetched:
    """What a fetch came to for one symbol; the figures of the archive are those of the asked span.

    Attributes:
        symbol: whose.
        market: as ccxt names it.
        span: from the first minute that was wanted to the newest closed one.
        rows: bars in the archive.
        new_rows: of them, those that came now.
        corrections: values that the exchange corrected, seen now.
        changed: open times of bars long closed of which the exchange now says something else than the archive, which keeps
            what it has; None: no bar was fetched before.
        hole_minutes: minutes without a bar by cause.
        requests: pages that were asked for, failed ones with them.
        seconds: from its first request to the end of its last page.
        skew_ms: the exchange's clock minus this machine's.
    """

    symbol: str
    market: str
    span: Span
    rows: int
    new_rows: int
    corrections: int
    changed: tuple[int, ...] | None
    hole_minutes: dict[str, int]
    requests: int
    seconds: float
    skew_ms: float

    def remarks(self) -> tuple[str, ...]:
        """What is worth knowing of it, in sentences that begin with the symbol."""
        said = []
        if self.hole_minutes:
            causes = ", ".join(f"{minutes:,} {cause}" for cause, minutes in sorted(self.hole_minutes.items()))
            said.append(f"{self.symbol}: minutes without a bar, by cause as far as known: {causes}")
        if self.changed:
            said.append(
                f"{self.symbol}: {len(self.changed):,} bars long closed are told differently now, the first at "
                f"{moment(self.changed[0])}; the archive keeps what it has"
            )
        return tuple(said)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        changed = None if self.changed is None else list(self.changed)
        return {**vars(self), "span": list(self.span), "changed": changed, "seconds": round(self.seconds, 3)}


class ExchangeTime:
    """The exchange's clock, asked for once; safe to use from several threads."""

    def __init__(self, exchange: Exchange, machine_ms: Callable[[], int]) -> None:
        self.machine_ms: Final = machine_ms
        self._exchange = exchange
        self._clock: Clock | None = None
        self._asking = threading.Lock()

    def skew_ms(self) -> float:
        """The exchange's clock minus this machine's.

        Raises:
            TransientError, ConfigError: as the exchange does.
        """
        with self._asking:
            self._clock = self._clock or self._exchange.clock()
            return self._clock.skew_ms

    def now_ms(self) -> int:
        """What the time is at the exchange."""
        return int(self.machine_ms() + self.skew_ms())


@dataclass(frozen=True)
class Asking:
    """What all symbols of a fetch share.

    Attributes:
        exchange: is asked.
        archive: keeps the answers.
        time: of the exchange.
        section: says how long a symbol goes on without a usable answer, and what the archive goes by.
    """

    exchange: Exchange
    archive: CandleArchive
    time: ExchangeTime
    section: ExchangeSection


class SymbolFetch:
    """The pages of one symbol. `work` may run in several threads; whatever else is called, is called by one at a time.

    Attributes:
        error: why it was given up; None while there is hope.
        not_before: moment of the monotonic clock before which nothing is asked.
        in_flight: pieces of work that were taken and are not back.
        done_minutes, all_minutes: of the pages; `all_minutes` is the whole span until the pages are known.
        requests: pages that were asked for, failed ones with them.
        trouble: why the newest answer was of no use; None where it was.
    """

    def __init__(self, symbol: str, span: Span, asking: Asking) -> None:
        self.symbol = symbol
        self.error: CrpbotError | None = None
        self.trouble: str | None = None
        self.not_before = 0.0
        self.in_flight = self.done_minutes = self.requests = 0
        self.all_minutes = Span(span.start_ms, min(span.end_ms, asking.time.machine_ms())).minutes
        self._span, self._asking = span, asking
        # None stands for the beginning: the market, the lock and the plan, before any page.
        self._left: deque[Span | None] = deque([None])
        self._failing_since: float | None = None
        self._failures: Counter[Span | None] = Counter()
        self._bad_answers: Counter[Span] = Counter()
        self._troubled: set[Span | None] = set()
        self._open = contextlib.ExitStack()
        self._writer: Writer | None = None
        self._rows_before = 0
        self._began: float | None = None

    @property
    def has_more(self) -> bool:
        """Whether something is left to be taken."""
        return bool(self._left)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left, and nothing that was taken is still out."""
        return not self._left and not self.in_flight

    def take(self, now: float) -> Span | None:
        """The next piece of work; None is the beginning."""
        piece = self._left.popleft()
        self.in_flight += 1
        self._began = now if self._began is None else self._began
        self.requests += piece is not None
        return piece

    def work(self, piece: Span | None) -> list[Span]:
        """Does the piece and returns the pages that it makes necessary; those of the beginning, none after it.

        Raises:
            CrpbotError: as the exchange and the archive do.
        """
        if piece is None:
            return self._begin()
        answer = self._asking.exchange.page(self.symbol, piece)
        try:
            page = Page.of(self.symbol, answer, troubled=piece in self._troubled)
        except DataError:
            self._bad_answers[piece] += 1
            raise
        self._opened.add(page)
        return []

    def came(self, piece: Span | None, pages: list[Span]) -> None:
        """The piece is done."""
        self.in_flight -= 1
        self._failing_since = self.trouble = None
        if piece is None:
            self._left.extend(pages)
            self.all_minutes = sum(page.minutes for page in pages)
        else:
            self.done_minutes += piece.minutes

    def failed(self, piece: Span | None, error: CrpbotError, now: float) -> None:
        """The piece is put off after a fault that passes, and the symbol given up after any other, or when patience ends."""
        self.in_flight -= 1
        if self.error is not None:
            return
        match error:
            case TransientError() if not isinstance(error, BusyError):
                self._put_off(piece, error, now)
            case DataError() if piece is not None and 0 < self._bad_answers[piece] < MOST_BAD_ANSWERS:
                self._put_off(piece, error, now)
            case _:
                self._give_up(error)

    def close(self, now: float) -> Fetched | CrpbotError:
        """What the symbol came to, or why it was given up; everything that came is in the archive then."""
        try:
            self._open.close()
        except CrpbotError as error:
            self._give_up(self.error or error)
        return self.error or self._told(now)

    def let_go(self) -> None:
        """Ends it as it is; what cannot be settled now stays in the journal."""
        with contextlib.suppress(CrpbotError, OSError):
            self._open.close()

    @property
    def _opened(self) -> Writer:
        assert self._writer is not None, "the beginning comes before any page"
        return self._writer

    def _begin(self) -> list[Span]:
        exchange, archive, section = self._asking.exchange, self._asking.archive, self._asking.section
        market = exchange.market(self.symbol)
        now_ms = self._asking.time.now_ms()
        self._span = _to_be_had(self._span, exchange, now_ms)
        writer = self._open.enter_context(archive.writer(self.symbol, market=market, exchange=section))
        writer.note_skew(self._asking.time.skew_ms())
        self._writer, self._rows_before = writer, writer.manifest.present.within(self._span).minutes
        return pages_of(writer.wanted(self._span, now_ms=now_ms, page_minutes=exchange.page_bars), exchange.page_bars)

    def _put_off(self, piece: Span | None, error: CrpbotError, now: float) -> None:
        self._failing_since = now if self._failing_since is None else self._failing_since
        self._failures[piece] += 1
        self.trouble = str(error)
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures[piece] - 1, 10))
        if wait_seconds := _asked_to_wait(error):
            longest = min(longest, wait_seconds)
        else:  # an exchange that says how long to wait is there
            self._troubled.add(piece)
        # Full jitter: many that failed together do not come back together.
        until = now + wait_seconds + random.uniform(0.0, longest)  # noqa: S311 - no secret
        if until - self._failing_since > self._asking.section.patience_minutes * 60.0:
            self._give_up(_out_of_patience(self.symbol, self._asking, error))
            return
        self.not_before = max(self.not_before, until)
        self._left.appendleft(piece)

    def _give_up(self, error: CrpbotError) -> None:
        self.error = error
        self._left.clear()

    def _told(self, now: float) -> Fetched:
        assert self._began is not None, "told after the last page"
        manifest = self._opened.manifest
        rows = manifest.present.within(self._span).minutes
        holes: Counter[str] = Counter()
        for hole in manifest.missing(self._span):
            holes[hole.cause] += hole.minutes
        return Fetched(
            symbol=self.symbol,
            market=manifest.market,
            span=self._span,
            rows=rows,
            new_rows=rows - self._rows_before,
            corrections=self._opened.num_corrections,
            changed=tuple(sorted(self._opened.changed)) if self._rows_before else None,
            hole_minutes=dict(holes),
            requests=self.requests,
            seconds=now - self._began,
            skew_ms=self._asking.time.skew_ms(),
        )


def _to_be_had(span: Span, exchange: Exchange, now_ms: int) -> Span:
    """What of the span is closed and what the exchange still tells."""
    end_ms = min(span.end_ms, floor_minute(now_ms))
    oldest_ms = 0 if exchange.history_minutes is None else floor_minute(now_ms) - exchange.history_minutes * BAR_MS
    return Span(min(max(span.start_ms, oldest_ms), end_ms), end_ms)


def _asked_to_wait(error: CrpbotError) -> float:
    asked_for = error.retry_after_seconds if isinstance(error, TransientError) else None
    return asked_for or 0.0


def _out_of_patience(symbol: str, asking: Asking, error: CrpbotError) -> CrpbotError:
    if isinstance(error, DataError):
        return error
    return OutOfPatienceError(
        f"{symbol}: {asking.exchange.name} gave no usable answer within {asking.section.patience_minutes:g} minutes "
        f"(exchange.patience_minutes); the last: {error} What came is kept, and the next fetch goes on from there.",
        retry_after_seconds=_asked_to_wait(error) or None,
    )
