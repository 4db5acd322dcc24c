"""An exchange of the configuration, asked through ccxt. See models_lib.candles.exchange for what is promised.

ccxt is imported when a question is first asked: it takes a second and 76 MB, which no other command should pay.

What does not belong here: any one exchange (catalogue.py), and what is asked for when (models_lib.candles.fetching).
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from models_lib.candles.bars import Span, floor_minute
from models_lib.candles.exchange import Answer, Clock, Market
from models_lib.candles.schema import BAR_MS
from models_lib.config.exchange_section import ExchangeSection
from models_lib.errors import ConfigError, DataError, TransientError
from tasks.adapters.exchange.catalogue import CATALOGUE, Listing
from tasks.adapters.exchange.faults import DAMAGED, left_alone_seconds, translated
from tasks.adapters.exchange.markets import MarketList
from tasks.adapters.exchange.pace import Pace
from tasks.adapters.exchange.waiting import answered_within

if TYPE_CHECKING:
    from tasks.adapters.exchange.speaker import Speaker

_Told = TypeVar("_Told")
_LIST_TIMES: Final = 6
"""A list of all markets has megabytes: it may take so many times as long as another answer."""
_CLOCK_SECONDS: Final = 3600.0
"""So long the exchange's clock is counted on by this machine's; then it is asked again."""
_CLOCK_AGAIN_SECONDS: Final = 60.0
"""And so long after a question for it that failed."""
_DRIFT: Final = 1e-4
"""By how much a machine's clock may gain or lose: quartz stays within 50 in a million, and twice that is allowed for."""


class _Compared(NamedTuple):
    """The exchange's clock beside this machine's monotonic one, which nobody sets, in milliseconds."""

    asked_ms: float
    """When it was asked, by the monotonic clock."""
    ahead_ms: float
    """What to add to the monotonic clock for a time that the exchange's had certainly reached."""


class _Timed(NamedTuple):
    """The exchange's time, and when it was asked for and told by this machine's clocks, in milliseconds."""

    time_ms: int
    sent_at_ms: float
    """Since 1970 UTC."""
    sent_ms: float
    """By the monotonic clock."""
    received_ms: float
    """By the monotonic clock."""


def open_exchange(
    section: ExchangeSection, *, pace_folder: Path, second: bool = False, longest_wait_seconds: float | None = None
) -> "CcxtExchange":
    """The exchange of the configuration; it is not asked yet.

    Args:
        section: which one, and how.
        pace_folder: where all processes of this machine keep the pace, and the lists of markets for a day.
        second: the one that candles are held against instead of the one they come from.
        longest_wait_seconds: how long the exchange is waited for when it asks to be left alone; a longer time is a
            TransientError at once. None: `section.patience_minutes`.
    """
    patience_seconds = section.patience_minutes * 60.0 if longest_wait_seconds is None else longest_wait_seconds
    return CcxtExchange(section, pace_folder=pace_folder, second=second, longest_wait_seconds=patience_seconds)


class CcxtExchange:
    """One exchange through ccxt's class, for any number of threads."""

    def __init__(
        self, section: ExchangeSection, *, pace_folder: Path, second: bool, longest_wait_seconds: float
    ) -> None:
        name = section.second if second else section.name
        assert name is not None
        self._listing: Listing = CATALOGUE[name]
        self._section = section
        self._second = second
        self._base_url = section.second_base_url if second else section.base_url
        self._pace = Pace(
            pace_folder / name,
            name=name,
            requests_per_second=section.requests_per_second or self._listing.requests_per_second,
            longest_wait_seconds=longest_wait_seconds,
        )
        self._markets = MarketList(
            pace_folder / f"{name}.markets.json", exchange=name, address=self._base_url, ask=self._ask_markets
        )
        self._idle: list[Speaker] = []
        self._comparing = Lock()
        self._compared: _Compared | None = None
        self._compare_again_ms = 0.0

    @property
    def name(self) -> str:
        """As in the configuration."""
        return self._listing.name

    @property
    def page_bars(self) -> int:
        """Most bars of one answer."""
        return self._listing.page_bars

    @property
    def history_minutes(self) -> int | None:
        """How far back it can be asked, up to the end of the last whole minute; None: as far as it has traded."""
        return None if self._listing.newest_bars is None else self._listing.newest_bars - 1

    def market(self, symbol: str) -> Market:
        """What the symbol is there."""
        market = self._markets.market(symbol, self._section.market(symbol, of_second=self._second))
        return Market(symbol=symbol, name=market["symbol"], volume_unit=market["base"])

    def page(self, symbol: str, span: Span) -> Answer:
        """The bars of a span of at most `page_bars` minutes, by one request; bars beside the span are possible.

        Where the exchange serves only its newest bars, the answer's span begins with the oldest of them.
        """
        assert 0 < span.minutes <= self.page_bars, span
        market = self._markets.market(symbol, self._section.market(symbol, of_second=self._second))
        self._keep_time()
        self._pace.wait()
        asked_ms = self._exchange_ms()
        served = self._served(symbol, span, asked_ms)
        rows = self._asked(f"{symbol}: {self.name}", lambda speaker: speaker.rows(market, served), of_symbol=True)
        served = self._told_of(served, rows)
        return Answer(span=served, rows=rows, asked_ms=asked_ms, received_ms=round(time.time() * 1000))

    def clock(self) -> Clock:
        """Its clock, by one request; what is asked from now on is dated by it."""
        self._pace.wait()
        told = self._asked(self.name, _timed, of_symbol=False)
        took_ms = told.received_ms - told.sent_ms
        # It read its clock at some moment between, and told the time rounded down: later than told, by less than a step.
        self._compared = _Compared(told.received_ms, told.time_ms - told.received_ms)
        self._compare_again_ms = told.received_ms + _CLOCK_SECONDS * 1000
        uncertain_ms = (took_ms + self._listing.clock_step_ms) / 2
        return Clock(skew_ms=told.time_ms - told.sent_at_ms - took_ms + uncertain_ms, uncertain_ms=uncertain_ms)

    def _keep_time(self) -> None:
        with self._comparing:
            if self._compared is not None and _monotonic_ms() < self._compare_again_ms:
                return
            try:
                self.clock()
            except (TransientError, ConfigError):
                if self._compared is None:
                    raise
                # The bars are what counts, and the drift is allowed for however long ago the clock was read.
                self._compare_again_ms = _monotonic_ms() + _CLOCK_AGAIN_SECONDS * 1000

    def _exchange_ms(self) -> int:
        """A time that the exchange's clock has certainly reached: a bar is taken for closed a little too late, if anything."""
        assert self._compared is not None
        asked_ms, ahead_ms = self._compared
        now_ms = _monotonic_ms()
        return int(now_ms + ahead_ms - (now_ms - asked_ms) * _DRIFT)

    def _served(self, symbol: str, span: Span, asked_ms: int) -> Span:
        history_minutes = self.history_minutes
        if history_minutes is None:
            return span
        oldest_ms = floor_minute(asked_ms) - history_minutes * BAR_MS
        if span.end_ms <= oldest_ms:
            raise DataError(
                f"{symbol}: {self.name} serves only its newest {history_minutes} minutes, not those before. Choose another "
                f"exchange.name for a longer history."
            )
        return Span(max(span.start_ms, oldest_ms), span.end_ms)

    def _told_of(self, span: Span, rows: list[list[object]]) -> Span:
        """The span without what had left the newest bars when the answer was made: the clock may have gone on since it was read.

        As many rows as there are newest bars say where these begin; that the bars before are missing there is no hole.
        """
        stamps = [row[0] for row in rows if isinstance(row[0], int)]
        if self._listing.newest_bars is None or len(stamps) < self._listing.newest_bars:
            return span
        return Span(min(max(span.start_ms, floor_minute(min(stamps))), span.end_ms), span.end_ms)

    def _ask_markets(self) -> list[dict[str, object]]:
        self._pace.wait()
        seconds = self._section.request_timeout_seconds * _LIST_TIMES
        return self._asked(self.name, lambda speaker: speaker.markets(), of_symbol=False, seconds=seconds)

    def _asked(
        self, subject: str, question: "Callable[[Speaker], _Told]", *, of_symbol: bool, seconds: float | None = None
    ) -> _Told:
        """The answer to one question, after its turn was waited for."""
        limit_seconds = self._section.request_timeout_seconds if seconds is None else seconds
        speaker = self._free_speaker()
        try:
            told = answered_within(limit_seconds, partial(question, speaker))
        except TimeoutError as error:  # the speaker still waits for the answer: another one is taken next time
            raise TransientError(f"{subject} does not answer within {limit_seconds:g} s. Try again later.") from error
        except _faults() as error:
            heard = speaker.heard
            self._idle.append(speaker)
            if isinstance(error, DAMAGED) and heard.status is None:
                raise  # there was no answer that could be damaged: this is a fault of ours
            alone_seconds = left_alone_seconds(error, heard, usual=self._listing.cool_down_seconds)
            if alone_seconds is not None:
                self._pace.hold(alone_seconds)
            raise translated(subject, error, heard, of_symbol=of_symbol) from error
        self._idle.append(speaker)
        return told

    def _free_speaker(self) -> "Speaker":
        try:
            return self._idle.pop()
        except IndexError:
            return self._new_speaker()

    def _new_speaker(self) -> "Speaker":
        try:
            from tasks.adapters.exchange.speaker import Speaker  # noqa: PLC0415 - ccxt is slow to import
        except ModuleNotFoundError as error:
            if error.name != "ccxt":
                raise
            raise ConfigError(
                "ccxt is not installed, without which no exchange can be asked. Install crpbot-runtime[exchange]."
            ) from error
        seconds = self._section.request_timeout_seconds
        return Speaker(self._listing, self._base_url, timeout_seconds=seconds, longest_seconds=seconds * _LIST_TIMES)


def _faults() -> tuple[type[Exception], ...]:
    from tasks.adapters.exchange.speaker import CcxtError  # noqa: PLC0415 - as above; by now it is there

    return (CcxtError, *DAMAGED)


def _timed(speaker: "Speaker") -> _Timed:
    """Timed where it is asked, so that neither ccxt's import nor the start of a thread counts."""
    sent_at_ms, sent_ms = time.time() * 1000, _monotonic_ms()
    time_ms = speaker.time_ms()
    return _Timed(time_ms, sent_at_ms, sent_ms, _monotonic_ms())


def _monotonic_ms() -> float:
    return time.monotonic() * 1000
