"""The manifest of a symbol's archive: which files hold its bars, which minutes the exchange answered, and what is missing.

It is replaced whole and carries its own hash, so a reader has either the old archive or the new one, and never a mixture.

What does not belong here: how holes are found (holes.py) and where the manifest lies (places.py).
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from models_lib.candles.bars import Span, Spans
from models_lib.candles.schema import BAR_MS
from models_lib.errors import DataError
from models_lib.files import sha256_bytes

_SEAL: Final = b'{"sha256":'
NEWEST_KEPT: Final = 200
"""So many corrections and so many flags are kept."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MonthName = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}$")]
Cause = Literal["no trades", "outage", "not fetched"]
"""Fewer minutes than `exchange.outage_minutes`; as many or more, or the exchange failed just then; never answered."""
BarValues = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
"""open, high, low, close, volume"""
Minutes = tuple[tuple[int, int], ...]
"""Spans as numbers."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Month(_Part):
    """The bars of one calendar month (UTC)."""

    file: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}\.[0-9a-f]{16}\.parquet$")]
    """Its name is its content's."""
    sha256: Sha256
    rows: Annotated[int, Field(gt=0)]
    present: Minutes
    """The minutes that have a bar."""

    @property
    def spans(self) -> Spans:
        """`present` as a set of minutes."""
        return spans_of(self.present)

    @property
    def first_ms(self) -> int:
        """Open time of its first bar."""
        return self.present[0][0]

    @property
    def last_ms(self) -> int:
        """Open time of its last bar."""
        return self.present[-1][1] - BAR_MS


class Hole(_Part):
    """Minutes without a bar between the first and the last one."""

    start_ms: int
    minutes: Annotated[int, Field(gt=0)]
    cause: Cause
    """As far as it is known."""
    times_asked: Annotated[int, Field(ge=0)] = 0
    """On so many days (UTC)."""
    last_asked_ms: int | None = None
    """By the exchange's clock."""

    @property
    def span(self) -> Span:
        """Its minutes."""
        return Span(self.start_ms, self.start_ms + self.minutes * BAR_MS)


class Correction(_Part):
    """A value that gave way to another one."""

    stamp_ms: int
    before: BarValues
    after: BarValues
    seen_ms: int
    """When the answer came that showed it."""


class Flag(_Part):
    """Something about a bar that a person should look at; the bar stays as it is."""

    kind: str
    """`changed`: the exchange said something else about a minute long closed."""
    stamp_ms: int
    words: str


class Manifest(_Part):
    """What is known of one symbol's bars."""

    schema_version: Literal[1] = 1
    symbol: str
    exchange: str
    market: str
    """As ccxt names it: BTC/USDT."""
    volume_unit: str
    months: dict[MonthName, Month] = {}
    asked: Minutes = ()
    """What the exchange answered."""
    young: Minutes = ()
    """Those answered minutes that had closed just before: they are asked for once more."""
    holes: tuple[Hole, ...] = ()
    """Answered minutes without a bar."""
    corrections: tuple[Correction, ...] = ()
    """The newest."""
    flags: tuple[Flag, ...] = ()
    """The newest."""
    skew_ms: FiniteFloat | None = None
    """The exchange's clock minus this machine's, as last measured."""
    updated_ms: int = 0
    """When the newest answer came."""
    earlier_files: tuple[str, ...] = ()
    """Files that only the manifest before this one names; a reader may still be at them."""

    @property
    def asked_spans(self) -> Spans:
        """`asked` as a set of minutes."""
        return spans_of(self.asked)

    @property
    def young_spans(self) -> Spans:
        """`young` as a set of minutes."""
        return spans_of(self.young)

    @property
    def present(self) -> Spans:
        """The minutes that have a bar."""
        return Spans.of(Span(*span) for _, month in sorted(self.months.items()) for span in month.present)

    @property
    def rows(self) -> int:
        """How many bars there are."""
        return sum(month.rows for month in self.months.values())

    @property
    def extent(self) -> Span | None:
        """From the first bar to the end of the last one; None without bars."""
        present = self.present.spans
        return Span(present[0].start_ms, present[-1].end_ms) if present else None

    def missing(self, span: Span) -> tuple[Hole, ...]:
        """The minutes of the span without a bar, between first and last bar of all, with their causes, in order."""
        extent = self.extent
        if extent is None:
            return ()
        answered = [(hole.span, hole) for hole in self.holes]
        cut = [_cut(hole, within) for one, hole in answered for within in Spans((one,)).within(span)]
        never = Spans((extent,)).minus(self.present).minus(self.asked_spans).within(span)
        return tuple(sorted((*cut, *map(_not_fetched, never)), key=lambda hole: hole.start_ms))

    def files(self) -> set[str]:
        """The files that it names."""
        return {month.file for month in self.months.values()}

    def without_month(self, name: str, minutes: Span) -> "Manifest":
        """As if nothing had been answered about that month."""
        kept = {other: month for other, month in self.months.items() if other != name}
        gone = Spans((minutes,))
        asked, young = self.asked_spans.minus(gone), self.young_spans.minus(gone)
        return self.model_copy(update={"months": kept, "asked": minutes_of(asked), "young": minutes_of(young)})

    def to_bytes(self) -> bytes:
        """JSON for the file, on one line, with its own hash; a coin that trades seldom has a hundred thousand holes."""
        plain = self.model_dump_json().encode()
        return b'%s"%s",%s\n' % (_SEAL, sha256_bytes(plain).encode(), plain[1:])

    @classmethod
    def parse(cls, content: bytes, *, where: str) -> Self:
        """The manifest in a file's content.

        Raises:
            DataError: it is damaged.
        """
        try:
            return cls.model_validate_json(_unsealed(content))
        except ValueError as error:
            reason = str(error).partition("\n")[0]
            raise DataError(
                f"{where}: the record of an archive of candles is damaged ({reason}). Move the folder that it lies in away; "
                f"the next fetch fetches the symbol anew."
            ) from error


def spans_of(minutes: Minutes) -> Spans:
    """The set of minutes."""
    return Spans(tuple(Span(*span) for span in minutes))


def minutes_of(spans: Spans) -> Minutes:
    """The set of minutes as plain numbers."""
    return tuple((span.start_ms, span.end_ms) for span in spans)


def newest(known: Sequence[Correction], more: Sequence[Correction]) -> tuple[Correction, ...]:
    """The newest corrections of both; one that is known is no news."""
    seen = {(one.stamp_ms, one.before, one.after): one for one in (*more, *known)}
    return tuple(sorted(seen.values(), key=lambda one: (one.seen_ms, one.stamp_ms)))[-NEWEST_KEPT:]


def newest_flags(known: Sequence[Flag], more: Sequence[Flag]) -> tuple[Flag, ...]:
    """The flags of the newest bars of both, each once."""
    seen = {(one.kind, one.stamp_ms, one.words): one for one in (*known, *more)}
    return tuple(sorted(seen.values(), key=lambda one: (one.stamp_ms, one.kind, one.words)))[-NEWEST_KEPT:]


def _unsealed(content: bytes) -> bytes:
    """What was sealed, as it was then: nothing is written anew for the comparison."""
    seal, rest = content[: len(_SEAL) + 67], content[len(_SEAL) + 67 :]
    plain = b"{" + rest.removesuffix(b"\n")
    if seal != b'%s"%s",' % (_SEAL, sha256_bytes(plain).encode()):
        raise ValueError("its content does not have the hash that stands in it")
    return plain


def _cut(hole: Hole, span: Span) -> Hole:
    return hole.model_copy(update={"start_ms": span.start_ms, "minutes": span.minutes})


def _not_fetched(span: Span) -> Hole:
    return Hole(start_ms=span.start_ms, minutes=span.minutes, cause="not fetched")
