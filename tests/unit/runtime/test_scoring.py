"""Scoring: labels as in the batch, figures as in the evaluation, an alarm once, and nothing lost at a restart."""

import functools
import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models_lib.bundle import Bundle, Manifest, Span
from models_lib.candles.schema import epoch_ms
from models_lib.config import EvaluationSection, LabelSection
from models_lib.evaluation.evaluation import EvaluationInputs, evaluate
from models_lib.labels import label_classes, label_values
from models_lib.runtime.figures import KnownBundle, LiveFigures, Measured, RowFigures
from models_lib.runtime.moments import from_ms
from models_lib.runtime.outcomes import Candles
from models_lib.runtime.scoring import Scored, Scorer, known_bundle, matured_label
from models_lib.runtime.state import BarRecord, RuntimeState
from models_lib.signals.signal import Signal
from models_lib.splits import Splits
from tests.bundles import example_facts, example_manifest, walk_candles
from tests.unit.runtime.examples import BUNDLE, MINUTE, T0, long_signal

SYMBOL = "BTC-USD"
SECTION = EvaluationSection(block_bars=20, bootstrap_samples=200)
"""Thirty blocks are then 600 bars."""


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return walk_candles()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundle_of()


@functools.cache
def manifest(test_ends: int = 2_900) -> Manifest:
    """Of a bundle whose last test row is that row; it knows 15 bars more."""
    found, times = example_manifest(walk_candles()), epoch_ms(walk_candles())
    test = Span.of_ms(int(times[test_ends - 900]), int(times[test_ends]), 901)
    return found.model_copy(update={"splits": found.splits.model_copy(update={"test": test})})


def bundle_of(name: str = BUNDLE, *, test_ends: int = 2_900, **metrics: Any) -> Bundle:
    """A judged bundle with these test figures; nobody asks it for a prediction."""
    facts = example_facts(name)
    facts = facts.model_copy(
        update={"metrics": metrics, "config": {**facts.config, "evaluation": SECTION.model_dump(mode="json")}}
    )
    return Bundle(hash=name, manifest=manifest(test_ends), tensors={}, facts=facts, predictor=None)  # type: ignore[arg-type]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[RuntimeState]:
    with RuntimeState.open(tmp_path / "runtime.sqlite") as opened:
        yield opened


def candles_of(frame: pd.DataFrame) -> Candles:
    return Candles(epoch_ms(frame), *(frame[name].to_numpy(np.float64) for name in ("open", "high", "low", "close")))


def predictions(rows: int) -> np.ndarray:
    return np.random.default_rng(3).dirichlet((1.0, 1.0, 1.0), rows).astype(np.float32)


def play(
    state: RuntimeState, scorer: Scorer, frame: pd.DataFrame, rows: range, *, bundle: str = BUNDLE
) -> list[Scored]:
    """Records every bar of these rows with the same prediction at every repetition."""
    candles, said = candles_of(frame), predictions(len(frame))
    scored = []
    for row in rows:
        scored.append(scorer.observe(SYMBOL, candles.part(max(0, row - 600), row + 1)))
        down, neutral, up = said[row].tolist()
        bar_at = from_ms(int(candles.times_ms[row]))
        state.record(BarRecord(SYMBOL, bar_at, bundle, (down, neutral, up), "neutral"))
    return scored


@pytest.mark.parametrize("threshold", ["quantile", "volatility_scaled"])
@pytest.mark.parametrize("kind", ["trend", "forward_return", "triple_barrier"])
def test_a_matured_label_is_bit_for_bit_that_of_the_batch(kind: Any, threshold: Any) -> None:
    frame = walk_candles(1_400, hole_after=700)
    label = LabelSection(kind=kind, threshold=threshold, lookback_minutes=90, horizon_minutes=20)
    known = KnownBundle(
        bundle=BUNDLE, symbol=SYMBOL, knows_until=T0, label=label, threshold=0.4, evaluation=SECTION, test=RowFigures()
    )
    if threshold == "quantile":
        known = known.model_copy(update={"threshold": 5e-4})
    values = label_values(frame, label)
    classes = label_classes(values, label, known.threshold)
    candles = candles_of(frame)
    seen = set()
    for row in range(300, 1_380):
        window = candles.part(max(0, row - 500), row + 21)
        judged = matured_label(int(candles.times_ms[row]), window, known)
        expected = None if classes[row] < 0 else int(classes[row])
        assert judged.label == expected, row
        assert judged.forward_return == (None if expected is None else values.forward_return[row])
        seen.add(expected)
    assert seen >= {None, 0, 2}


def test_live_figures_are_those_of_the_evaluation_on_the_same_rows(
    state: RuntimeState, frame: pd.DataFrame, bundle: Bundle
) -> None:
    scorer = Scorer(state, mode="live")
    scorer.serves(SYMBOL, bundle)
    rows = np.arange(3_000, 3_700)
    scored = play(state, scorer, frame, range(3_000, 3_716))
    live = scorer.live(SYMBOL)
    assert live is not None
    metrics = evaluated(frame, rows[: live.own.rows])
    assert live.own.rows > 600
    assert live.own == live.recent
    for name in ("accuracy", "confidence_gap", "edge_bp", "edge_after_costs_bp"):
        figure: Measured = getattr(live.own, name)
        assert figure.value == pytest.approx(metrics[name], rel=1e-9), name
        assert figure.interval == pytest.approx(metrics[f"{name}_interval"], rel=1e-6), name
    assert live.own.ece.value == pytest.approx(metrics["ece"], rel=1e-6)
    assert not any(one.alarms for one in scored), "a test without intervals has nothing to be outside of"


def evaluated(frame: pd.DataFrame, test: np.ndarray) -> dict[str, Any]:
    """The account that the run of a bundle gives, on these rows."""
    label, threshold = LabelSection(), 0.000_8
    values = label_values(frame, label)
    probabilities = predictions(len(frame))[test]
    inputs = EvaluationInputs(
        candles=frame,
        label=label,
        threshold=threshold,
        values=values,
        classes=label_classes(values, label, threshold),
        splits=Splits(
            train=np.arange(300, 2_000),
            validation=np.arange(2_100, 2_800),
            test=test,
            spans={},
            purge_minutes=15,
            embargo_minutes=60,
        ),
        logits=np.log(probabilities),
        probabilities=probabilities,
        section=SECTION,
    )
    return dict(evaluate(inputs).metrics)


def test_a_restart_changes_no_figure(tmp_path: Path, frame: pd.DataFrame, bundle: Bundle) -> None:
    through, stopped = (
        figures_after(tmp_path / name, frame, bundle, name == "stopped") for name in ("whole", "stopped")
    )
    assert through.own == stopped.own
    assert through.signals == stopped.signals


def figures_after(folder: Path, frame: pd.DataFrame, bundle: Bundle, stops: bool) -> LiveFigures:
    path = folder / "runtime.sqlite"
    for part in (range(3_000, 3_100), range(3_100, 3_200)) if stops else (range(3_000, 3_200),):
        with RuntimeState.open(path) as state:
            scorer = Scorer(state, mode="live")
            scorer.serves(SYMBOL, bundle)
            play(state, scorer, frame, part)
    with RuntimeState.open(path) as state:
        scorer = Scorer(state, mode="live")
        scorer.serves(SYMBOL, bundle)
        scorer.observe(SYMBOL, candles_of(frame).part(2_600, 3_201))
        live = scorer.live(SYMBOL)
    assert live is not None
    assert live.own.rows == 186
    return live


def test_bars_before_a_hole_are_judged_unknowable(state: RuntimeState) -> None:
    frame = walk_candles(700, hole_after=500)
    scorer = Scorer(state, mode="live")
    scorer.serves(SYMBOL, bundle_of())
    play(state, scorer, frame, range(450, 700))
    times = epoch_ms(frame)
    judged = [state.label_of(SYMBOL, from_ms(int(times[row]))) for row in (485, 486, 500, 501, 560, 684)]
    assert None not in judged
    assert [bar is not None and bar.label is not None for bar in judged] == [True, False, False, False, True, True]


def test_a_figure_outside_the_tests_interval_is_an_alarm_once(tmp_path: Path, frame: pd.DataFrame) -> None:
    promising = bundle_of(accuracy=0.72, accuracy_interval=[0.70, 0.74])
    raised = []
    for part in (range(3_000, 3_600), range(3_600, 3_900), range(3_900, 4_000)):
        with RuntimeState.open(tmp_path / "runtime.sqlite") as state:
            scorer = Scorer(state, mode="live")
            scorer.serves(SYMBOL, promising)
            raised += [alarm for one in play(state, scorer, frame, part) for alarm in one.alarms]
            live = scorer.live(SYMBOL)
    assert [alarm.figure for alarm in raised] == ["accuracy"]
    assert "below the test's 70.0 % to 74.0 %" in raised[0].sentence
    assert live is not None
    assert [(alarm.figure, alarm.since) for alarm in live.alarms] == [("accuracy", raised[0].since)]
    assert raised[0].since > T0 + 3_600 * MINUTE, "fewer than thirty blocks say nothing"
    assert "ALARM: BTC-USD: accuracy is" in live.line()


def test_an_alarm_ends_when_the_figure_is_back_and_can_come_again(state: RuntimeState, frame: pd.DataFrame) -> None:
    scorer = Scorer(state, mode="live")
    raised = []
    bars = iter((range(3_000, 3_700), range(3_700, 3_730), range(3_730, 3_760)))
    for interval in ([0.70, 0.74], [0.20, 0.74], [0.70, 0.74]):
        scorer.serves(SYMBOL, bundle_of(accuracy=0.72, accuracy_interval=interval))
        raised.append(sum(len(one.alarms) for one in play(state, scorer, frame, next(bars))))
    assert raised == [1, 0, 1]


def test_a_figure_that_touches_the_tests_interval_is_no_alarm(state: RuntimeState, frame: pd.DataFrame) -> None:
    fair = bundle_of(
        accuracy=0.36,
        accuracy_interval=[0.34, 0.38],
        confidence_gap=0.2,
        confidence_gap_interval=[0.15, 0.5],
        edge_after_costs_bp=-10.0,
        edge_after_costs_bp_interval=[-14.0, -6.0],
    )
    scorer = Scorer(state, mode="live")
    scorer.serves(SYMBOL, fair)
    scored = play(state, scorer, frame, range(3_000, 3_800))
    live = scorer.live(SYMBOL)
    assert live is not None
    assert live.own.accuracy.interval is not None
    assert live.alarms == ()
    assert not any(one.alarms for one in scored)


def test_a_new_bundle_is_held_against_the_recent_bars_of_its_symbol(state: RuntimeState, frame: pd.DataFrame) -> None:
    scorer = Scorer(state, mode="live")
    scorer.serves(SYMBOL, bundle_of())
    play(state, scorer, frame, range(3_000, 3_700))
    scorer.serves(SYMBOL, bundle_of("b" * 64, accuracy=0.72, accuracy_interval=[0.70, 0.74]))
    scored = play(state, scorer, frame, range(3_700, 3_740), bundle="b" * 64)
    live = scorer.live(SYMBOL)
    assert live is not None
    assert (live.bundle, live.own.rows < 40, live.recent.rows > 700) == ("b" * 64, True, True)
    assert live.own.accuracy.interval is None
    assert [alarm.figure for one in scored for alarm in one.alarms] == ["accuracy"]
    assert "; with earlier bundles " in live.line()


@pytest.mark.parametrize("mode", ["replay", "live"])
def test_bars_of_the_bundles_own_data_are_not_measured(state: RuntimeState, frame: pd.DataFrame, mode: Any) -> None:
    """A replay of the test span, or what a newer bundle says of the bars that were missed in a pause."""
    scorer = Scorer(state, mode=mode)
    scorer.serves(SYMBOL, bundle_of(test_ends=3_100))
    signal = signal_at(frame, 3_000)
    state.record(BarRecord(SYMBOL, signal.bar_at, BUNDLE, signal.probabilities, None, signal))
    play(state, scorer, frame, range(3_001, 3_131))
    live = scorer.live(SYMBOL)
    assert live is not None
    assert state.judged(SYMBOL).classes.size > 100
    assert state.outcome(1) is not None
    assert (live.own.rows, live.recent.rows, live.signals.scored) == (0, 0, 0)
    assert live.line() == f"{mode}: no bar with a label after the bundle's own data yet, so nothing is measured"
    play(state, scorer, frame, range(3_131, 3_164))
    later = scorer.live(SYMBOL)
    assert later is not None
    assert 0 < later.own.rows < 35
    assert later.line().startswith(f"{mode} {later.own.rows} bars: accuracy ")
    again = Scorer(state, mode=mode)
    again.serves(SYMBOL, bundle_of(test_ends=3_100))
    again.observe(SYMBOL, candles_of(frame).part(2_600, 3_164))
    restarted = again.live(SYMBOL)
    assert restarted is not None
    # The label of row 3116 is the first that no row of the test looked into; that of 3148 the last that has matured.
    assert (restarted.own.rows, restarted.signals.scored) == (33, 0)


def test_bars_of_each_bundle_count_after_its_own_data(state: RuntimeState, frame: pd.DataFrame) -> None:
    scorer = Scorer(state, mode="live")
    scorer.serves(SYMBOL, bundle_of())
    play(state, scorer, frame, range(3_000, 3_100))
    scorer.serves(SYMBOL, bundle_of("b" * 64, test_ends=3_150))
    play(state, scorer, frame, range(3_100, 3_160), bundle="b" * 64)
    live = scorer.live(SYMBOL)
    assert live is not None
    assert (live.own.rows, live.recent.rows) == (0, 100)
    assert live.line().startswith("live: no bar with a label after ")
    assert "; with earlier bundles 100 bars: accuracy " in live.line()


def test_a_bundle_that_another_version_kept_is_not_scored_and_stops_nothing(
    state: RuntimeState, frame: pd.DataFrame, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    state.know_bundle("b" * 64, '{"bundle": "b"}')
    scorer = Scorer(state, mode="live")
    scorer.serves(SYMBOL, bundle)
    play(state, scorer, frame, range(3_000, 3_030), bundle="b" * 64)
    live = scorer.live(SYMBOL)
    assert live is not None
    assert live.recent.rows == 0
    assert "is not scored any more" in caplog.text


def signal_at(frame: pd.DataFrame, row: int) -> Signal:
    """LONG at the close of that row, with stop and target too far away to be reached; best fill as well."""
    price = Decimal(str(round(float(frame["close"].iloc[row]), 2)))
    return long_signal(
        row,
        price=price,
        entry_low=price - 1,
        entry_high=price,
        entry=price - 1,
        stop=price - 5_000,
        target=price + 5_000,
        size=Decimal("0.01"),
        notional=Decimal(1_000),
    )


def test_a_signal_is_scored_when_its_life_is_over_and_its_label_has_matured(
    tmp_path: Path, frame: pd.DataFrame, bundle: Bundle
) -> None:
    candles = candles_of(frame)
    signal = signal_at(frame, 3_000)
    came: list[int] = []
    for row in range(3_001, 3_040):
        with RuntimeState.open(tmp_path / "runtime.sqlite") as state:  # a restart at every bar
            if row == 3_001:
                scorer = Scorer(state, mode="live")
                scorer.serves(SYMBOL, bundle)
                state.record(BarRecord(SYMBOL, signal.bar_at, BUNDLE, signal.probabilities, None, signal))
            scorer = Scorer(state, mode="live")
            scorer.serves(SYMBOL, bundle)
            came += [row for _ in scorer.observe(SYMBOL, candles.part(2_600, row + 1)).outcomes]
            outcome, live = state.outcome(1), scorer.live(SYMBOL)
    assert came == [3_030], "thirty bars after the signal's own, each counted once"
    assert outcome is not None
    assert live is not None
    assert outcome.worst.ending == "expired"
    assert outcome.worst.exit == candles.close[3_030]
    expected = label_classes(label_values(frame, LabelSection()), LabelSection(), 0.000_8)[3_000]
    assert outcome.label == ("DOWN", "NEUTRAL", "UP")[expected]
    assert outcome.hit == (expected == 2)
    assert (live.signals.scored, live.signals.expired, live.signals.labelled) == (1, 1, 1)
    assert live.signals.mean_r == pytest.approx(outcome.worst.r)
    assert "; 1 signal: 1 expired, mean " in live.line()


def test_a_label_that_matures_after_the_life_is_waited_for(
    state: RuntimeState, frame: pd.DataFrame, bundle: Bundle
) -> None:
    scorer = Scorer(state, mode="live")
    scorer.serves(SYMBOL, bundle)
    signal = signal_at(frame, 3_000).model_copy(update={"expires_at": T0 + 3_004 * MINUTE})
    state.record(BarRecord(SYMBOL, signal.bar_at, BUNDLE, signal.probabilities, None, signal))
    candles = candles_of(frame)
    came = [row for row in range(3_001, 3_030) if scorer.observe(SYMBOL, candles.part(2_600, row + 1)).outcomes]
    assert came == [3_015]


def test_a_bundle_without_facts_promises_nothing(state: RuntimeState, frame: pd.DataFrame, bundle: Bundle) -> None:
    scorer = Scorer(state, mode="live")
    scorer.serves(SYMBOL, replace(bundle, facts=None))
    play(state, scorer, frame, range(3_000, 3_050))
    live = scorer.live(SYMBOL)
    assert live is not None
    assert live.test.accuracy == Measured()
    assert "(test not measured, interval not measured)" in live.line()
    assert LiveFigures.model_validate_json(live.model_dump_json()) == live


def test_facts_of_another_version_promise_nothing_and_stop_nothing(
    state: RuntimeState, frame: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = bundle_of(accuracy="very good")
    scorer = Scorer(state, mode="live")
    scorer.serves(SYMBOL, foreign)
    play(state, scorer, frame, range(3_000, 3_050))
    live = scorer.live(SYMBOL)
    assert live is not None
    assert live.own.rows > 0
    assert live.test.accuracy == Measured()
    assert "unreadable figures" in caplog.text


def test_setting_of_a_newer_version_costs_no_test_figures_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    promised = bundle_of(accuracy=0.61, accuracy_interval=[0.6, 0.62])
    assert promised.facts is not None
    section = {**SECTION.model_dump(mode="json"), "of_tomorrow": 1}
    facts = promised.facts.model_copy(update={"config": {**promised.facts.config, "evaluation": section}})
    known = known_bundle(replace(promised, facts=facts))
    assert known.test.accuracy == Measured(value=0.61, interval=(0.6, 0.62))
    assert known.evaluation == SECTION
    assert "evaluation.of_tomorrow" in caplog.text


def test_what_a_newer_version_knew_of_a_bundle_is_read_after_the_way_back() -> None:
    """An upgrade that is taken back leaves its state: bundles that it served are scored on."""
    known = known_bundle(bundle_of(accuracy=0.61))
    newer = json.loads(known.model_dump_json())
    assert "controls" not in newer["evaluation"], "versions from before the controls refuse the key"
    newer["evaluation"]["of_tomorrow"] = 1
    assert KnownBundle.model_validate_json(json.dumps(newer)) == known
