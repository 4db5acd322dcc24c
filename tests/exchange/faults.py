"""What goes wrong at an exchange, as a script: which answers are spoiled, how, and how often.

What does not belong here: what an exchange refuses because it was asked wrongly (the dialects), minutes that it never serves
and bars that it serves otherwise at first (listed.py).
"""

import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from tests.exchange.listed import Row
from tests.exchange.wire import Kind

FaultKind = Literal[
    "busy",  # 429 or 418 with Retry-After; who comes back earlier gets the same again
    "error",  # `status`, with the page of whatever stands before the exchange
    "outage",  # 503 for everything asked of the exchange until `until_ms` of its clock, or until healed
    "refused",  # not from this country: 451 or 403, as the exchange says it
    "hang",  # no answer; the connection stays open
    "slow",  # the right answer after `seconds`
    "reset",  # the connection is reset
    "cut_json",  # half of the body under a Content-Length that agrees
    "cut_body",  # half of the body under the whole's Content-Length, then the end of the connection
    "html",  # 200 with a page for people
    "empty",  # 200 with nothing
    "shuffled",  # the right rows in no order
    "overlapping",  # besides the right rows some before and after what was asked
    "duplicated",  # some of the right rows twice
    "contradicting",  # a row whose high is below its low
]
SPOILING: frozenset[FaultKind] = frozenset(get_args(FaultKind)) - {"slow", "shuffled", "overlapping", "duplicated"}
"""After these the client knows no more than before, and has to ask again."""
QUICK: tuple[FaultKind, ...] = (
    "error", "reset", "cut_json", "cut_body", "html", "empty", "shuffled", "overlapping", "duplicated", "contradicting",
)  # fmt: skip
"""Those that cost no time by themselves."""
_USUAL_STATUS: dict[FaultKind, int] = {"busy": 429, "error": 503, "outage": 503}
BESIDE = 7
"""How many minutes an overlapping answer reaches beyond what was asked, on either side."""


@dataclass(frozen=True)
class Fault:
    """Strikes `times` requests, after letting `after` pass, of those that it is about.

    Attributes:
        times: None is all of them, until healed or `until_ms`.
        asking: which requests it is about; None is any. An outage is about any unless told otherwise.
        symbol: of the candles asked for; None is any.
        exchange: as ccxt calls it; None is any.
        status: of HTTP; None is the usual one of the kind.
        retry_after: seconds that a busy exchange asks to stay away; None says nothing.
        as_date: says it as a date of HTTP, in whole seconds.
        seconds: how slow.
        until_ms: by the exchange's clock; it strikes nobody from then on.
    """

    kind: FaultKind
    times: int | None = 1
    after: int = 0
    asking: Kind | None = "candles"
    symbol: str | None = None
    exchange: str | None = None
    status: int | None = None
    retry_after: float | None = None
    as_date: bool = False
    seconds: float = 0.2
    until_ms: int | None = None

    @property
    def http_status(self) -> int:
        """What is said in the first line of the answer."""
        return _USUAL_STATUS.get(self.kind, 200) if self.status is None else self.status

    def is_about(self, exchange: str, kind: Kind, symbol: str | None, now_ms: int) -> bool:
        """Whether such a request at such a time can be struck by it."""
        return (
            self.exchange in (None, exchange)
            and self.asking in (None, kind)
            and self.symbol in (None, symbol)
            and (self.until_ms is None or now_ms < self.until_ms)
        )


def outage(until_ms: int | None = None, *, exchange: str | None = None) -> Fault:
    """The exchange is away until then, by its own clock; without a time until healed."""
    return Fault("outage", None, asking=None, exchange=exchange, until_ms=until_ms)


@dataclass(frozen=True)
class Storm:
    """A share of the requests for candles is struck, drawn for each request by itself: threads cannot change the draw.

    Attributes:
        seed: of the draw.
        share: from 0 to 1.
        kinds: each as likely as the others.
        fault: what is the same for all of them.
    """

    seed: int
    share: float
    kinds: Sequence[FaultKind] = QUICK
    fault: Fault = Fault("error", retry_after=1)

    def strikes(self, target: str, num_asked: int) -> Fault | None:
        """What befalls a target that is asked for the `num_asked`-th time."""
        draw = random.Random(f"{self.seed} {num_asked} {target}")
        return replace(self.fault, kind=draw.choice(self.kinds)) if draw.random() < self.share else None


class Script:
    """What befalls which request. Safe to use from several threads."""

    def __init__(self) -> None:
        self._acts: list[tuple[Fault, list[int]]] = []
        self._storm: Storm | None = None
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        """These too; of several that could strike a request, the first does."""
        with self._lock:
            self._acts += [(fault, [fault.after, -1 if fault.times is None else fault.times]) for fault in faults]

    def storm(self, storm: Storm | None) -> None:
        """This besides; None is the end of it."""
        with self._lock:
            self._storm = storm

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._acts, self._storm = [], None

    def next(self, exchange: str, kind: Kind, symbol: str | None, now_ms: int, target: str) -> Fault | None:
        """What befalls this request."""
        with self._lock:
            self._asked[target] += 1
            for fault, left in self._acts:
                if left[1] == 0 or not fault.is_about(exchange, kind, symbol, now_ms):
                    continue
                if left[0] > 0:
                    left[0] -= 1
                    continue
                left[1] -= 1 if left[1] > 0 else 0
                return fault
            storm = self._storm if kind == "candles" else None
            return None if storm is None else storm.strikes(target, self._asked[target])


def damaged(fault: Fault | None, rows: list[Row], target: str) -> list[Row]:
    """The rows as they are written under this fault; the same for the same target."""
    draw, rows = random.Random(target), list(rows)
    match fault.kind if fault is not None and rows else None:
        case "shuffled":
            draw.shuffle(rows)
        case "duplicated":
            rows += draw.sample(rows, min(5, len(rows)))
        case "contradicting":
            place = draw.randrange(len(rows))
            stamp, opened, _, low, close, volume = rows[place]
            rows[place] = [stamp, opened, low * 0.99, low, close, volume]
        case _:
            return rows
    return rows
