"""Stylised facts by hand, across holes, and the picture of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models_lib.candles.facts import LAGS, TAIL_PROBABILITIES, minute_returns, stylised_facts
from models_lib.candles.simulated import simulate_candles
from studies.stylised_facts import draw


def test_returns_do_not_reach_across_a_hole(candles: pd.DataFrame) -> None:
    returns = minute_returns(candles.drop(index=[10, 11]))
    assert len(returns) == 2_000
    assert np.flatnonzero(np.isnan(returns)).tolist() == [0, 10, 11, 12]
    assert returns[1] == pytest.approx(np.log(100.1 / 100.0))


def test_facts_of_a_market_whose_figures_are_known(candles: pd.DataFrame) -> None:
    """Closes 100.0 ... 100.9 in turn: nine small steps up and one step of nine down, for ever."""
    facts = stylised_facts(candles.iloc[:1_991])  # 1,990 returns are 199 whole rounds of ten
    returns = np.log(np.array([*(100.0 + np.arange(1, 10) / 10), 100.0]) / (100.0 + np.arange(10) / 10))
    assert facts.volatility == pytest.approx(returns.std(), rel=1e-6)
    # nine values 1 and one of -9 have kurtosis (9 + 6561) / 10 / 9^2 = 8.11, 5.11 in excess of the Gaussian's
    assert facts.kurtosis == pytest.approx(5.11, abs=0.01)
    assert facts.return_correlation[LAGS.index(10)] == pytest.approx(1.0, abs=0.01)
    assert facts.return_correlation[LAGS.index(1)] == pytest.approx(-1 / 9, abs=0.01)
    assert facts.tail_quantiles[TAIL_PROBABILITIES.index(0.5)] == pytest.approx(1 / 3, abs=0.01)
    assert np.isnan(facts.size_correlation[LAGS.index(2_880)])


def test_the_shape_of_the_day_is_by_minute_of_the_clock() -> None:
    frame = simulate_candles("BTC-USD", market="iid", seed=1, days=4).iloc[600:].reset_index(drop=True)
    minute = (frame["timestamp"].dt.hour * 60 + frame["timestamp"].dt.minute).to_numpy()
    facts = stylised_facts(frame.assign(volume=np.where(minute == 815, 11.0, 1.0)))
    assert facts.volume_by_minute.argmax() == 815
    assert facts.volume_by_minute[815] / facts.volume_by_minute[0] == pytest.approx(11.0)
    assert facts.volume_by_minute.mean() == pytest.approx(1.0)


def test_the_picture_is_drawn_and_the_figures_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulate_candles("ETH-USD", market="null", seed=9, days=3).to_parquet(tmp_path / "ETH-USD.parquet")
    out = tmp_path / "facts.png"
    draw(tmp_path, out, symbols=["ETH-USD"], market="default", seed=7)
    assert out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["ETH-USD", "real"], ["ETH-USD", "simulated"]]
