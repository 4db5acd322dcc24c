"""What was asked of the local exchange, what it answered, and what of that should not have been asked.

What does not belong here: the answers themselves.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.exchange.faults import SPOILING, FaultKind
from tests.exchange.wire import Kind, Question


@dataclass
class Request:
    """One request that came.

    Attributes:
        exchange: as ccxt calls it; "" where the path is nobody's.
        at: when it came, seconds of this machine's monotonic clock.
        now_ms: when it came by the exchange's clock.
        question: what was asked, for candles that were understood.
        answer: "page", "ok", or why there was none, in a word or two.
        fault: what befell it.
        rows: how many bars were written.
        held: seconds since the exchange began to ask for patience, where it still did; None where it did not.
    """

    exchange: str
    kind: Kind
    path: str
    query: dict[str, str]
    at: float
    now_ms: int
    question: Question | None = None
    answer: str = ""
    fault: FaultKind | None = None
    status: int = 0
    rows: int = 0
    held: float | None = None

    @property
    def spoiled(self) -> bool:
        """The exchange answered nothing that can be used, so it has to be asked again."""
        return self.fault in SPOILING or self.held is not None


class Ledger:
    """Every request, oldest first. Safe to write from several threads."""

    def __init__(self) -> None:
        self._requests: list[Request] = []
        self._changed = threading.Condition()

    def add(self, request: Request) -> None:
        """This one came."""
        with self._changed:
            self._requests.append(request)

    def decided(self) -> None:
        """What is answered to one of them stands in it; whoever waits looks again."""
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], timeout_seconds: float = 30.0) -> bool:
        """Whether the condition has come true, as soon as it has; it is looked at after each request."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_seconds)

    def clear(self) -> None:
        """Begins again."""
        with self._changed:
            self._requests.clear()

    def __iter__(self) -> Iterator[Request]:
        return iter(list(self._requests))

    def __len__(self) -> int:
        return len(self._requests)

    def __getitem__(self, place: int) -> Request:
        return self._requests[place]

    def since(self, at: float) -> list[Request]:
        """Those that came after this moment of the monotonic clock, newest first."""
        recent: list[Request] = []
        for one in reversed(self._requests):
            if one.at <= at:
                break
            recent.append(one)
        return recent

    def of(self, kind: Kind = "candles", *, exchange: str | None = None, symbol: str | None = None) -> list[Request]:
        """Those of a kind; of one exchange and for one symbol where told."""
        return [
            one
            for one in self
            if one.kind == kind
            and exchange in (None, one.exchange)
            and (symbol is None or (one.question is not None and one.question.symbol == symbol))
        ]

    @property
    def spoiled(self) -> list[Request]:
        """Requests for candles that have to be sent again, whoever sends them."""
        return [one for one in self.of() if one.spoiled]

    @property
    def faults(self) -> Counter[FaultKind]:
        """How many requests each kind of fault befell."""
        return Counter(one.fault for one in self if one.fault is not None)

    def impatient(self, on_its_way_seconds: float = 0.25) -> list[Request]:
        """Requests that came although the exchange had asked for patience, and not just then.

        What other threads had sent already arrives within `on_its_way_seconds` of it, and is nobody's fault.
        """
        return [one for one in self if one.held is not None and one.held > on_its_way_seconds]

    def most_within(self, seconds: float, *, exchange: str | None = None) -> int:
        """The most requests that came in any stretch of so many seconds."""
        times = sorted(one.at for one in self if exchange in (None, one.exchange))
        first, most = 0, 0
        for place, time in enumerate(times):
            while time - times[first] >= seconds:
                first += 1
            most = max(most, place - first + 1)
        return most


def least_requests(minutes: int, page_bars: int) -> int:
    """Fewest requests for a span of so many minutes."""
    return -(-minutes // page_bars)
