"""The benchmark of a whole run: its candles, its memory, its words; the run itself is in test_bench_tiny.py."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from models_lib.candles.simulated import simulate_candles
from models_lib.candles.sources import read_parquet
from tests.benchmarks import bench_run

DAY = bench_run.Size(("BTC-USD", "ETH-USD", "SOL-USD"), days=1, most_epochs=1)


def test_a_symbol_with_too_few_candles_or_none_is_simulated(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    market = simulate_candles("BTC-USD", market="default", seed=3, days=2)
    market.to_parquet(real / "BTC-USD.parquet", index=False)
    market.head(1_439).to_parquet(real / "SOL-USD.parquet", index=False)

    origins = bench_run.lay_out(real, tmp_path / "candles", DAY)

    assert origins == {"BTC-USD": "real", "ETH-USD": "simulated", "SOL-USD": "simulated"}
    laid = {symbol: read_parquet(tmp_path / f"candles/{symbol}.parquet", symbol=symbol) for symbol in DAY.symbols}
    newest = market.tail(1_440).reset_index(drop=True)
    pd.testing.assert_frame_equal(laid["BTC-USD"], newest, check_dtype=False)
    assert [len(frame) for frame in laid.values()] == [1_440] * 3
    assert laid["SOL-USD"]["timestamp"].iloc[0] == pd.Timestamp(bench_run.SIMULATED_FROM)


def test_folder_is_the_named_one_or_the_environments_and_the_two_years_in_it(tmp_path, monkeypatch):
    monkeypatch.delenv(bench_run.ENVIRONMENT, raising=False)
    assert bench_run.folder_of(None) is None
    monkeypatch.setenv(bench_run.ENVIRONMENT, str(tmp_path))
    assert bench_run.folder_of(None) == tmp_path
    (tmp_path / "named/spot-2y").mkdir(parents=True)
    assert bench_run.folder_of(tmp_path / "named") == tmp_path / "named/spot-2y"
    with pytest.raises(SystemExit, match="nowhere does not exist"):
        bench_run.folder_of(tmp_path / "nowhere")


def test_peak_memory_counts_what_was_held_within():
    with bench_run.peak_memory(os.getpid()) as before:
        pass
    with bench_run.peak_memory(os.getpid()) as peak:
        held = bytearray(os.urandom(1) * (100 * 2**20))
    assert len(held) == 100 * 2**20
    assert 90 < peak["mb"] - before["mb"] < 110


def test_family_has_the_children_of_children():
    script = "import subprocess; child = subprocess.Popen(['cat']); print(child.pid, flush=True); child.wait()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        grandchild = int(process.stdout.readline())
        assert bench_run.family(process.pid) == [process.pid, grandchild]
        process.stdin.close()


def test_a_run_that_does_not_start_says_why():
    with pytest.raises(RuntimeError, match=r"status 2. It said last: .*max_epochs"):
        bench_run.bench(None, bench_run.Size(("BTC-USD",), days=1, most_epochs=0))


def test_told_are_steps_in_their_order_verdicts_memory_and_what_is_simulated(capsys):
    trained = {
        "candles": "real", "outcome": "promoted", "told": "BTC-USD  promoted  accuracy 74.3 %",
        "seconds": {"train": 40.0, "another": 1.0, "candles": 2.5}, "peak_rss_mb": {"train": 1_234.5},
        "epochs": 9, "best_epoch": 6, "stop": "patience", "epoch_seconds": 4.4,
    }  # fmt: skip
    failed = {
        "candles": "simulated", "outcome": "failed", "told": "SOL-USD  failed  DataError",
        "seconds": {}, "peak_rss_mb": {},
    }  # fmt: skip
    whole = {"wall_seconds": 70.0, "processor_seconds": 80.0, "peak_mb": 1_500.0, "peak_mb_a_symbol": 750.0}
    bench_run.tell({"days": 730, "most_epochs": 30, **whole, "symbols": {"BTC-USD": trained, "SOL-USD": failed}})
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "  simulated, as there is no such file of 730 days: SOL-USD"
    assert [line.split() for line in said[3:7]] == [
        ["candles", "2.50", "s"],
        ["train", "40.00", "s", "1,234", "MB"],
        ["another", "1.00", "s"],
        ["together", "43.5", "s", "0.0", "s"],
    ]
    assert said[7] == "  BTC-USD: 9 epochs of 4.40 s with their gates (median), the best was 6, ended by patience"
    assert said[8:10] == ["  BTC-USD  promoted  accuracy 74.3 %", "  SOL-USD  failed  DataError"]
    assert "whole command: 70.0 s" in said[10]
    assert "1,500 MB at the most, 750 MB a symbol at work" in said[10]
