"""Draws the stylised facts of the simulated market beside those of real candles, in one picture.

    python -m studies.stylised_facts --candles DIR --out facts.png [--symbols BTC-USD,ETH-USD] [--market default]

DIR holds <SYMBOL>.parquet files of 1-minute candles. The simulated market is as long as the real one.
"""

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from models_lib.candles.facts import LAGS, StylisedFacts, minute_returns, stylised_facts
from models_lib.candles.schema import epoch_ms
from models_lib.candles.simulated import MarketKind, simulate_candles
from models_lib.candles.sources import ParquetSource, load_candles
from models_lib.config import DataSection

COLOURS = {"real": "#1f6f8b", "simulated": "#d1495b"}
SMOOTHING_MINUTES = 10
NUM_PANELS = 5


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candles", type=Path, required=True, help="folder with <SYMBOL>.parquet of real candles")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--symbols", default="BTC-USD,ETH-USD,SOL-USD")
    parser.add_argument("--market", default="default", choices=("default", "null", "iid", "planted"))
    parser.add_argument("--seed", type=int, default=7)
    return parser


def main() -> None:
    """Reads the arguments, draws, and prints one line of figures for each market."""
    arguments = _parser().parse_args()
    draw(
        arguments.candles,
        arguments.out,
        symbols=arguments.symbols.split(","),
        market=arguments.market,
        seed=arguments.seed,
    )


def draw(folder: Path, out: Path, *, symbols: list[str], market: MarketKind, seed: int) -> None:
    """Writes the picture, one row a symbol, to `out`.

    Raises:
        ConfigError: `folder` does not exist.
        DataError: a symbol's real candles are missing or break a rule.
    """
    figure, rows = plt.subplots(
        len(symbols), NUM_PANELS, figsize=(4.6 * NUM_PANELS, 3.7 * len(symbols)), squeeze=False, layout="constrained"
    )
    data = DataSection(source="parquet", path=folder)
    for symbol, panels in zip(symbols, rows, strict=True):
        real, _ = load_candles(ParquetSource(folder), symbol, data, now=None)
        days = max(1, len(real) // 1_440)
        simulated = simulate_candles(symbol, market=market, seed=seed, days=days)
        for name, frame in (("real", real), ("simulated", simulated)):
            facts = stylised_facts(frame)
            _draw_row(panels, frame, facts, name)
            print(_line(symbol, name, facts))
        panels[0].set_ylabel(f"{symbol}\nshare of minutes beyond")
    for panel, title in zip(
        rows[0],
        ("tails of |return| (std)", "autocorrelation of |return|", "volume by minute of day (UTC)",
         "|return| by minute of day (UTC)", "log price, first ten days"),
        strict=True,
    ):  # fmt: skip
        panel.set_title(title)
    rows[0][0].legend(frameon=False)
    figure.suptitle(f"Real candles ({folder.name}) and the simulated market ({market}, seed {seed})")
    figure.savefig(out, dpi=110)
    plt.close(figure)


def _draw_row(panels: NDArray[np.object_], frame: pd.DataFrame, facts: StylisedFacts, name: str) -> None:
    colour = COLOURS[name]
    _draw_tail(panels[0], minute_returns(frame), name, colour)
    panels[1].plot(LAGS, facts.size_correlation, "o-", color=colour, markersize=3, label=f"{name}, |return|")
    panels[1].plot(LAGS, facts.return_correlation, ":", color=colour)
    panels[1].axhline(0.0, color="#999999", linewidth=0.6)
    panels[1].set(xscale="log", xlabel="lag (minutes); dotted: of the return itself", ylim=(-0.06, 0.45))
    for panel, shape in ((panels[2], facts.volume_by_minute), (panels[3], facts.size_by_minute)):
        panel.plot(np.arange(1_440) / 60.0, _smooth_round_the_clock(shape), color=colour, linewidth=1.0)
        panel.set(xlim=(0, 24), ylim=(0.3, 2.6), xticks=range(0, 25, 6))
    hours = (epoch_ms(frame) - epoch_ms(frame)[0])[:14_400] / 3_600_000.0
    path = np.log(frame["close"].to_numpy()[:14_400])
    panels[4].plot(hours, path - path[0], color=colour, linewidth=0.7)
    panels[4].set_xlabel("hours")


def _draw_tail(panel: Axes, returns: NDArray[np.float64], name: str, colour: str) -> None:
    """Share of minutes with a larger |return|, beside the Gaussian one."""
    size = np.sort(np.abs(returns[np.isfinite(returns)]))
    scaled = size / np.sqrt((size**2).mean())
    beyond = 1.0 - np.arange(len(scaled)) / len(scaled)
    every = np.unique(np.concatenate((np.arange(0, len(scaled), 97), np.arange(len(scaled) - 300, len(scaled)))))
    panel.plot(scaled[every], beyond[every], color=colour, linewidth=1.2, label=name)
    panel.set(xscale="log", yscale="log", xlim=(0.3, 60), ylim=(0.5 / len(scaled), 1.0))


def _smooth_round_the_clock(shape: NDArray[np.float64]) -> NDArray[np.float64]:
    padded = np.concatenate((shape[-SMOOTHING_MINUTES:], shape, shape[:SMOOTHING_MINUTES]))
    smooth = np.convolve(padded, np.full(SMOOTHING_MINUTES, 1.0 / SMOOTHING_MINUTES), mode="same")
    return smooth[SMOOTHING_MINUTES:-SMOOTHING_MINUTES]


def _line(symbol: str, name: str, facts: StylisedFacts) -> str:
    size = dict(zip(LAGS, facts.size_correlation, strict=True))
    volume = dict(zip(LAGS, facts.log_volume_correlation, strict=True))
    return (
        f"{symbol} {name:9s} volatility {facts.volatility * 1e4:5.2f} bp, excess kurtosis {facts.kurtosis:5.1f}, "
        f"|r| correlation at 1/60/240: {size[1]:.2f} {size[60]:.2f} {size[240]:.2f}, log volume at 1/60/240: "
        f"{volume[1]:.2f} {volume[60]:.2f} {volume[240]:.2f}, log volume with |r| {facts.volume_and_size:.2f}, "
        f"range / body {facts.range_to_body:.2f}, 99.9 % quantile {facts.tail_quantiles[3]:.1f} std"
    )


if __name__ == "__main__":
    main()
