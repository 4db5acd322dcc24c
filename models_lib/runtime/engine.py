"""One process, all symbols of a host: each closed bar goes through window, model, decision, signal and record.

    window -> prediction -> decision -> signal -> state (one transaction) -> speaking

Every bar ends in exactly one signal or one refusal. A bar that an earlier process decided on only fills the window, so a
restart says nothing twice; what was missed meanwhile is decided on, and in live mode it is stale.

A fault of one bar silences that bar: it is counted, named in the health and logged with its traceback, and the next bar
comes. A symbol without a usable bundle is silent, and the others go on.

What does not belong here: the rules (decide.py), the source, who is told (speaking).
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Literal, Protocol

from models_lib.errors import CrpbotError, DataError
from models_lib.holds import held
from models_lib.runtime.bars import Bar, BarWindow
from models_lib.runtime.configuration import RuntimeConfig
from models_lib.runtime.decide import Circumstances, Intent, Rules, Terms, decide
from models_lib.runtime.health import Health, runtime_version, write_health
from models_lib.runtime.refusal import Refusal, RefusalKind
from models_lib.runtime.releases import current_release, release_folder
from models_lib.runtime.serving import Prediction, ServedModel
from models_lib.runtime.sources import BarSource, Given, Trouble
from models_lib.runtime.state import BarRecord, RuntimeState
from models_lib.runtime.tally import Tally
from models_lib.signals import Signal

_LOG = logging.getLogger(__name__)

Mode = Literal["replay", "live"]
Answer = tuple[Prediction | None, Signal | Refusal]


class Proposing(Protocol):
    """Makes a signal of an intent."""

    def __call__(
        self, intent: Intent, prediction: Prediction, bar: Bar, window: BarWindow, model: ServedModel
    ) -> Signal | Refusal:
        """The signal, with any number; or why there can be none."""


class Symbol:
    """One symbol: its models, its window and its counts."""

    def __init__(self, name: str, folder: Path, *, fill_no_trade_minutes: int) -> None:
        self.name = name
        self.window = BarWindow(fill_no_trade_minutes=fill_no_trade_minutes)
        self.tally = Tally()
        self.decided_ms: int | None = None
        self.silence = Refusal(RefusalKind.NO_RELEASE, "the symbol has no release; deploy one")
        self.model = self._loaded(folder, "current")
        self.shadow = self._loaded(folder, "shadow")
        self.terms = _terms(self.model) if self.model is not None else None

    def _loaded(self, folder: Path, role: Literal["current", "shadow"]) -> ServedModel | None:
        if current_release(folder, self.name, role=role) is None:
            return None
        try:
            return ServedModel.load(release_folder(folder, self.name, role=role), symbol=self.name)
        except (CrpbotError, OSError) as error:
            _LOG.error("the %s release cannot be loaded: %s", role, error, extra={"symbol": self.name})
            self.tally.failed(f"the {role} release cannot be loaded: {error}")
            if role == "current":
                self.silence = Refusal(RefusalKind.NO_RELEASE, f"the release cannot be loaded: {error}")
            return None


def _terms(model: ServedModel) -> Terms:
    bundle = model.bundle
    envelope = bundle.manifest.envelope
    return Terms(
        bundle=bundle.hash,
        judged_at=bundle.facts.judged_at if bundle.facts is not None else None,
        valid_days=bundle.manifest.valid_days,
        max_outside=envelope.max_outside if envelope is not None else None,
    )


class Engine:
    """All symbols of a host folder.

    Args:
        folder: the host folder.
        config: of the host.
        symbols: which to serve.
        source: of their bars.
        state: what was decided before; this engine records into it.
        mode: `live` judges by the clock how old a bar is.
        propose: makes a signal of an intent.
        say: called with each signal once it is recorded.
        clock: gives the time, aware, UTC.
    """

    def __init__(
        self,
        folder: Path,
        *,
        config: RuntimeConfig,
        symbols: Sequence[str],
        source: BarSource,
        state: RuntimeState,
        mode: Mode,
        propose: Proposing,
        say: Callable[[Signal], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._folder = folder
        self._section = config.runtime
        self._rules = Rules(
            min_confidence=config.signals.min_confidence,
            stale_after=timedelta(seconds=config.runtime.stale_after_seconds),
        )
        self._source = source
        self._state = state
        self._mode: Mode = mode
        self._propose = propose
        self._say = say
        self._clock = clock
        self._started_at = clock()
        self._ended_at: datetime | None = None
        self._ready = False
        self._last_error: str | None = None
        self._written_seconds = -float("inf")
        self._told: object = None
        self._content = b"{}"
        fill = config.runtime.fill_no_trade_minutes
        self.symbols = {name: Symbol(name, folder, fill_no_trade_minutes=fill) for name in symbols}
        for symbol in self.symbols.values():
            self._last_error = symbol.tally.last_error or self._last_error

    def run(self, stop: Event) -> None:
        """Decides on bars until the source ends or `stop` is set; the bar at hand is finished."""
        for symbol in self.symbols.values():
            last = self._state.last_bar(symbol.name)
            symbol.decided_ms = None if last is None else int(last.timestamp() * 1000)
        self.write_health(at_once=True)
        try:
            for event in self._source.bars({name: one.decided_ms for name, one in self.symbols.items()}, stop):
                self._take(event)
                if stop.is_set():
                    break
        finally:
            self._ended_at = self._clock()
            self.write_health(at_once=True)

    def _take(self, event: Given | Trouble | None) -> None:
        match event:
            case Given(symbol, raw, past):
                self._ready = self._ready or not past
                self._take_bar(self.symbols[symbol], raw, past=past)
            case Trouble(symbol, sentence):
                self._fail(self.symbols[symbol], sentence)
            case None:
                self._ready = True
        self.write_health(at_once=event is None)

    def _take_bar(self, symbol: Symbol, raw: object, *, past: bool) -> None:
        began = time.perf_counter()
        now = self._clock() if self._mode == "live" else None
        try:
            bar = symbol.window.take(raw, now_ms=self._latest_close_ms(now))
        except DataError as fault:
            self._refuse_candle(symbol, str(fault))
            return
        if bar is None or past or (symbol.decided_ms is not None and bar.open_ms <= symbol.decided_ms):
            return
        symbol.decided_ms = bar.open_ms
        symbol.tally.bars += 1
        try:
            if self._settle(symbol, bar, *self._answer(symbol, bar, now)):
                symbol.tally.took((time.perf_counter() - began) * 1e3)
        except Exception as error:  # noqa: BLE001 - one bar's fault must not silence the others
            _LOG.exception("the bar of %s failed", bar.opens_at.isoformat(), extra={"symbol": symbol.name})
            sentence = f"the bar of {bar.opens_at:%Y-%m-%dT%H:%MZ}: {type(error).__name__}: {error}"
            self._fail(symbol, sentence)
            symbol.tally.refused(Refusal(RefusalKind.ERROR, sentence))

    def _latest_close_ms(self, now: datetime | None) -> int | None:
        return None if now is None else int((now.timestamp() + self._section.clock_tolerance_seconds) * 1000)

    def _refuse_candle(self, symbol: Symbol, fault: str) -> None:
        refusal = Refusal(RefusalKind.BAD_CANDLE, fault)
        if symbol.tally.last_refusal != f"{refusal.kind}: {fault}":
            _LOG.warning("a bad candle: %s", fault, extra={"symbol": symbol.name})
        symbol.tally.refused(refusal)

    def _answer(self, symbol: Symbol, bar: Bar, now: datetime | None) -> Answer:
        """The prediction where one can be made, and the signal or the reason for silence."""
        window, model, terms = symbol.window, symbol.model, symbol.terms
        if model is None or terms is None:
            return None, symbol.silence
        prediction = model.predict(window) if window.warm else None
        if prediction is not None and symbol.shadow is not None:
            self._compare(symbol, symbol.shadow, prediction)
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
            return prediction, decision
        assert prediction is not None, "an intent comes from a prediction"
        return prediction, self._propose(decision, prediction, bar, window, model)

    def _compare(self, symbol: Symbol, shadow: ServedModel, prediction: Prediction) -> None:
        """The candidate's answer for the same features, counted and told to nobody."""
        answer = shadow.of_features(prediction.features)
        if prediction.finite and answer.finite:
            symbol.tally.compared(prediction, answer)

    def _settle(self, symbol: Symbol, bar: Bar, prediction: Prediction | None, end: Signal | Refusal) -> bool:
        """Records what came of the bar, then says it; True when there was a prediction."""
        refusal = end if isinstance(end, Refusal) else None
        known = prediction is not None and prediction.finite
        issued = self._state.record(
            BarRecord(
                symbol=symbol.name,
                bar_at=bar.opens_at,
                bundle=symbol.terms.bundle if symbol.terms is not None else None,
                probabilities=prediction.probabilities if prediction is not None and known else None,
                refusal=str(refusal.kind) if refusal is not None else None,
                signal=end if isinstance(end, Signal) else None,
            )
        )
        if prediction is not None:
            symbol.tally.predicted(prediction)
        if refusal is not None:
            symbol.tally.refused(refusal)
        if issued is not None:
            symbol.tally.signals += 1
            self._say(issued)
        return prediction is not None

    def _fail(self, symbol: Symbol, sentence: str) -> None:
        if symbol.tally.last_error != sentence:
            _LOG.warning("%s", sentence, extra={"symbol": symbol.name})
        symbol.tally.failed(sentence)
        self._last_error = f"{symbol.name}: {sentence}"

    # --- health

    def health(self) -> Health:
        """How everything stands now."""
        now = self._clock()
        return Health(
            runtime_version=runtime_version(),
            mode=self._mode,
            pid=os.getpid(),
            started_at=self._started_at,
            written_at=now,
            ended_at=self._ended_at,
            ready=self._ready,
            last_error=self._last_error,
            symbols={
                name: symbol.tally.health(
                    symbol.window,
                    bundle=symbol.model.bundle.hash if symbol.model is not None else None,
                    shadow=symbol.shadow.bundle.hash if symbol.shadow is not None else None,
                    live=None,
                    now=now,
                )
                for name, symbol in self.symbols.items()
            },
        )

    def content(self) -> bytes:
        """The newest health.json."""
        return self._content

    def write_health(self, *, at_once: bool = False) -> None:
        """Writes the health when it is due: something was told besides counts, or the last time is long enough ago."""
        told = (self._ready, self._last_error)
        seconds = time.monotonic()
        if not at_once and told == self._told and seconds - self._written_seconds < self._section.health_every_seconds:
            return
        self._told, self._written_seconds = told, seconds
        try:
            self._content = write_health(self._folder, self.health())
        except OSError as error:
            _LOG.warning("health.json cannot be written: %s", error)
