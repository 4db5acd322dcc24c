"""One process, all symbols of a host: each closed bar goes through window, model, decision, signal and record.

    window -> prediction -> decision -> signal -> state (one transaction) -> scoring, speaking

Every bar ends in exactly one signal or one refusal. A bar that an earlier process decided on only fills the window, so a
restart says nothing twice; what was missed meanwhile is decided on, and in live mode it is stale.

A fault of one bar silences that bar: it is counted, named in the health and logged with its traceback, and the next bar
comes. A symbol without a usable release is silent, and the others go on.

What does not belong here: the rules (decide.py), the source, how a signal is made and told.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Protocol

from models_lib.errors import DataError
from models_lib.holds import held
from models_lib.runtime.bars import Bar, BarWindow
from models_lib.runtime.configuration import RuntimeConfig
from models_lib.runtime.decide import Circumstances, Intent, Rules, decide
from models_lib.runtime.figures import Mode
from models_lib.runtime.health import Health, runtime_version, write_health
from models_lib.runtime.moments import to_ms
from models_lib.runtime.refusal import Refusal, RefusalKind
from models_lib.runtime.releases import current_release
from models_lib.runtime.scoring import Scorer
from models_lib.runtime.served_symbol import ServedSymbol
from models_lib.runtime.serving import Prediction, ServedModel
from models_lib.runtime.skew import MeasuredSkew
from models_lib.runtime.sources import BarSource, ClockSkew, Given, Trouble
from models_lib.runtime.speaking import Speaker
from models_lib.runtime.state import BarRecord, RuntimeState
from models_lib.signals import Signal

_LOG = logging.getLogger(__name__)

_FAULT = Refusal(RefusalKind.ERROR, "this program failed at the bar; the health names the error and the log its place")

_SAID_BEFORE = Refusal(RefusalKind.SAID_BEFORE, "the bar was decided on before")


class Proposing(Protocol):
    """Makes a signal of an intent."""

    def __call__(
        self, intent: Intent, prediction: Prediction, bar: Bar, window: BarWindow, model: ServedModel
    ) -> Signal | Refusal:
        """The signal, with any number; or why there can be none."""


class Engine:
    """All symbols of a host folder; the caller holds the folder's lock.

    Args:
        folder: the host folder.
        config: of the host.
        symbols: which to serve.
        source: of their bars.
        state: what was decided before; this engine records into it.
        speaker: says what was issued.
        mode: `live` judges by the clock how old a bar is.
        propose: makes a signal of an intent.
        clock: gives the time, aware, UTC.
        again: predict also what an earlier process decided on, to see a release at work; nothing is said twice.
        mend: called with what is loaded when something else is current: undoes a deployment that was killed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        config: RuntimeConfig,
        symbols: Sequence[str],
        source: BarSource,
        state: RuntimeState,
        speaker: Speaker,
        mode: Mode,
        propose: Proposing,
        clock: Callable[[], datetime],
        again: bool = False,
        mend: Callable[[Mapping[str, str | None]], None] = lambda _loaded: None,
    ) -> None:
        self._mend = mend
        self._folder = folder
        self._section = config.runtime
        self._signals = config.signals
        self._rules = Rules(
            min_confidence=config.signals.min_confidence,
            stale_after=timedelta(seconds=config.runtime.stale_after_seconds),
        )
        self._source = source
        self._state = state
        self._scorer = Scorer(state, mode=mode)
        self._speaker = speaker
        self._mode: Mode = mode
        self._propose = propose
        self._clock = clock
        self._again = again
        self._started_at = clock()
        self._ended_at: datetime | None = None
        self._ready = False
        self._last_error: str | None = None
        self._version = runtime_version()
        self._written_seconds = -float("inf")
        self._told: tuple[bool, str | None] | None = None
        self._skew = MeasuredSkew(tolerance_seconds=config.runtime.clock_tolerance_seconds)
        self._content = b"{}"
        fill = config.runtime.fill_no_trade_minutes
        self.symbols = {name: ServedSymbol(name, folder, fill_no_trade_minutes=fill) for name in symbols}
        self._ready = not self.symbols  # where nothing is released there is nothing to wait for

    def run(self, stop: Event) -> None:
        """Decides on bars until the source ends or `stop` is set; the bar at hand is finished."""
        for symbol in self.symbols.values():
            self._go_on_from_before(symbol)
        self._write_health(at_once=True)
        try:
            for event in self._source.bars(self.symbols, stop):
                self._take(event)
                if stop.is_set():
                    break
        finally:
            self._ended_at = self._clock()
            self._write_health(at_once=True)

    def _go_on_from_before(self, symbol: ServedSymbol) -> None:
        """Says what an earlier process recorded and could not say any more."""
        if symbol.tally.last_error is not None:
            self._last_error = f"{symbol.name}: {symbol.tally.last_error}"
        if symbol.model is not None:
            self._scorer.serves(symbol.name, symbol.model.bundle)
        last = self._state.last_bar(symbol.name)
        if last is not None:
            symbol.decided_ms = None if self._again else to_ms(last)
            with self._faults_told(symbol, "the start"):
                self._speaker.speak(self._clock() if self._mode == "live" else last + timedelta(minutes=1))

    def _take(self, event: Given | Trouble | ClockSkew | None) -> None:
        match event:
            case Given(symbol, raw, past):
                self._ready = self._ready or not past
                self._take_bar(self.symbols[symbol], raw, past=past)
            case Trouble(symbol, sentence):
                self._fail(self.symbols[symbol], sentence)
            case ClockSkew():
                self._skew.take(event, now=self._clock())
            case None:
                self._ready = True
        self._write_health(at_once=event is None)

    def _take_bar(self, symbol: ServedSymbol, raw: object, *, past: bool) -> None:
        began = time.perf_counter()
        now = self._clock() if self._mode == "live" else None
        told = symbol.window.in_doubt
        try:
            bar = symbol.window.take(raw, now_ms=self._latest_close_ms(now))
        except DataError as fault:
            self._refuse_candle(symbol, str(fault), told=told)
            return
        if bar is None or past or (symbol.decided_ms is not None and bar.open_ms <= symbol.decided_ms):
            return
        symbol.decided_ms = bar.open_ms
        prediction = self._finish(symbol, bar, now)
        if prediction is not None:
            symbol.tally.predicted(prediction)
            symbol.tally.took((time.perf_counter() - began) * 1e3)

    def _latest_close_ms(self, now: datetime | None) -> int | None:
        return None if now is None else to_ms(now + timedelta(seconds=self._section.clock_tolerance_seconds))

    def _refuse_candle(self, symbol: ServedSymbol, fault: str, *, told: bool) -> None:
        """A candle that is none is no bar: nothing is recorded, and it may still come in good order.

        A live source asks for it again and again, so of those between two bars only the first is logged.
        """
        refusal = Refusal(RefusalKind.BAD_CANDLE, fault)
        if not told and symbol.tally.last_refusal != str(refusal):
            _LOG.warning("a bad candle: %s", fault, extra={"symbol": symbol.name})
        symbol.tally.refused(refusal)

    def _finish(self, symbol: ServedSymbol, bar: Bar, now: datetime | None) -> Prediction | None:
        """Brings the bar to its end, whatever fails on the way; returns the prediction, where there is one."""
        symbol.tally.bars += 1
        where = f"the bar of {bar.opens_at:%Y-%m-%dT%H:%MZ}"
        prediction: Prediction | None = None
        end: Signal | Refusal = _FAULT
        with self._faults_told(symbol, where):
            prediction, end = self._answer(symbol, bar, now)
        recorded = False
        with self._faults_told(symbol, where):
            end = self._recorded(symbol, bar, prediction, end)
            recorded = True
        if isinstance(end, Signal) and recorded:
            symbol.tally.signals += 1
        else:
            symbol.tally.refused(end if isinstance(end, Refusal) else _FAULT)
        with self._faults_told(symbol, where):
            for alarm in self._scorer.observe(symbol.name, symbol.window.candles()).alarms:
                _LOG.warning("%s", alarm.sentence, extra={"symbol": symbol.name})
            self._speaker.speak(now or bar.closes_at)
        return prediction

    def _answer(
        self, symbol: ServedSymbol, bar: Bar, now: datetime | None
    ) -> tuple[Prediction | None, Signal | Refusal]:
        """The prediction where one can be made, and the signal or the reason for silence."""
        window, model, terms = symbol.window, symbol.model, symbol.terms
        if model is None or terms is None:
            return None, symbol.silence
        prediction = model.predict(window) if window.warm else None
        self._compare(symbol, prediction)
        around = Circumstances(
            bar=bar,
            current=current_release(self._folder, symbol.name),
            hold=held(self._folder, symbol.name),
            missing_bars=window.missing_bars,
            hole=window.hole,
            now=now,
        )
        decision = decide(prediction, around, terms, self._rules)
        if isinstance(decision, Refusal):
            if decision.kind is RefusalKind.SWAPPED:
                # From the next bar on, where it can be mended.
                self._mend({name: one.bundle for name, one in self.symbols.items()})
            return prediction, decision
        assert prediction is not None, "an intent comes from a prediction"
        return prediction, self._open_signal(symbol, bar, decision) or self._propose(
            decision, prediction, bar, window, model
        )

    def _open_signal(self, symbol: ServedSymbol, bar: Bar, intent: Intent) -> Refusal | None:
        """Why nothing is added to a signal that is still good; None when nothing is in the way."""
        if not self._signals.one_at_a_time:
            return None
        life = timedelta(minutes=self._signals.expiry_minutes)
        earlier = self._state.open_signal(symbol.name, intent.direction, bar_at=bar.opens_at, life=life)
        if earlier is None:
            return None
        until = f"{earlier.expires_at:%Y-%m-%dT%H:%MZ}"
        return Refusal(
            RefusalKind.OPEN_SIGNAL, f"signal {earlier.number}, {earlier.direction} as well, is good until {until}"
        )

    def _compare(self, symbol: ServedSymbol, prediction: Prediction | None) -> None:
        """The candidate's answer to the same features, counted and told to nobody; its faults are its own."""
        with self._faults_told(symbol, "the shadow"):
            symbol.look_for_shadow()
            if prediction is None or symbol.shadow is None:
                return
            answer = symbol.shadow.of_features(prediction.features)
            if prediction.finite and answer.finite:
                symbol.tally.compared(prediction, answer)

    def _recorded(
        self, symbol: ServedSymbol, bar: Bar, prediction: Prediction | None, end: Signal | Refusal
    ) -> Signal | Refusal:
        """What came of the bar, once that is in the state: the signal with its number, or the refusal."""
        finite = prediction is not None and prediction.finite
        issued = self._state.record(
            BarRecord(
                symbol=symbol.name,
                bar_at=bar.opens_at,
                bundle=symbol.bundle,
                probabilities=prediction.probabilities if prediction is not None and finite else None,
                refusal=str(end.kind) if isinstance(end, Refusal) else None,
                signal=end if isinstance(end, Signal) else None,
            )
        )
        return issued or (_SAID_BEFORE if isinstance(end, Signal) else end)

    @contextlib.contextmanager
    def _faults_told(self, symbol: ServedSymbol, where: str) -> Iterator[None]:
        """Whatever the body raises is logged with its place, counted and named in the health, and ends there."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - one bar's fault must not silence the others
            _LOG.exception("%s failed", where, extra={"symbol": symbol.name})
            self._fail(symbol, f"{where}: {type(error).__name__}: {error}")

    def _fail(self, symbol: ServedSymbol, sentence: str) -> None:
        if symbol.tally.last_error != sentence:
            _LOG.warning("%s", sentence, extra={"symbol": symbol.name})
        symbol.tally.failed(sentence)
        self._last_error = f"{symbol.name}: {sentence}"

    # Health

    def content(self) -> bytes:
        """The newest health.json."""
        return self._content

    def _health(self) -> Health:
        now = self._clock()
        return Health(
            runtime_version=self._version,
            mode=self._mode,
            pid=os.getpid(),
            started_at=self._started_at,
            written_at=now,
            ended_at=self._ended_at,
            ready=self._ready,
            last_error=self._last_error,
            symbols={name: symbol.health(self._scorer, now) for name, symbol in self.symbols.items()},
            channels=self._speaker.health(),
            exchange_clock_skew_ms=self._skew.skew_ms,
            exchange_clock_uncertain_ms=self._skew.uncertain_ms,
            exchange_clock_measured_at=self._skew.measured_at,
            clock_warning=self._skew.warning,
        )

    def _write_health(self, *, at_once: bool = False) -> None:
        """Writes the health when it is due: something was told besides counts, or the last time is long enough ago."""
        told = (self._ready, self._last_error)
        seconds = time.monotonic()
        if not at_once and told == self._told and seconds - self._written_seconds < self._section.health_every_seconds:
            return
        self._told, self._written_seconds = told, seconds
        try:
            self._content = write_health(self._folder, self._health())
        except OSError as error:
            _LOG.warning("health.json cannot be written: %s", error)
