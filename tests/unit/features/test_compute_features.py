"""The feature matrix as a whole: shape, chunks, threads, the caller's own array, and the hash of the code."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models_lib.features
from models_lib.candles.schema import BAR_MS, epoch_ms
from models_lib.candles.simulated import simulate_candles
from models_lib.errors import DataError
from models_lib.features import CURRENT, FEATURE_NAMES, RAW72, WARM_UP_BARS, compute_features, joined
from models_lib.features.code_hash import SOURCES
from models_lib.features.compute import CHUNK_BARS
from models_lib.features.kernels import BLOCK
from tests.unit.features.markets import nasty_candles, with_hole
from tests.unit.features.row_kernels import row_features


def test_matrix_is_float32_rows_by_features_contiguous(simulated: pd.DataFrame) -> None:
    features = compute_features(simulated)
    assert features.shape == (len(simulated), 72)
    assert features.dtype == np.float32
    assert features.flags.c_contiguous


def test_threads_and_chunks_change_no_bit() -> None:
    candles = with_hole(simulate_candles("ETH-USD", market="default", seed=1, days=35), 21_000, 3)
    one, three = compute_features(candles), compute_features(candles, threads=3)
    np.testing.assert_array_equal(one, three)
    border = CHUNK_BARS - int(epoch_ms(candles)[0]) // BAR_MS % BLOCK  # where the first chunk ends
    again = compute_features(candles.iloc[border - 4_096 : border + 100].reset_index(drop=True))
    np.testing.assert_array_equal(one[border - 100 : border + 100], again[-200:])


def assert_bits_of_one_bar_after_another(candles: pd.DataFrame) -> None:
    features = joined(CURRENT, RAW72)
    found, expected = compute_features(candles, features=features), row_features(candles, features)
    same = found[WARM_UP_BARS:].view(np.uint32) == expected[WARM_UP_BARS:].view(np.uint32)
    assert [features.names[column] for column in np.flatnonzero(~same.all(axis=0))] == []


@pytest.mark.parametrize("begin", [0, 1, 255, 1_000])
def test_matrix_has_the_bits_of_one_bar_after_another(begin: int) -> None:
    """Over three chunks, wherever in a block the segment begins."""
    simulated = simulate_candles("ETH-USD", market="default", seed=1, days=30)
    assert_bits_of_one_bar_after_another(simulated.iloc[begin:].reset_index(drop=True))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(WARM_UP_BARS + 1, 4_200),
    tick=st.sampled_from([1e-6, 0.05, 0.5]),
    spike=st.sampled_from([1.0, 1e9]),
)
def test_matrix_of_a_nasty_market_has_the_bits_of_one_bar_after_another(
    seed: int, rows: int, tick: float, spike: float
) -> None:
    candles = nasty_candles(seed, rows=rows, tick=tick, flat=(300, 2_100), silent=(900, 2_600), spike=spike)
    assert_bits_of_one_bar_after_another(candles)


@pytest.mark.candles
@pytest.mark.parametrize("symbol", ["BTC-USD", "ETH-USD", "SOL-USD"])
def test_matrix_of_real_candles_has_the_bits_of_one_bar_after_another(real_candles: Path, symbol: str) -> None:
    assert_bits_of_one_bar_after_another(pd.read_parquet(real_candles / "perp-50d" / f"{symbol}.parquet"))


def test_out_is_filled_in_place(simulated: pd.DataFrame, tmp_path: Path) -> None:
    out = np.memmap(tmp_path / "features.f32", dtype=np.float32, mode="w+", shape=(len(simulated), 72))
    assert compute_features(simulated, out=out) is out
    np.testing.assert_array_equal(np.asarray(out), compute_features(simulated))


@pytest.mark.parametrize("out", [np.empty((5, 72), np.float32), np.empty((11_520, 72), np.float64)])
def test_out_of_another_shape_or_type_is_refused(simulated: pd.DataFrame, out: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"out must be float32 \(11520, 72\), was float"):
        compute_features(simulated, out=out)


def test_input_is_left_alone(simulated: pd.DataFrame) -> None:
    before = simulated.copy()
    compute_features(simulated)
    pd.testing.assert_frame_equal(simulated, before)


@pytest.mark.parametrize("rows", [0, 1, 2, WARM_UP_BARS])
def test_too_few_rows_give_no_values(simulated: pd.DataFrame, rows: int) -> None:
    features = compute_features(simulated.iloc[:rows])
    assert features.shape == (rows, 72)
    assert np.isnan(features).all()


def test_known_part_column_is_the_label_s_known_part(simulated: pd.DataFrame) -> None:
    log_close = np.log(simulated["close"])
    g = (log_close - log_close.rolling(60).mean()).to_numpy()[WARM_UP_BARS:]
    column = compute_features(simulated)[WARM_UP_BARS:, FEATURE_NAMES.index("g_60")]
    np.testing.assert_allclose(column, g, atol=1e-9)


def test_code_hash_covers_every_source_that_defines_a_value() -> None:
    room = Path(models_lib.features.__file__).parent
    assert {path.name for path in room.glob("*.py")} - {"__init__.py", "code_hash.py"} == set(SOURCES)
    digest = CURRENT.code_hash()
    assert digest == CURRENT.code_hash() != RAW72.code_hash()
    assert len(digest) == 64
    assert int(digest, 16) >= 0


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda frame: frame.drop(columns="volume"), "column volume is missing"),
        (lambda frame: frame.set_index("timestamp"), "column timestamp is missing"),
        (lambda frame: frame.assign(timestamp=frame["timestamp"].dt.tz_localize(None)), "with a time zone"),
        (lambda frame: frame.assign(timestamp=np.arange(len(frame))), "with a time zone .UTC., was int64"),
        (lambda frame: frame.assign(close=frame["close"].astype(str)), "column close must hold numbers"),
        (lambda frame: frame.iloc[::-1], "timestamps must ascend, the one of row 1 "),
        (lambda frame: pd.concat([frame, frame.tail(1)]), "timestamps must ascend"),
        (lambda frame: frame.to_numpy(), "must be a pandas DataFrame, was ndarray"),
    ],
)
def test_what_is_no_frame_of_candles_is_refused_with_the_reason(simulated: pd.DataFrame, spoil, told: str) -> None:
    with pytest.raises(DataError, match=told):
        compute_features(spoil(simulated.iloc[:200].reset_index(drop=True)))
