"""Reading two years of three symbols from the archive of candles beside a plain read by pyarrow, in one run.

    python -m tests.benchmarks.bench_archive [--days N] [--rounds N] [--candles FOLDER] [--json]

Plain is `pq.read_table(path, columns=...).to_pandas()` of one file a symbol with the same encoding: all rows at once, all
cores, nothing verified. The archive reads its months, verifies the SHA-256 of each and gives the same frame; that is
compared first. Both take turns, the best round of each counts, and what they need of memory is measured in a process of its
own each, above what it needed before the read.

Not here: how long it takes to fetch candles, and to write them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from models_lib.candles.archive.archive import CandleArchive
from models_lib.candles.archive.months import encoded
from models_lib.candles.archive.page import Page
from models_lib.candles.archive.places import LocalPlace
from models_lib.candles.bars import Bars, Span
from models_lib.candles.exchange import Market
from models_lib.candles.schema import BAR_MS, CANDLE_COLUMNS, VALUE_COLUMNS, epoch_ms
from models_lib.candles.simulated import simulate_candles
from models_lib.candles.sources import read_parquet
from models_lib.config import ExchangeSection
from tests.benchmarks.bench_features import best_seconds

SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")
_ALL = Span(0, 1 << 62)
_PAGE_BARS = 1_000


def read_plain(folder: Path) -> list[pd.DataFrame]:
    """One file a symbol, by pyarrow."""
    paths = [folder / "plain" / f"{symbol}.parquet" for symbol in SYMBOLS]
    return [pq.read_table(path, columns=list(CANDLE_COLUMNS)).to_pandas() for path in paths]


def read_archive(folder: Path) -> list[pd.DataFrame]:
    """The same from the archive."""
    archive = CandleArchive(LocalPlace(folder / "archive"), folder / "staging")
    return [archive.frame(symbol, _ALL) for symbol in SYMBOLS]


READERS = {"archive": read_archive, "plain": read_plain}


def fill(folder: Path, symbol: str, frame: pd.DataFrame) -> None:
    """Writes the candles as a fetch would, page by page, and as one plain file."""
    held = Bars(epoch_ms(frame), frame[list(VALUE_COLUMNS)].to_numpy())
    archive = CandleArchive(LocalPlace(folder / "archive"), folder / "staging")
    market = Market(symbol, symbol.replace("-", "/"), symbol.partition("-")[0])
    first_ms, end_ms = int(held.stamps[0]), int(held.stamps[-1]) + BAR_MS
    with archive.writer(symbol, market=market, exchange=ExchangeSection()) as writer:
        for start_ms in range(first_ms, end_ms, _PAGE_BARS * BAR_MS):
            span = Span(start_ms, min(start_ms + _PAGE_BARS * BAR_MS, end_ms))
            writer.add(Page(span, held.within(span), closed_ms=end_ms, received_ms=end_ms))
    path = folder / "plain" / f"{symbol}.parquet"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encoded(held))


def peak_mb(reader: str, folder: Path) -> float:
    """What one read of all symbols needs at its peak, in a new process, in MB."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_archive", "--peak", reader, str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak(reader: str, folder: Path) -> None:
    """Prints by how many MB this process grew, from after its imports to the peak of a read."""
    before = _most_mb()
    held = READERS[reader](folder)
    assert len(held) == len(SYMBOLS)
    print(_most_mb() - before)


def _most_mb() -> float:
    """Of this program alone; `getrusage` would begin with what the process that started it had."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024.0


def bench(days: int, rounds: int, candles: Path | None = None) -> dict[str, Any]:
    """Seconds, megabytes, and the ratios between archive and plain read."""
    with tempfile.TemporaryDirectory(prefix="bench-archive-") as scratch:
        folder = Path(scratch)
        for number, symbol in enumerate(SYMBOLS):
            if candles is None:
                frame = simulate_candles(symbol, market="default", seed=7 + number, days=days)
            else:
                frame = read_parquet(candles / f"{symbol}.parquet", symbol=symbol).tail(days * 1_440)
            fill(folder, symbol, frame)
        for ours, theirs in zip(read_archive(folder), read_plain(folder), strict=True):
            pd.testing.assert_frame_equal(ours, theirs)
        rows = sum(map(len, read_plain(folder)))
        seconds = best_seconds({name: lambda read=read: read(folder) for name, read in READERS.items()}, rounds)
        peaks = {name: peak_mb(name, folder) for name in READERS}
    return {
        "rows": rows,
        "cores": len(os.sched_getaffinity(0)),
        "seconds": {name: asdict(best) for name, best in seconds.items()},
        "ratio": seconds["archive"].wall / seconds["plain"].wall,
        "peak_mb": peaks,
        "frames_mb": rows * 8 * len(CANDLE_COLUMNS) / 2**20,
        "peak_ratio": peaks["archive"] / peaks["plain"],
    }


def tell(result: dict[str, Any], rounds: int) -> None:
    """Prints the table of `bench`."""
    print(
        f"candles of {len(SYMBOLS)} symbols, {result['rows']:,} rows, {result['cores']} cores, best of {rounds} rounds"
    )
    for name, value in result["seconds"].items():
        peak = result["peak_mb"][name]
        print(f"  {name:10s} wall {value['wall']:6.3f} s   cpu {value['cpu']:6.3f} s   peak {peak:6.0f} MB")
    print(f"  archive / plain: time {result['ratio']:.2f}x, peak memory {result['peak_ratio']:.2f}x")
    print(f"  the frames themselves are {result['frames_mb']:.0f} MB")


def main() -> None:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=730, help="length; two years by default")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each; the best one counts")
    parser.add_argument("--candles", type=Path, help="folder with BTC-USD.parquet, ...; simulated markets by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--peak", nargs=2, metavar=("READER", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print_peak(arguments.peak[0], Path(arguments.peak[1]))
        return
    result = bench(arguments.days, arguments.rounds, arguments.candles)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    tell(result, arguments.rounds)


if __name__ == "__main__":
    main()
