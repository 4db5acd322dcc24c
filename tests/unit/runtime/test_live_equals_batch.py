"""Bar by bar a host computes what a batch over the whole history computes: the same features, the same probabilities."""

import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Event

import numpy as np
import pandas as pd
import pytest

from models_lib.bundle import add_run_facts, load_bundle
from models_lib.candles.fill import fill_no_trade_minutes
from models_lib.candles.schema import epoch_ms
from models_lib.candles.simulated import simulate_candles
from models_lib.candles.sources import read_parquet
from models_lib.features import SERVING_BARS, compute_features
from models_lib.runtime.bars import BarWindow
from models_lib.runtime.serving import ServedModel
from models_lib.runtime.sources import FolderSource, Given, Reached, Trouble
from tests.bundles import example_facts, write_example
from tests.unit.features.markets import with_hole
from tests.unit.runtime.host_folders import TALKATIVE, Host, raws_of

FILL = 5


def assert_live_equals_batch(candles: pd.DataFrame, bundle: Path, *, rows: range) -> None:
    """Of the candles' `rows`, each predicted when it comes, with nothing behind it known.

    Args:
        candles: unfilled.
        bundle: that predicts.
        rows: of the unfilled candles; those before them only fill the window.
    """
    loaded = load_bundle(bundle, only_as_served=True)
    filled, _ = fill_no_trade_minutes(candles, longest_run_minutes=FILL)
    features, probabilities = compute_features(filled), loaded.predict(filled)
    row_of = {stamp: row for row, stamp in enumerate(epoch_ms(filled).tolist())}
    model, window = ServedModel(loaded), BarWindow(fill_no_trade_minutes=FILL)
    compared = 0
    for place, raw in enumerate(raws_of(candles.iloc[: rows.stop])):
        window.take(raw)
        if place < rows.start:
            continue
        row = row_of[raw[0]]
        assert window.warm == bool(np.isfinite(features[row]).all())
        if not window.warm:
            continue
        live = model.predict(window)
        same = live.features.view(np.uint32) == features[row].view(np.uint32)
        assert same.all(), f"row {row}: columns {np.flatnonzero(~same).tolist()} differ"
        assert np.abs(np.array(live.probabilities) - probabilities[row]).max() <= 1e-6
        compared += 1
    assert compared > len(rows) // 2


def test_live_equals_batch_on_the_simulated_market_with_holes(btc_bundle: Path) -> None:
    """Minutes without trades, and a hole after which everything warms up again."""
    whole = simulate_candles("BTC-USD", market="default", seed=7, days=5)
    candles = with_hole(with_hole(with_hole(whole, 6_000, 5), 3_050, 30), 1_900, 3)
    assert_live_equals_batch(candles, btc_bundle, rows=range(1_800, 2_100))
    assert_live_equals_batch(candles, btc_bundle, rows=range(4_200, 6_100, 1))


@pytest.mark.long
@pytest.mark.candles
@pytest.mark.timeout(300)
def test_live_equals_batch_for_30_days_of_real_candles(real_candles: Path, btc_bundle: Path) -> None:
    candles = read_parquet(real_candles / "perp-50d" / "BTC-USD.parquet", symbol="BTC-USD")
    days = 30 * 1_440
    assert_live_equals_batch(candles, btc_bundle, rows=range(len(candles) - days, len(candles)))


class Watched:
    """A source that looks at the memory of this process on the way."""

    def __init__(self, source: FolderSource, said: list[str], every: int) -> None:
        self._source = source
        self._said = said
        self._every = every
        self.resident_mb: list[float] = []

    def bars(self, reached: Mapping[str, Reached], stop: Event) -> Iterator[Given | Trouble | None]:
        for place, event in enumerate(self._source.bars(reached, stop)):
            self._said.clear()  # the test's own list of what it heard
            if place % self._every == 0:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                self.resident_mb.append(pages * 4_096 / 2**20)
            yield event


@pytest.mark.long
@pytest.mark.candles
@pytest.mark.timeout(400)
def test_memory_stays_flat_over_1000_hours_and_bars_are_quick(
    real_candles: Path, tmp_path: Path, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    candles = read_parquet(real_candles / "perp-50d" / "BTC-USD.parquet", symbol="BTC-USD")
    bundle = write_example(tmp_path / "bundle", candles=candles.iloc[:12_000].reset_index(drop=True))
    add_run_facts(tmp_path / "bundle", facts=example_facts(bundle), reports={})
    host.release((tmp_path / "bundle").rename(tmp_path / bundle))
    source = Watched(FolderSource(real_candles / "perp-50d", newest_minutes=60_000), host.said, every=5_000)
    settings = TALKATIVE.model_copy(update={"one_at_a_time": True})  # as configured by default: thousands, not 30,000
    health = host.run(source, settings=settings)
    symbol = health.symbols["BTC-USD"]
    assert symbol.bars == 60_000
    assert symbol.errors == 0
    assert symbol.signals > 1_000
    # The state keeps 14 days of bars, 20,160: from then on nothing may grow.
    settled, end = source.resident_mb[5], max(source.resident_mb[-3:])
    with capsys.disabled():
        print(
            f"\n1,000 hours: {symbol.latency_ms.median:.2f} ms a bar (p99 {symbol.latency_ms.p99:.2f}), "
            f"{symbol.signals:,} signals, resident {settled:.0f} MB after 25,000 bars, {end:.0f} MB at the end"
        )
    assert end - settled < 8.0


@pytest.mark.long
def test_newest_row_alone_is_quicker_than_the_rows_of_the_window(btc_bundle: Path) -> None:
    """In turns, so that a busy machine slows both."""
    candles = simulate_candles("BTC-USD", market="default", seed=7, days=4)
    model, window = ServedModel(load_bundle(btc_bundle, only_as_served=True)), BarWindow(fill_no_trade_minutes=FILL)
    raws = raws_of(candles)
    for raw in raws[:-200]:
        window.take(raw)
    alone, whole = [], []
    for place, raw in enumerate(raws[-200:], start=len(raws) - 199):
        began = time.perf_counter()
        window.take(raw)
        model.predict(window)
        alone.append(time.perf_counter() - began)
        began = time.perf_counter()
        compute_features(candles.iloc[place - SERVING_BARS : place])
        whole.append(time.perf_counter() - began)
    assert statistics.median(alone) < 0.8 * statistics.median(whole)
