"""Models on the same rows: which rows each set holds, figures against a count by hand, paired intervals on equal blocks."""

import dataclasses

import numpy as np
import pytest

from models_lib.config import EvaluationSection
from models_lib.evaluation.blocks import Blocks
from models_lib.evaluation.comparison import ComparedRows, RowSetResult, compare_models
from models_lib.evaluation.row_sets import RowSet, RowSetBlocks, row_sets
from models_lib.evaluation.volatility import log_realised_volatility, volatility_inputs
from tests.bundles import walk_candles

SECTION = EvaluationSection(bootstrap_samples=400)
ROWS = 14_400  # ten days, 60 blocks
MINUTE_MS = 60_000


def compared(rows: int = ROWS, *, seed: int = 1) -> ComparedRows:
    random = np.random.default_rng(seed)
    return ComparedRows(
        times_ms=1_700_000_000_000 // MINUTE_MS * MINUTE_MS + MINUTE_MS * np.arange(rows),
        classes=random.integers(0, 3, rows).astype(np.int8),
        forward_return=random.normal(0, 1e-3, rows),
        log_volatility=np.cumsum(random.normal(0, 0.01, rows)),
    )


def logits_of(rows: ComparedRows, *, skill: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(rows.classes.size, 3))
    return (noise + skill * np.eye(3)[rows.classes]).astype(np.float32)


def three(rows: ComparedRows) -> tuple[dict[str, np.ndarray], tuple[RowSetResult, ...]]:
    logits = {name: logits_of(rows, skill=skill, seed=7) for name, skill in (("old", 0.5), ("new", 0.8))}
    return logits, compare_models(rows, logits, [("old", "new")], SECTION)


def test_sets_hold_the_rows_that_their_names_say() -> None:
    rows = compared()
    test, sample, week, volatile = row_sets(rows.times_ms, rows.log_volatility, seed=1)
    assert [one.name for one in (test, sample, week, volatile)] == ["test", "sample", "newest_week", "high_volatility"]
    assert (test.rows, sample.rows, week.rows, volatile.rows) == (ROWS, 1_000, 7 * 1_440, ROWS // 10)
    assert np.flatnonzero(week.inside)[0] == 3 * 1_440
    assert rows.log_volatility[volatile.inside].min() > rows.log_volatility[~volatile.inside].max()
    again = row_sets(rows.times_ms, rows.log_volatility, seed=1)[1]
    other = row_sets(rows.times_ms, rows.log_volatility, seed=2)[1]
    assert np.array_equal(again.inside, sample.inside)
    assert not np.array_equal(other.inside, sample.inside)


def test_few_rows_are_all_in_the_sample_and_in_the_newest_week() -> None:
    rows = compared(600)
    _, sample, week, _ = row_sets(rows.times_ms, rows.log_volatility, seed=1)
    assert (sample.rows, week.rows) == (600, 600)


def test_week_is_a_week_of_the_clock_across_a_hole() -> None:
    rows = compared(3 * 1_440)
    times = rows.times_ms.copy()
    times[: 2 * 1_440] -= 6 * 1_440 * MINUTE_MS
    week = row_sets(times, rows.log_volatility, seed=1)[2]
    assert week.rows == 1_440  # the six days without candles count as time


def test_constant_volatility_leaves_no_row_of_high_volatility_and_no_figure() -> None:
    rows = dataclasses.replace(compared(), log_volatility=np.zeros(ROWS))
    _, results = three(rows)
    assert (results[3].rows, results[3].figures, results[3].differences) == (0, {}, ())


def test_volatility_of_an_hour_is_the_one_of_the_driftless_rule() -> None:
    candles = walk_candles(400, hole_after=200)
    assert np.array_equal(log_realised_volatility(candles, 60), volatility_inputs(candles)[:, 3])
    returns = np.diff(np.log(candles["close"].to_numpy()))[140:200]
    assert log_realised_volatility(candles, 60)[200] == pytest.approx(np.log(np.sqrt(np.mean(returns**2))), rel=1e-9)


def test_figures_of_four_rows_by_hand() -> None:
    """Confidence 0.5 on every row; calls UP, UP, DOWN, NEUTRAL; classes UP, DOWN, DOWN, DOWN."""
    said = np.log([[0.25, 0.25, 0.5], [0.25, 0.25, 0.5], [0.5, 0.25, 0.25], [0.25, 0.5, 0.25]])
    rows = ComparedRows(
        times_ms=MINUTE_MS * np.arange(4),
        classes=np.array([2, 0, 0, 0], dtype=np.int8),
        forward_return=np.array([10e-4, -4e-4, -6e-4, 9e-4]),
        log_volatility=np.zeros(4),
    )
    test = compare_models(rows, {"one": said}, [], EvaluationSection(costs_bp=5.0))[0]
    found = test.figures["one"]
    assert found.accuracy == 0.5
    assert found.ece == pytest.approx(0.0, abs=1e-6)
    assert found.nll == pytest.approx((2 * np.log(2) + 2 * np.log(4)) / 4)
    assert (found.mean_confidence, found.share_over_90, found.share_over_99) == (pytest.approx(0.5), 0.0, 0.0)
    assert found.class_shares == (0.25, 0.25, 0.5)
    assert found.directional_accuracy == pytest.approx(2 / 3)
    assert found.edge_bp == pytest.approx((10 - 4) / 2 - -6)
    assert found.edge_after_costs_bp == pytest.approx((10 - 4 + 6) / 3 - 5)


def test_figures_of_a_set_are_those_of_its_rows_alone() -> None:
    rows = compared()
    logits, results = three(rows)
    for one, row_set in zip(results, row_sets(rows.times_ms, rows.log_volatility, seed=1), strict=True):
        for name, emitted in logits.items():
            right = emitted[row_set.inside].argmax(axis=1) == rows.classes[row_set.inside]
            assert one.figures[name].accuracy == pytest.approx(right.mean(), abs=1e-12)


def per_row_nll(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    z = logits.astype(np.float64)
    return np.log(np.exp(z).sum(axis=1)) - z[np.arange(classes.size), classes]


def test_differences_are_paired_and_on_the_blocks_of_the_test_part() -> None:
    """Against an explicit loop over the same blocks, with the rows of the set that each resample happens to hold."""
    rows = compared()
    logits, results = three(rows)
    per_row = per_row_nll(logits["old"], rows.classes) - per_row_nll(logits["new"], rows.classes)
    starts = np.random.default_rng(SECTION.bootstrap_seed).integers(0, ROWS - 239, size=(400, 60))
    for place in (0, 1, 3):
        inside = row_sets(rows.times_ms, rows.log_volatility, seed=1)[place].inside
        means = []
        for row in starts:
            drawn = np.concatenate([np.arange(start, start + 240) for start in row])
            means.append(per_row[drawn][inside[drawn]].mean())
        pair = results[place].difference("old", "new")
        assert pair is not None
        assert pair.nll.value == pytest.approx(per_row[inside].mean(), abs=1e-9)
        assert pair.nll.interval is not None
        assert (pair.nll.interval.low, pair.nll.interval.high) == pytest.approx(
            tuple(np.quantile(means, [0.025, 0.975])), abs=1e-9
        )
        assert pair.nll.interval.blocks == 60
        assert results[place].blocks == 60


def test_newest_week_has_blocks_of_its_own() -> None:
    rows = compared()
    logits, results = three(rows)
    per_row = per_row_nll(logits["old"], rows.classes) - per_row_nll(logits["new"], rows.classes)
    week = results[2]
    alone = Blocks(7 * 1_440, SECTION).mean(per_row[3 * 1_440 :])
    pair = week.difference("old", "new")
    assert pair is not None
    assert alone is not None
    assert pair.nll.interval is not None
    assert (pair.nll.interval.low, pair.nll.interval.high) == pytest.approx((alone.low, alone.high), abs=1e-9)
    assert (week.blocks, week.block_bars) == (42, 240)


def test_a_model_differs_from_itself_by_nothing() -> None:
    rows = compared()
    logits = {"one": logits_of(rows, skill=0.5, seed=1)}
    for one in compare_models(rows, logits, [("one", "one")], SECTION):
        pair = one.difference("one", "one")
        assert pair is not None
        for found in (pair.nll, pair.accuracy):
            assert found.value == 0.0
            assert found.interval is not None
            assert (found.interval.low, found.interval.high) == (0.0, 0.0)


def test_crowded_rows_are_counted_in_blocks_and_few_blocks_are_not_measured() -> None:
    inside = np.zeros(ROWS, dtype=np.bool_)
    inside[[5, 7, 500, 14_399]] = True
    crowded = RowSetBlocks(RowSet("some", "", inside), SECTION)
    assert (crowded.blocks, crowded.blocks_with_rows) == (60, 3)
    few = compared(29 * 240 + 239)
    _, results = three(few)
    assert results[0].blocks == 29
    pair = results[0].difference("old", "new")
    assert pair is not None
    assert pair.nll.interval is None
    assert pair.nll.value > 0


def test_logits_that_are_not_finite_are_refused() -> None:
    rows = compared()
    logits = logits_of(rows, skill=0.5, seed=1)
    logits[3, 1] = np.inf
    with pytest.raises(ValueError, match="must be finite"):
        compare_models(rows, {"one": logits}, [], SECTION)
