"""Each kernel against the definition worked out window by window, and the law that the start of a slice changes no bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_lib.features import kernels as k

ROWS = 900


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
    mean, std = k.rolling_mean_and_std(values, window, phase)
    np.testing.assert_allclose(mean, expected_mean, rtol=0, atol=1e-13 * spread + 1e-15 * largest)
    np.testing.assert_allclose(std, expected_std, rtol=0, atol=1e-7 * spread)
    np.testing.assert_array_equal(k.rolling_max(values, window), by_window(values, window, lambda w: w.max(axis=1)))
    deviation = by_window(values, window, lambda w: np.abs(w - w.mean(axis=1, keepdims=True)).mean(axis=1))
    found = k.rolling_mean_deviation(values, mean, window)
    np.testing.assert_allclose(found, deviation, rtol=0, atol=1e-12 * largest)


@settings(max_examples=25, deadline=None)
@given(values=columns, window=st.integers(1, 150), phase=st.integers(0, 10_000), cut=st.integers(1, 200))
def test_the_start_of_the_slice_changes_no_bit(values: np.ndarray, window: int, phase: int, cut: int) -> None:
    known = cut + window - 1 + k.BLOCK
    tail = values[cut:].copy()
    whole = k.rolling_mean(values, window, phase)
    np.testing.assert_array_equal(k.rolling_mean(tail, window, phase + cut)[known - cut :], whole[known:])
    for part, full in zip(
        k.rolling_mean_and_std(tail, window, phase + cut), k.rolling_mean_and_std(values, window, phase), strict=True
    ):
        np.testing.assert_array_equal(part[known - cut :], full[known:])
    part = k.exponential_mean(tail, 0.1, window, phase + cut)
    np.testing.assert_array_equal(part[known - cut :], k.exponential_mean(values, 0.1, window, phase)[known:])
    np.testing.assert_array_equal(k.rolling_max(tail, window)[known - cut :], k.rolling_max(values, window)[known:])


def test_constant_window_has_its_value_and_no_deviation_whatever_left_it() -> None:
    values = np.concatenate((np.full(10, 1e12), np.full(300, 0.1)))
    mean, std = k.rolling_mean_and_std(values, 20, 250)
    assert (k.rolling_mean(values, 20, 250)[29:] == 0.1).all()
    assert (mean[29:] == 0.1).all()
    assert (std[29:] == 0.0).all()


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
    mean, std = k.rolling_mean_and_std(values, 3, 0)
    for out in (
        k.rolling_mean(values, 3, 0),
        mean,
        std,
        k.exponential_mean(values, 0.5, 3, 0),
        k.rolling_max(values, 3),
        k.rolling_mean_deviation(values, mean, 3),
    ):
        assert out.shape == (rows,)
        assert np.isnan(out).all()


def test_store_rows_transposes_into_its_place() -> None:
    block = np.arange(3 * 200, dtype=np.float32).reshape(3, 200)
    out = np.full((250, 3), -1.0, dtype=np.float32)
    k.store_rows(block, out, 20)
    np.testing.assert_array_equal(out[20:220], block.T)
    assert (out[:20] == -1.0).all()
    assert (out[220:] == -1.0).all()
