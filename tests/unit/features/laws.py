"""The laws that a feature matrix keeps, as functions of the code that computes it: plant a fault and the law must fail."""

from collections.abc import Callable

import numpy as np
import pandas as pd

Compute = Callable[[pd.DataFrame], np.ndarray]
PRICES = ["open", "high", "low", "close"]


def assert_causal(compute: Compute, candles: pd.DataFrame, row: int) -> None:
    """Rows before `row` keep every bit when the bars from `row` on are changed or cut off."""
    whole = compute(candles)
    changed = candles.copy()
    changed.loc[row:, PRICES] *= 1.37
    changed.loc[row:, "volume"] *= 5.0
    _assert_same_bits(compute(changed)[:row], whole[:row], "later bars changed")
    _assert_same_bits(compute(candles.iloc[:row]), whole[:row], "later bars cut off")


def assert_newest_row_needs_only(bars: int, compute: Compute, candles: pd.DataFrame, ends: list[int]) -> None:
    """The newest row from the last `bars` bars alone has the bits that the full history gives it."""
    whole = compute(candles)
    for end in ends:
        served = compute(candles.iloc[max(0, end - bars) : end].reset_index(drop=True))
        _assert_same_bits(served[-1:], whole[end - 1 : end], f"the last {bars} bars before row {end}")


def assert_scale_free(
    compute: Compute, candles: pd.DataFrame, *, price_factor: float, volume_factor: float, tolerance: float
) -> None:
    """All prices times one factor and all volumes times another change no feature by more than `tolerance` stds.

    A column that hardly moves in a dead market is held to 0.02 and not to its own spread, which is rounding.
    """
    scaled = candles.copy()
    scaled[PRICES] *= price_factor
    scaled["volume"] *= volume_factor
    before, after = compute(candles), compute(scaled)
    np.testing.assert_array_equal(np.isnan(after), np.isnan(before))
    spread = np.nanstd(before, axis=0) + 0.02
    worst = np.nanmax(np.abs(after - before) / spread, axis=0)
    assert worst.max() <= tolerance, f"column {worst.argmax()} moved by {worst.max():.2e} stds"


def assert_scales(
    compute: Compute,
    candles: pd.DataFrame,
    *,
    price_factor: float,
    volume_factor: float,
    priced: list[int],
    in_volume: list[int],
) -> None:
    """The columns `priced` follow all prices, those `in_volume` all volumes, the others neither, to the last bit.

    Args:
        compute: the code.
        candles: N rows.
        price_factor: a power of two, so that nothing is rounded.
        volume_factor: another.
        priced: columns in the quote currency.
        in_volume: columns in the base coin.
    """
    scaled = candles.copy()
    scaled[PRICES] *= price_factor
    scaled["volume"] *= volume_factor
    expected = compute(candles)
    expected[:, priced] *= np.float32(price_factor)
    expected[:, in_volume] *= np.float32(volume_factor)
    _assert_same_bits(compute(scaled), expected, "prices and volumes scaled")


def assert_holes_not_bridged(compute: Compute, candles: pd.DataFrame, start: int) -> None:
    """What follows the hole before row `start` has the bits that it has without anything before the hole."""
    alone = compute(candles.iloc[start:].reset_index(drop=True))
    _assert_same_bits(compute(candles)[start:], alone, "the segment after the hole")


def _assert_same_bits(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    assert found.shape == expected.shape, what
    same = found.view(np.uint32) == expected.view(np.uint32)
    assert same.all(), f"{what}: columns {np.flatnonzero(~same.all(axis=0)).tolist()} differ"
