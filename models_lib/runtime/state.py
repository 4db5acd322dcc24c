"""What the runtime remembers: every bar, every signal with its running number, and what became of it, in SQLite.

    bars      one row a symbol and bar: what the bundle said, or why nothing was said; its label once that has matured
    signals   one row a signal, by its running number; its outcome once that is known
    told      per signal and channel: waiting, sent, missed or given up
    bundles   what scoring needs to know of a bundle after it was replaced: its label, its costs, its test figures
    alarms    the figures that are outside the test's interval now

A bar and the signal that it gave are one transaction, so a kill leaves both or neither: no signal comes twice and none
is lost. Numbers are given inside that transaction and have no gap; a bar gives at most one signal, whatever bundle
judged it.

One process writes (it holds state/runtime.lock). In WAL mode a commit without a sync survives the kill of the process;
only a loss of power takes the newest bars, which are then bars like any that the runtime has slept through. What is
told to somebody must not be forgotten: the commit of a signal is synced to the disk before `record` returns it.

What does not belong here: judging (decide), telling (speaking.py) and scoring (scoring.py).
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models_lib.candles.schema import BAR_MS
from models_lib.errors import ConfigError, DataError, TransientError
from models_lib.runtime.moments import from_ms, to_ms
from models_lib.runtime.outcomes import Ending, Outcome
from models_lib.runtime.tables import damaged, prepare
from models_lib.signals.signal import Signal

KEPT_DAYS: Final = 14.0
"""Bars older than this are forgotten, counted from their symbol's newest; 84 blocks of 240 bars. Signals stay."""
PRUNE_EVERY_BARS: Final = 1_440

ToldStatus = Literal["waiting", "sent", "missed", "given_up"]
"""missed: the signal expired before the channel took it; given_up: the channel refuses it for good."""


@dataclass(frozen=True)
class BarRecord:
    """What came of one closed bar.

    Attributes:
        symbol: whose.
        bar_at: open time of the bar, aware.
        bundle: hash of the bundle that served it; None without one.
        probabilities: DOWN, NEUTRAL, UP; None when none were computed.
        refusal: the kind of reason for which nothing was said; None exactly when there is a signal.
        signal: what is to be said; whatever number it carries is replaced.
    """

    symbol: str
    bar_at: datetime
    bundle: str | None
    probabilities: tuple[float, float, float] | None
    refusal: str | None
    signal: Signal | None = None

    def __post_init__(self) -> None:
        if (self.signal is None) == (self.refusal is None):
            raise ValueError(f"{self.symbol}: a bar must have either a signal or a refusal, was {self.refusal!r}")
        if self.signal is not None and (self.signal.symbol, self.signal.bar_at) != (self.symbol, self.bar_at):
            raise ValueError(f"{self.symbol}: the signal must be of the bar at {self.bar_at}, was {self.signal.bar_at}")


@dataclass(frozen=True)
class UnjudgedBar:
    """A bar with probabilities whose label has not been looked at."""

    bar_ms: int
    bundle: str
    probabilities: tuple[float, float, float]


@dataclass(frozen=True)
class JudgedBar:
    """What a bar's label came to; `label` and `forward_return` are None where a hole makes it unknowable."""

    bar_ms: int
    label: int | None
    forward_return: float | None


@dataclass(frozen=True, eq=False)
class JudgedBars:
    """Bars with probabilities and a known label, in order of time.

    Attributes:
        bar_ms: int64 [n], open times.
        bundle: str [n], hashes.
        probabilities: float64 [n, 3].
        classes: int64 [n].
        forward_return: float64 [n].
    """

    bar_ms: NDArray[np.int64]
    bundle: NDArray[np.str_]
    probabilities: NDArray[np.float64]
    classes: NDArray[np.int64]
    forward_return: NDArray[np.float64]


class WaitingSignal(NamedTuple):
    """A signal that a channel has not been told, and how often that was tried."""

    signal: Signal
    attempts: int


class EndingTotals(NamedTuple):
    """The signals that ended one way, summed."""

    ending: Ending
    signals: int
    filled: int
    sum_r: float
    sum_r_after_costs: float
    labelled: int
    hits: int


class RuntimeState:
    """The open state of one runtime; use it from the thread that opened it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._bars_since_prune = 0

    @classmethod
    def open(cls, path: Path) -> Self:
        """The state in that file, made when there is none; call only under the runtime's lock.

        Raises:
            DataError: the file is damaged. Nothing in it was changed.
            ConfigError: it cannot be opened, or a newer runtime wrote it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        except sqlite3.OperationalError as error:
            raise ConfigError(f"{path}: the runtime's state cannot be opened ({error}). Make it writable.") from error
        try:
            prepare(connection, path)
        except BaseException:
            connection.close()
            raise
        return cls(path, connection)

    def close(self) -> None:
        """Ends the use; what was recorded is in the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- bars

    def last_bar(self, symbol: str) -> datetime | None:
        """Open time of the newest bar that was recorded, whatever came of it."""
        newest = self._rows("SELECT max(bar_ms) FROM bars WHERE symbol = ?", (symbol,))[0][0]
        return None if newest is None else from_ms(newest)

    def record(self, bar: BarRecord) -> Signal | None:
        """Remembers the bar, and gives its signal the next number; None when the bar gives none.

        A bar that is already known changes nothing and gives no signal; what it gave then is in `signals_from`.

        Raises:
            TransientError: the file cannot be written now (a full disk); the bar is not recorded.
        """
        issued = None
        with self._transaction(durable=bar.signal is not None):
            if self._insert_bar(bar) and bar.signal is not None and not self._has_signal(bar):
                issued = bar.signal.model_copy(update={"number": self.last_number() + 1})
                self._insert_signal(issued)
        self._bars_since_prune += 1
        if self._bars_since_prune >= PRUNE_EVERY_BARS:
            self.prune()
        return issued

    def _insert_bar(self, bar: BarRecord) -> bool:
        return (
            self._connection.execute(
                "INSERT OR IGNORE INTO bars (symbol, bar_ms, bundle, down, neutral, up, refusal)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (bar.symbol, to_ms(bar.bar_at), bar.bundle, *(bar.probabilities or (None,) * 3), bar.refusal),
            ).rowcount
            == 1
        )

    def _has_signal(self, bar: BarRecord) -> bool:
        key = (bar.symbol, to_ms(bar.bar_at))
        return bool(self._rows("SELECT 1 FROM signals WHERE symbol = ? AND bar_ms = ?", key))

    def _insert_signal(self, signal: Signal) -> None:
        self._connection.execute(
            "INSERT INTO signals (number, symbol, bar_ms, bundle, expires_ms, json) VALUES (?, ?, ?, ?, ?, ?)",
            (
                signal.number,
                signal.symbol,
                to_ms(signal.bar_at),
                signal.bundle,
                to_ms(signal.expires_at),
                signal.to_json(),
            ),
        )

    def prune(self, *, kept_days: float = KEPT_DAYS) -> int:
        """Forgets bars older than that before their symbol's newest; returns how many. Signals stay for ever."""
        self._bars_since_prune = 0
        kept_ms = int(timedelta(days=kept_days) / timedelta(milliseconds=1))
        symbols = self._rows("SELECT symbol, max(bar_ms) FROM bars GROUP BY symbol")
        forgotten = 0
        with self._transaction():
            for symbol, newest in symbols:
                gone = self._connection.execute(
                    "DELETE FROM bars WHERE symbol = ? AND bar_ms <= ?", (symbol, newest - kept_ms)
                )
                forgotten += gone.rowcount
        return forgotten

    # --- labels of bars, for scoring

    def unjudged(self, symbol: str, *, until: datetime) -> list[UnjudgedBar]:
        """Bars with probabilities, opened at or before `until`, whose label has not been looked at; oldest first."""
        rows = self._rows(
            "SELECT bar_ms, bundle, down, neutral, up FROM bars"
            " WHERE symbol = ? AND judged = 0 AND up IS NOT NULL AND bar_ms <= ? ORDER BY bar_ms",
            (symbol, to_ms(until)),
        )
        return [UnjudgedBar(bar_ms, bundle, (down, neutral, up)) for bar_ms, bundle, down, neutral, up in rows]

    def judge(self, symbol: str, bars: Sequence[JudgedBar]) -> None:
        """Notes the labels of bars."""
        with self._transaction():
            self._connection.executemany(
                "UPDATE bars SET judged = 1, class = ?, forward_return = ? WHERE symbol = ? AND bar_ms = ?",
                [(bar.label, bar.forward_return, symbol, bar.bar_ms) for bar in bars],
            )

    def judged(self, symbol: str) -> JudgedBars:
        """All kept bars of the symbol with probabilities and a known label."""
        rows = self._rows(
            "SELECT bar_ms, bundle, down, neutral, up, class, forward_return FROM bars"
            " WHERE symbol = ? AND class IS NOT NULL ORDER BY bar_ms",
            (symbol,),
        )
        columns = list(zip(*rows, strict=True)) or [()] * 7
        return JudgedBars(
            bar_ms=np.array(columns[0], dtype=np.int64),
            bundle=np.array(columns[1], dtype=np.str_),
            probabilities=np.array(columns[2:5], dtype=np.float64).T.reshape(-1, 3),
            classes=np.array(columns[5], dtype=np.int64),
            forward_return=np.array(columns[6], dtype=np.float64),
        )

    def label_of(self, symbol: str, bar_at: datetime) -> JudgedBar | None:
        """What the label of one bar came to; None when it has not been looked at."""
        rows = self._rows(
            "SELECT class, forward_return FROM bars WHERE symbol = ? AND bar_ms = ? AND judged = 1",
            (symbol, to_ms(bar_at)),
        )
        return JudgedBar(to_ms(bar_at), *rows[0]) if rows else None

    # --- signals

    def last_number(self) -> int:
        """Number of the newest signal; 0 before the first."""
        return int(self._rows("SELECT max(number) FROM signals")[0][0] or 0)

    def signals_from(self, number: int) -> list[Signal]:
        """Signals with at least that number, in order."""
        rows = self._rows("SELECT json FROM signals WHERE number >= ? ORDER BY number", (number,))
        return [Signal.model_validate_json(row[0]) for row in rows]

    def open_signal(self, symbol: str, direction: str, *, bar_at: datetime, life: timedelta) -> Signal | None:
        """The newest signal of an earlier bar in that direction that has not expired when this bar closes; None without.

        Args:
            symbol: whose.
            direction: LONG or SHORT.
            bar_at: open time of the bar.
            life: of a signal; older ones are not looked at.
        """
        bar_ms = to_ms(bar_at)
        rows = self._rows(
            "SELECT json FROM signals WHERE symbol = ? AND bar_ms BETWEEN ? AND ? AND expires_ms > ?"
            " AND json_extract(json, '$.direction') = ? ORDER BY bar_ms DESC LIMIT 1",
            (symbol, bar_ms - life // timedelta(milliseconds=1), bar_ms - 1, bar_ms + BAR_MS, direction),
        )
        return Signal.model_validate_json(rows[0][0]) if rows else None

    def adopt(self, signals: Iterable[Signal]) -> None:
        """Takes over signals that were told before this file was begun; their numbers stay theirs. Twice is once.

        Raises:
            DataError: two of them differ and have one number, or one bar.
        """
        with self._transaction(durable=True):
            for signal in signals:
                key = (signal.number, signal.symbol, to_ms(signal.bar_at))
                same = self._rows("SELECT json FROM signals WHERE number = ? OR (symbol = ? AND bar_ms = ?)", key)
                if not same:
                    self._insert_signal(signal)
                elif same != [(signal.to_json(),)]:
                    raise DataError(
                        f"signals.jsonl says signal {signal.number}, {signal.symbol} of {signal.bar_at:%Y-%m-%dT%H:%MZ}, "
                        f"and another one of the same number or bar. Remove the line that is wrong, and start again."
                    )

    def unscored(self, symbol: str, *, until: datetime) -> list[Signal]:
        """Signals of the symbol that expired by then and have no outcome, in order."""
        rows = self._rows(
            "SELECT json FROM signals WHERE symbol = ? AND outcome IS NULL AND expires_ms <= ? ORDER BY number",
            (symbol, to_ms(until)),
        )
        return [Signal.model_validate_json(row[0]) for row in rows]

    def score(self, outcome: Outcome) -> None:
        """Notes what became of a signal; the first word on it stays."""
        worst = outcome.worst
        with self._transaction():
            self._connection.execute(
                "UPDATE signals SET outcome = ?, ending = ?, r = ?, r_after_costs = ?, hit = ?"
                " WHERE number = ? AND outcome IS NULL",
                (outcome.model_dump_json(), worst.ending, worst.r, worst.r_after_costs, outcome.hit, outcome.number),
            )

    def outcome(self, number: int) -> Outcome | None:
        """What became of that signal; None while that is not known."""
        rows = self._rows("SELECT outcome FROM signals WHERE number = ? AND outcome IS NOT NULL", (number,))
        return Outcome.model_validate_json(rows[0][0]) if rows else None

    def totals(self, symbol: str, bundle: str, *, after: datetime) -> list[EndingTotals]:
        """What became of the scored signals of the symbol and bundle, of bars opened after that, summed by ending."""
        rows = self._rows(
            "SELECT ending, count(*), count(r), total(r), total(r_after_costs), count(hit), coalesce(sum(hit), 0)"
            " FROM signals WHERE symbol = ? AND bundle = ? AND bar_ms > ? AND outcome IS NOT NULL GROUP BY ending",
            (symbol, bundle, to_ms(after)),
        )
        return [EndingTotals(*row) for row in rows]

    # --- who was told

    def expect(self, number: int, channels: Sequence[str]) -> None:
        """Notes that these channels are to be told; what is noted already stays as it is."""
        with self._transaction(durable=True):
            self._connection.executemany(
                "INSERT OR IGNORE INTO told (number, channel, status, attempts) VALUES (?, ?, 'waiting', 0)",
                [(number, channel) for channel in channels],
            )

    def waiting(self, channel: str) -> list[WaitingSignal]:
        """What the channel has still to be told, in order of number."""
        rows = self._rows(
            "SELECT json, attempts FROM told JOIN signals USING (number)"
            " WHERE channel = ? AND status = 'waiting' ORDER BY number",
            (channel,),
        )
        return [WaitingSignal(Signal.model_validate_json(text), attempts) for text, attempts in rows]

    def tell(self, number: int, channel: str, status: ToldStatus, *, attempts: int, error: str | None = None) -> None:
        """Notes how telling the channel stands."""
        with self._transaction(durable=True):
            self._connection.execute(
                "UPDATE told SET status = ?, attempts = ?, error = ? WHERE number = ? AND channel = ?",
                (status, attempts, error, number, channel),
            )

    def told(self, channel: str) -> dict[ToldStatus, int]:
        """How many signals stand how with the channel."""
        rows = self._rows("SELECT status, count(*) FROM told WHERE channel = ? GROUP BY status", (channel,))
        return dict(rows)

    # --- bundles and alarms

    def know_bundle(self, bundle: str, known_json: str) -> None:
        """Keeps what scoring needs of a bundle; the newest word counts, for a bundle can be judged again."""
        with self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO bundles (hash, json) VALUES (?, ?)", (bundle, known_json))

    def known_bundles(self) -> list[str]:
        """The JSON of every bundle that was made known."""
        return [row[0] for row in self._rows("SELECT json FROM bundles ORDER BY hash")]

    def alarms(self, symbol: str) -> dict[str, datetime]:
        """The figures of the symbol that are in alarm, and since when."""
        rows = self._rows("SELECT figure, since_ms FROM alarms WHERE symbol = ?", (symbol,))
        return {figure: from_ms(since_ms) for figure, since_ms in rows}

    def set_alarms(self, symbol: str, alarms: Mapping[str, datetime]) -> None:
        """Replaces the alarms of the symbol."""
        with self._transaction():
            self._connection.execute("DELETE FROM alarms WHERE symbol = ?", (symbol,))
            self._connection.executemany(
                "INSERT INTO alarms (symbol, figure, since_ms) VALUES (?, ?, ?)",
                [(symbol, figure, to_ms(since)) for figure, since in alarms.items()],
            )

    def _rows(self, question: str, parameters: Sequence[object] = ()) -> list[Any]:
        """The rows that answer the question.

        Raises:
            DataError: the file is damaged.
        """
        try:
            return self._connection.execute(question, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            raise damaged(self._path, error) from error

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[None]:
        """All that the body writes, or nothing of it; synced to the disk when `durable`."""
        execute = self._connection.execute
        try:
            if durable:
                execute("PRAGMA synchronous = FULL")
            execute("BEGIN IMMEDIATE")
            try:
                yield
                execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    execute("ROLLBACK")
                raise
            finally:
                if durable:
                    execute("PRAGMA synchronous = NORMAL")
        except sqlite3.OperationalError as error:
            raise TransientError(
                f"{self._path}: the runtime's state cannot be written ({error}). Free space on its disk."
            ) from error
        except sqlite3.DatabaseError as error:
            raise damaged(self._path, error) from error
