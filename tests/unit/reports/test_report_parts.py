"""Wording, gate lines, and the strip of the data window."""

import dataclasses
import itertools
import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_lib.config import EvaluationSection, GatesSection
from models_lib.evaluation.gates import FeatureDrift, GateResult
from models_lib.reports import timeline, wording
from models_lib.reports.gate_lines import gate_lines
from models_lib.reports.inputs import CandleCheck, DataWindow, Drift, FeatureShift, GateRow, Hole, Intervals

SAYS = [wording.decimal, wording.number, wording.signed, wording.percent, wording.basis_points, wording.whole]


@pytest.mark.parametrize("say", [*SAYS, wording.signed_points, wording.duration])
def test_what_was_not_measured_or_is_not_finite_is_said_so(say):
    assert say(None) == "not measured"
    for value in (math.nan, math.inf, -math.inf):
        assert say(value) == f"not a finite number ({value})"


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (wording.decimal(0.5879), "0.588"),
        (wording.number(0.00042), "0.00042"),
        (wording.number(79568.14), "79,568"),
        (wording.signed(0.0), "+0.0000"),
        (wording.signed(-0.00314), "-0.0031"),
        (wording.percent(0.7412), "74.1 %"),
        (wording.signed_points(-0.0123), "-1.2 points"),
        (wording.basis_points(-9.84), "-9.8 bp"),
        (wording.whole(1_051_200), "1,051,200"),
        (wording.duration(0.314), "0.31 s"),
        (wording.duration(41.72), "41.7 s"),
        (wording.duration(187), "3 min 07 s"),
        (wording.duration(7_512), "2 h 05 min"),
        (wording.minutes_long(14), "14 min"),
        (wording.minutes_long(210), "3.5 h"),
        (wording.minutes_long(88_128), "61.2 days"),
        (wording.interval((-1.9, 2.7), wording.basis_points), "-1.9 to +2.7 bp"),
        (wording.interval((0.0121, 0.0304), wording.signed), "+0.0121 to +0.0304"),
        (wording.interval(None, wording.signed), "not measured"),
        (wording.plural(1, "gate"), "1 gate"),
        (wording.plural(2, "gate"), "2 gates"),
    ],
)
def test_numbers_read_as_a_person_says_them(said, text):
    assert said == text


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_no_number_is_ever_said_as_nothing(value):
    assert all(say(value) for say in SAYS)


def test_gate_lines_put_failed_gates_first_and_speak_in_the_gate_s_unit(samples):
    lines = gate_lines(samples["held"].gates, "blocking", GatesSection())
    assert [line.name for line in lines[:3]] == ["accuracy", "beats_mechanical_rule", "scaler_present"]
    shown = {line.name: (line.value, line.limit) for line in lines}
    assert shown["accuracy"] == ("41.2 %", "at least 68 %")
    assert shown["class_balance"] == ("30.9 to 34.8 %", "15 to 60 %")
    assert shown["logit_range"] == ("8.42", "below 15")
    assert shown["overconfidence"] == ("6.8 %", "below 10 %")
    assert shown["beats_mechanical_rule"] == ("-0.0040", "above 0")
    advisory = {
        line.name: (line.value, line.limit) for line in gate_lines(samples["good"].gates, "advisory", GatesSection())
    }
    assert advisory["confidence_band"] == ("73.1 %", "60 to 85 %")
    assert advisory["edge_after_costs"] == ("-9.8 bp", "above 0 bp")


def test_gate_that_nobody_knows_is_shown_all_the_same():
    row = GateRow(name="new_gate", split="test", value=2.0, limit=3.0, severity="blocking", passed=True)
    (line,) = gate_lines((row,), "blocking", GatesSection())
    assert (line.name, line.value, line.limit) == ("new_gate", "2", "3")


def test_every_gate_of_the_configuration_is_explained(samples):
    for name in GatesSection.model_fields:
        row = GateRow(name=name, split="test", value=None, limit=None, severity="blocking", passed=False)
        (line,) = gate_lines((row,), "blocking", GatesSection())
        assert line.meaning, name
        assert (line.value, line.measured) == ("not measured", False)


def test_gate_row_is_read_back_from_what_the_evaluation_writes():
    result = GateResult("class_balance", "test", (0.3, 0.4), (0.15, 0.6), "blocking", passed=True, note="DOWN 30 %")
    assert GateRow.from_json(result.to_json()) == GateRow(
        name="class_balance",
        split="test",
        value=(0.3, 0.4),
        limit=(0.15, 0.6),
        severity="blocking",
        passed=True,
        note="DOWN 30 %",
    )


def test_intervals_come_from_metrics_and_configuration():
    intervals = Intervals.from_metrics({"blocks": 43, "block_bars": 240}, EvaluationSection())
    assert intervals == Intervals(blocks=43, min_blocks=30, block_bars=240, samples=2_000, seed=1)


CANDLES_JSON = {
    "first": "2026-01-01T00:00Z",
    "last": "2026-01-11T00:00Z",
    "rows": 14_341,
    "expected_minutes": 14_401,
    "missing_minutes": 60,
    "filled_minutes": 3,
    "gaps": [{"start": "2026-01-06T00:00Z", "end": "2026-01-06T01:00Z", "minutes": 60}],
    "warnings": ["a warning"],
    "stale": None,
    "fetched": None,
}
MS_2026 = 1_767_225_600_000  # 2026-01-01T00:00Z
SPLITS_JSON = {
    "rows": {"train": 9_000, "validation": 2_000, "test": 1_900},
    "spans": {
        "train": [MS_2026, MS_2026 + 7 * 86_400_000],
        "validation": [MS_2026 + 7 * 86_400_000, MS_2026 + 8 * 86_400_000],
        "test": [MS_2026 + 8 * 86_400_000, MS_2026 + 10 * 86_400_000],
    },
    "purge_minutes": 15,
    "embargo_minutes": 60,
}


def test_data_window_is_read_back_from_the_steps_json():
    data = DataWindow.from_json(CANDLES_JSON, SPLITS_JSON)
    assert data.first == datetime(2026, 1, 1, tzinfo=UTC)
    assert data.holes == (
        Hole(start=datetime(2026, 1, 6, tzinfo=UTC), end=datetime(2026, 1, 6, 1, tzinfo=UTC), minutes=60),
    )
    assert [(part.name, part.rows) for part in data.parts] == [("train", 9_000), ("validation", 2_000), ("test", 1_900)]
    assert data.parts[2].first == datetime(2026, 1, 9, tzinfo=UTC)
    assert DataWindow.from_json(CANDLES_JSON, None).parts == ()


def test_holes_of_fetched_candles_carry_their_cause_where_it_is_known():
    check = {"name": "jump", "value": None, "limit": 1_000.0, "alarm": False, "words": "jumps: not measured"}
    fetched = {
        "exchange": "coinbase",
        "market": "BTC/USD",
        "volume_unit": "BTC",
        "corrections": 2,
        "skew_ms": None,
        "holes": [{"start": "2026-01-06T00:00Z", "minutes": 60, "cause": "outage"}],
        "holes_by_cause": {"outage": {"holes": 1, "minutes": 60}},
        "checks": [check],
    }
    data = DataWindow.from_json({**CANDLES_JSON, "fetched": fetched}, SPLITS_JSON)
    assert [hole.cause for hole in data.holes] == ["outage"]
    assert data.fetched is not None
    assert data.fetched.checks == (CandleCheck(**check),)
    assert DataWindow.from_json({**CANDLES_JSON, "fetched": fetched | {"holes": []}}, None).holes[0].cause is None
    assert DataWindow.from_json({**CANDLES_JSON, "fetched": fetched | {"checks": None}}, None).fetched.checks == ()


def test_drift_is_ordered_by_the_share_of_each_features_own_limit():
    shifts = [("a", 0.2, 0.25), ("b", 0.9, 3.0), ("c", 0.3, 0.25), ("d", 0.5, 0.25)]
    features = [{"name": name, "psi": psi, "limit": limit} for name, psi, limit in shifts]
    drift = Drift.from_json({"past_weeks": 6, "features": features})
    assert [shift.name for shift in drift.features] == ["d", "c", "a", "b"]
    assert [shift.above for shift in drift.features] == [True, True, False, False]


def test_drift_of_the_gate_comes_back_from_its_json():
    measured = FeatureDrift(("a", "b"), np.array([0.1, 0.6]), np.array([0.25, 0.5]), 8)
    drift = Drift.from_json(json.loads(json.dumps(measured.to_json())))
    assert drift == Drift(
        past_weeks=8,
        features=(FeatureShift(name="b", psi=0.6, limit=0.5), FeatureShift(name="a", psi=0.1, limit=0.25)),
    )


def test_strip_places_parts_and_holes_by_time():
    data = DataWindow.from_json(CANDLES_JSON, SPLITS_JSON)
    train, validation, test = timeline.part_stretches(data)
    assert (train.start, train.width) == (0, 700)  # 7 of 10 days
    assert (validation.start, validation.width) == (700, 100)
    assert (test.start, test.width) == (800, 200)
    # The hole of 60 of 14,400 minutes fills four cells of 14.4 minutes and a sixth of the fifth, rounded up to a tenth.
    assert timeline.missing_stretches(data) == (timeline.Missing(500, 4, 1.0), timeline.Missing(504, 1, 0.2))


def with_holes(pieces):
    """The window with (minutes present, minutes missing) pieces one after the other."""
    at, holes = datetime(2026, 1, 1, tzinfo=UTC), []
    for present, missing in pieces:
        start = at + timedelta(minutes=present)
        at = start + timedelta(minutes=missing)
        holes.append(Hole(start=start, end=at, minutes=missing))
    return dataclasses.replace(DataWindow.from_json(CANDLES_JSON, SPLITS_JSON), holes=tuple(holes))


@given(st.lists(st.tuples(st.integers(1, 90), st.integers(1, 50)), min_size=1, max_size=100))
def test_every_hole_is_seen_on_the_strip_and_none_is_invented(pieces):
    data = with_holes(pieces)
    stretches = timeline.missing_stretches(data)
    assert all(a.start + a.width <= b.start for a, b in itertools.pairwise(stretches))
    for hole in data.holes:
        place = timeline.STEPS * (hole.start - data.first) / (data.last - data.first)
        assert any(piece.start <= place < piece.start + piece.width for piece in stretches)
    cell_minutes = 14.4
    shown = sum(piece.width * piece.share for piece in stretches) * cell_minutes
    missing = sum(hole.minutes for hole in data.holes)
    cells = sum(piece.width for piece in stretches)
    assert missing - 0.01 <= shown <= missing + 0.1 * cells * cell_minutes + 0.01  # shares are rounded up to a tenth


def test_many_short_holes_do_not_look_like_one_long_one():
    stretches = timeline.missing_stretches(with_holes([(10, 5)] * 960))  # a third of the ten days is missing
    assert max(piece.share for piece in stretches) <= 0.4  # 14.4 minutes hold at most one hole of 5, or parts of two
    assert sum(piece.width for piece in stretches) == timeline.STEPS


def test_window_without_holes_has_a_clean_strip():
    data = dataclasses.replace(DataWindow.from_json(CANDLES_JSON, SPLITS_JSON), holes=())
    assert timeline.missing_stretches(data) == ()


def test_longest_holes_are_listed_in_order_of_time(samples):
    holes = timeline.longest_holes(samples["good"].data, 3)
    assert [hole.minutes for hole in holes] == [1_700, 45, 240]
