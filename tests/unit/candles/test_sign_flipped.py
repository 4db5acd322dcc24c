"""The market without direction: what stays, what is tossed, and that every bar stays a bar."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models_lib.candles.checks import check_candles
from models_lib.candles.schema import VALUE_COLUMNS, epoch_ms, segment_starts
from models_lib.candles.sign_flipped import sign_flipped
from models_lib.candles.simulated import simulate_candles
from models_lib.config import DataSection


def with_holes(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without 1 and without 300 of its minutes, and with 5 minutes in which nobody traded."""
    cut = frame.drop(index=[700, *range(2_000, 2_300)]).reset_index(drop=True)
    still = slice(900, 904)  # by label: both ends belong to it
    cut.loc[still, ["open", "high", "low", "close"]] = cut.loc[899, "close"]
    cut.loc[still, "volume"] = 0.0
    return cut


@pytest.fixture(scope="module", params=["default", "planted"])
def market(request: pytest.FixtureRequest) -> pd.DataFrame:
    return with_holes(simulate_candles("BTC-USD", market=request.param, seed=3, days=7))


def log_returns(frame: pd.DataFrame) -> np.ndarray:
    return np.diff(np.log(frame["close"].to_numpy()))


def test_size_of_every_return_stays_and_its_sign_is_tossed(market):
    before, after = log_returns(market), log_returns(sign_flipped(market, seed=1))
    # Logs of prices about e^11: their difference is exact to a few units in the last place of 11, 2^-49.
    np.testing.assert_allclose(np.abs(after), np.abs(before), rtol=0, atol=16 * 2.0**-49)
    moved = before != 0.0
    kept = (np.sign(after) == np.sign(before))[moved]
    # A fair coin leaves within 4 standard deviations of one half, sqrt(n) / 2 each: 1 of 16,000 seeds would not.
    assert abs(kept.sum() - kept.size / 2) < 4 * np.sqrt(kept.size) / 2
    assert abs(np.corrcoef(kept[1:], kept[:-1])[0, 1]) < 4 / np.sqrt(kept.size)


def test_times_holes_volume_and_first_price_stay(market):
    flipped = sign_flipped(market, seed=1)
    np.testing.assert_array_equal(epoch_ms(flipped), epoch_ms(market))
    assert segment_starts(epoch_ms(flipped)).tolist() == [0, 700, 1_999]
    np.testing.assert_array_equal(flipped["volume"], market["volume"])
    assert flipped["open"].iloc[0] == pytest.approx(market["open"].iloc[0], rel=1e-14)
    assert list(flipped.columns) == list(market.columns)
    assert flipped.dtypes.equals(market.dtypes)


def test_every_bar_is_valid_and_as_wide_as_it_was(market):
    flipped = sign_flipped(market, seed=1)
    lowest = flipped[["open", "close"]].min(axis=1)
    highest = flipped[["open", "close"]].max(axis=1)
    assert (flipped["low"] <= lowest).all()
    assert (flipped["high"] >= highest).all()
    assert np.isfinite(flipped[list(VALUE_COLUMNS)].to_numpy()).all()
    width = [np.log(one["high"].to_numpy() / one["low"].to_numpy()) for one in (market, flipped)]
    np.testing.assert_allclose(width[1], width[0], rtol=0, atol=16 * 2.0**-49)
    check_candles(flipped, symbol="BTC-USD", rules=DataSection(), where="the flipped market", now=None)


def test_bar_is_mirrored_about_the_close_before_it():
    stamps = pd.date_range("2026-01-01", periods=2, freq="min", tz="UTC").astype("datetime64[ms, UTC]")
    prices = {"open": [100.0, 101.0], "high": [100.0, 104.0], "low": [100.0, 99.0], "close": [100.0, 102.0]}
    frame = pd.DataFrame({"timestamp": stamps, **prices, "volume": [1.0, 2.0]})
    found = {
        tuple(np.round(sign_flipped(frame, seed=seed).iloc[1][list(prices)].astype(float), 3)) for seed in range(9)
    }
    # The mirrored bar by hand: 100^2 / 101, 100^2 / 99 (high from low), 100^2 / 104 (low from high), 100^2 / 102.
    assert found == {(101.0, 104.0, 99.0, 102.0), (99.01, 101.01, 96.154, 98.039)}


def test_minute_without_trades_stays_one(market):
    flipped = sign_flipped(market, seed=1)
    still = flipped[["open", "high", "low", "close"]].iloc[900:905].to_numpy()
    np.testing.assert_array_equal(still, np.full_like(still, flipped["close"].iloc[899]))


def test_same_seed_gives_the_same_market_and_another_one_another(market):
    pd.testing.assert_frame_equal(sign_flipped(market, seed=1), sign_flipped(market, seed=1))
    assert (log_returns(sign_flipped(market, seed=1)) != log_returns(sign_flipped(market, seed=2))).any()


def test_given_frame_is_not_changed(market):
    before = market.copy()
    sign_flipped(market, seed=1)
    pd.testing.assert_frame_equal(market, before)


def test_real_candles_stay_valid(real_candles: Path):
    path = next(iter(sorted(real_candles.rglob("*.parquet"))))
    frame = pd.read_parquet(path).iloc[:20_000]
    flipped = sign_flipped(frame, seed=1)
    check_candles(flipped, symbol="BTC-USD", rules=DataSection(), where="the flipped market", now=None)
    np.testing.assert_allclose(np.abs(log_returns(flipped)), np.abs(log_returns(frame)), rtol=0, atol=16 * 2.0**-49)
