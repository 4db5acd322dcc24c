"""Each kernel against the definition worked out window by window and against the sums of one bar after another, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_lib.features import kernels
from tests.unit.features import row_kernels

ROWS = 900


class InRows:
    """The kernels with columns in the order of time, the first bar at the epoch minute `phase`."""

    def rolling_mean(self, values: np.ndarray, window: int, phase: int, *, cut: bool = False) -> np.ndarray:
        return in_rows(kernels.rolling_mean(laid_out(values, phase), window, cut), phase, len(values))

    def rolling_mean_and_variance(
        self, values: np.ndarray, window: int, phase: int, *, cut: bool = False
    ) -> tuple[np.ndarray, ...]:
        both = kernels.rolling_mean_and_variance(laid_out(values, phase), window, cut)
        return tuple(in_rows(part, phase, len(values)) for part in both)

    def exponential_mean(
        self, values: np.ndarray, weight: float, memory: int, phase: int, *, cut: bool = False
    ) -> np.ndarray:
        return in_rows(kernels.exponential_mean(laid_out(values, phase), weight, memory, cut), phase, len(values))

    def rolling_max(self, values: np.ndarray, window: int, phase: int = 0) -> np.ndarray:
        return in_rows(kernels.rolling_max(laid_out(values, phase), window), phase, len(values))

    def rolling_mean_deviation(
        self, values: np.ndarray, means: np.ndarray, window: int, phase: int = 0, *, cut: bool = False
    ) -> np.ndarray:
        found = kernels.rolling_mean_deviation(laid_out(values, phase), laid_out(means, phase), window, cut)
        return in_rows(found, phase, len(values))


def laid_out(values: np.ndarray, phase: int) -> np.ndarray:
    return kernels.lay_out(values, phase % kernels.BLOCK)


def in_rows(column: np.ndarray, phase: int, rows: int) -> np.ndarray:
    first = phase % kernels.BLOCK
    return column.T.reshape(-1)[first : first + rows]


k = InRows()


def column(seed: int, level: float, spike_row: int, spike: float, flat_row: int) -> np.ndarray:
    """Numbers about a level, with one spike and one constant stretch."""
    values = np.random.default_rng(seed).standard_normal(ROWS)
    values[spike_row] *= spike
    values[flat_row : flat_row + 200] = values[flat_row]
    return level + values


columns = st.builds(
    column,
    seed=st.integers(0, 2**32 - 1),
    level=st.sampled_from([0.0, 11.3, 8e4]),
    spike_row=st.integers(0, ROWS - 1),
    spike=st.sampled_from([1.0, 1e6]),
    flat_row=st.integers(0, ROWS - 1),
)


def by_window(values: np.ndarray, window: int, measure) -> np.ndarray:
    out = np.full(len(values), np.nan)
    out[window - 1 :] = measure(np.lib.stride_tricks.sliding_window_view(values, window).astype(np.longdouble))
    return out


@settings(max_examples=25, deadline=None)
@given(values=columns, window=st.integers(1, 400), phase=st.integers(0, 10_000))
def test_rolling_kernels_give_what_each_window_gives(values: np.ndarray, window: int, phase: int) -> None:
    # float64 keeps 1e-16 of the largest number that went through a sum, and 1e-8 of it under a root
    largest, spread = float(np.abs(values).max()), float(np.ptp(values))
    expected_mean = by_window(values, window, lambda w: w.mean(axis=1))
    expected_std = by_window(values, window, lambda w: w.std(axis=1))
    np.testing.assert_allclose(k.rolling_mean(values, window, phase), expected_mean, rtol=0, atol=1e-13 * largest)
    mean, variance = k.rolling_mean_and_variance(values, window, phase)
    np.testing.assert_allclose(mean, expected_mean, rtol=0, atol=1e-13 * spread + 1e-15 * largest)
    np.testing.assert_allclose(np.sqrt(variance), expected_std, rtol=0, atol=1e-7 * spread)
    np.testing.assert_array_equal(k.rolling_max(values, window), by_window(values, window, lambda w: w.max(axis=1)))
    deviation = by_window(values, window, lambda w: np.abs(w - w.mean(axis=1, keepdims=True)).mean(axis=1))
    found = k.rolling_mean_deviation(values, mean, window)
    np.testing.assert_allclose(found, deviation, rtol=0, atol=1e-12 * largest)


@settings(max_examples=25, deadline=None)
@given(values=columns, window=st.integers(1, 150), phase=st.integers(0, 10_000), cut=st.integers(1, 200))
def test_the_start_of_the_slice_changes_no_bit(values: np.ndarray, window: int, phase: int, cut: int) -> None:
    known = cut + window - 1 + kernels.BLOCK
    tail = values[cut:].copy()
    whole = k.rolling_mean(values, window, phase)
    np.testing.assert_array_equal(k.rolling_mean(tail, window, phase + cut)[known - cut :], whole[known:])
    for part, full in zip(
        k.rolling_mean_and_variance(tail, window, phase + cut),
        k.rolling_mean_and_variance(values, window, phase),
        strict=True,
    ):
        np.testing.assert_array_equal(part[known - cut :], full[known:])
    part = k.exponential_mean(tail, 0.1, window, phase + cut)
    np.testing.assert_array_equal(part[known - cut :], k.exponential_mean(values, 0.1, window, phase)[known:])
    np.testing.assert_array_equal(k.rolling_max(tail, window)[known - cut :], k.rolling_max(values, window)[known:])


@settings(max_examples=60, deadline=None)
@given(
    values=columns,
    front=st.sampled_from([0, 1, 300]),
    window=st.one_of(st.integers(1, 400), st.sampled_from([255, 256, 257, 700])),
    phase=st.integers(0, 10_000),
)
def test_kernels_give_the_bits_of_one_bar_after_another(
    values: np.ndarray, front: int, window: int, phase: int
) -> None:
    values[:front] = np.nan
    mean, variance = row_kernels.rolling_mean_and_variance(values, window, phase)
    found = k.rolling_mean_and_variance(values, window, phase)
    np.testing.assert_array_equal(found, (mean, variance))
    expected = row_kernels.rolling_mean(values, window, phase)
    np.testing.assert_array_equal(k.rolling_mean(values, window, phase), expected)
    expected = row_kernels.exponential_mean(values, 2.0 / (window + 1.0), window, phase)
    np.testing.assert_array_equal(k.exponential_mean(values, 2.0 / (window + 1.0), window, phase), expected)
    if front == 0:
        np.testing.assert_array_equal(k.rolling_max(values, window, phase), row_kernels.rolling_max(values, window))
        expected = row_kernels.rolling_mean_deviation(values, mean, window)
        np.testing.assert_array_equal(k.rolling_mean_deviation(values, mean, window, phase), expected)


@settings(max_examples=25, deadline=None)
@given(values=columns, window=st.integers(1, 400), phase=st.integers(0, 10_000))
def test_cut_slice_has_no_value_before_the_block_that_begins_with_a_full_window(
    values: np.ndarray, window: int, phase: int
) -> None:
    known = -(phase + window - 1) % kernels.BLOCK + window - 1
    for whole, found in (
        (k.rolling_mean(values, window, phase), k.rolling_mean(values, window, phase, cut=True)),
        (k.exponential_mean(values, 0.1, window, phase), k.exponential_mean(values, 0.1, window, phase, cut=True)),
        *zip(
            k.rolling_mean_and_variance(values, window, phase),
            k.rolling_mean_and_variance(values, window, phase, cut=True),
            strict=True,
        ),
    ):
        assert np.isnan(found[:known]).all()
        np.testing.assert_array_equal(found[known:], whole[known:])


def test_constant_window_has_its_value_and_no_deviation_whatever_left_it() -> None:
    values = np.concatenate((np.full(10, 1e12), np.full(300, 0.1)))
    mean, variance = k.rolling_mean_and_variance(values, 20, 250)
    assert (k.rolling_mean(values, 20, 250)[29:] == 0.1).all()
    assert (mean[29:] == 0.1).all()
    assert (variance[29:] == 0.0).all()


def test_exponential_mean_follows_its_recursion() -> None:
    # 1, then 1 + (3 - 1) / 2 = 2, then 2 + (6 - 2) / 2 = 4; two rows of memory start the mean at the row before
    values = np.array([1.0, 3.0, 6.0])
    np.testing.assert_array_equal(k.exponential_mean(values, 0.5, 2, 1), [np.nan, 2.0, 4.0])
    np.testing.assert_array_equal(k.exponential_mean(values, 0.5, 3, 1), [np.nan, np.nan, 4.0])
    # row 2 at minute 256: begun afresh at 3, so 3 + (6 - 3) / 2
    np.testing.assert_array_equal(k.exponential_mean(values, 0.5, 2, 254), [np.nan, 2.0, 4.5])


@pytest.mark.parametrize("front", [0, 1, 700])
def test_windows_count_from_the_first_number(front: int) -> None:
    values = np.concatenate((np.full(front, np.nan), np.arange(30.0)))
    mean = k.rolling_mean(values, 3, 0)
    assert np.isnan(mean[: front + 2]).all()
    np.testing.assert_allclose(mean[front + 2 :], np.arange(1.0, 29.0))
    assert np.isnan(k.exponential_mean(values, 0.5, 4, 0)[: front + 3]).all()
    assert np.isfinite(k.exponential_mean(values, 0.5, 4, 0)[front + 3 :]).all()


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_kernels_take_columns_shorter_than_their_window(rows: int) -> None:
    values = np.ones(rows)
    mean, variance = k.rolling_mean_and_variance(values, 3, 0)
    for out in (
        k.rolling_mean(values, 3, 0),
        mean,
        variance,
        k.exponential_mean(values, 0.5, 3, 0),
        k.rolling_max(values, 3),
        k.rolling_mean_deviation(values, mean, 3),
    ):
        assert out.shape == (rows,)
        assert np.isnan(out).all()


def test_store_rows_writes_each_bar_in_its_place() -> None:
    bars = np.arange(3 * 600, dtype=np.float32).reshape(600, 3)  # of three features
    block = np.full((kernels.BLOCK, 3, 3), -2.0, dtype=np.float32)
    for bar, row in enumerate(bars, start=100):
        block[bar % kernels.BLOCK, :, bar // kernels.BLOCK] = row
    out = np.full((250, 3), -1.0, dtype=np.float32)
    kernels.store_rows(block, out[20:220], 150)
    np.testing.assert_array_equal(out[20:220], bars[50:250])
    assert (out[:20] == -1.0).all()
    assert (out[220:] == -1.0).all()
