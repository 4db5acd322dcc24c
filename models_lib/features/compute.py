"""From a frame of candles to the feature matrix: segments, chunks and the store.

Each segment (a stretch without a missing minute) is computed by itself, so no window reaches across a hole. Long segments
go through in chunks that fit the processor's caches; a chunk begins DEPENDENCY_BARS before its first row, which changes
no bit (kernels.py). Training and serving call this same function.

What does not belong here: what a feature is (definitions.py, raw72.py), which there are (sets.py), checks and filling of candles (models_lib.candles).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models_lib.candles.schema import BAR_MS, CANDLE_COLUMNS, VALUE_COLUMNS, epoch_ms, segment_starts
from models_lib.errors import DataError
from models_lib.features.definitions import DEPENDENCY_BARS, WARM_UP_BARS
from models_lib.features.kernels import BLOCK, store_rows
from models_lib.features.measures import Measures
from models_lib.features.sets import CURRENT, FeatureSet

CHUNK_BARS: Final = 48 * BLOCK
"""Bars computed at once, with the DEPENDENCY_BARS before the first row among them: their measures fit the caches."""


@dataclass(frozen=True)
class _Chunk:
    """Rows first .. stop - 1 of the frame, computed from the bars begin .. stop - 1 of the same segment."""

    begin: int
    first: int
    stop: int
    cut: bool
    """Whether the segment has bars before `begin`."""


def _chunks(minutes: NDArray[np.int64], starts: NDArray[np.int64]) -> Iterator[_Chunk]:
    """The chunks of all segments; rows in the warm-up of a segment are in none of them. All end with a block, or the segment."""
    for start, stop in pairwise([*starts.tolist(), len(minutes)]):
        begin, first = start, start + WARM_UP_BARS
        while first < stop:
            last = min(begin - int(minutes[begin]) % BLOCK + CHUNK_BARS, stop)
            yield _Chunk(begin, first, last, cut=begin > start)
            begin, first = last - DEPENDENCY_BARS, last


def compute_features(
    candles: pd.DataFrame,
    *,
    features: FeatureSet = CURRENT,
    threads: int = 1,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """The feature matrix, float32 [N, F], in the order of the set's names; FEATURE_NAMES when none is given.

    Row t uses bars up to t, which are closed one minute after the timestamp of row t. The first WARM_UP_BARS rows of each
    segment are NaN in all columns; every other value is finite. The values of a row are the same bits whatever `threads`
    is and wherever the frame begins, as long as it holds the last SERVING_BARS bars or the whole segment.

    Args:
        candles: checked candles of one symbol, N rows.
        features: which columns; measures that they share are computed once.
        threads: chunks computed at the same time.
        out: float32 [N, F] to write into, for example a memory-mapped file; made here when it is not given.

    Raises:
        DataError: not a frame of candles, or not in order.
        ValueError: `out` has another shape or type.
    """
    stamps = _checked_stamps(candles)
    shape = (len(candles), len(features.features))
    if out is None:
        out = np.empty(shape, dtype=np.float32)
    if out.shape != shape or out.dtype != np.float32:
        raise ValueError(f"out must be float32 {shape}, was {out.dtype} {out.shape}")
    starts = segment_starts(stamps)
    for start in starts.tolist():
        out[start : start + WARM_UP_BARS] = np.nan
    columns = [np.ascontiguousarray(candles[name].to_numpy(dtype=np.float64)) for name in VALUE_COLUMNS]
    minutes = stamps // BAR_MS
    chunks = list(_chunks(minutes, starts))

    def compute(chunk: _Chunk) -> None:
        _compute_chunk(chunk, int(minutes[chunk.begin]), columns, features, out)

    if threads == 1 or len(chunks) == 1:
        for chunk in chunks:
            compute(chunk)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(compute, chunks))
    return out


def _checked_stamps(candles: pd.DataFrame) -> NDArray[np.int64]:
    """The open times in ms, after what would give wrong features without a word was refused."""
    if not isinstance(candles, pd.DataFrame):
        raise DataError(f"candles must be a pandas DataFrame, was {type(candles).__name__}.")
    missing = [name for name in CANDLE_COLUMNS if name not in candles.columns]
    if missing:
        raise DataError(f"candles: column {', '.join(missing)} is missing; needed are {', '.join(CANDLE_COLUMNS)}.")
    wrong = [name for name in VALUE_COLUMNS if not pd.api.types.is_numeric_dtype(candles[name].dtype)]
    if wrong:
        raise DataError(f"candles: column {', '.join(wrong)} must hold numbers (float64). Convert it.")
    if not isinstance(candles["timestamp"].dtype, pd.DatetimeTZDtype):
        raise DataError(
            f"candles: timestamp must be a time with a time zone (UTC), was {candles['timestamp'].dtype}. "
            f"Convert it with pd.to_datetime(..., utc=True)."
        )
    stamps = epoch_ms(candles)
    backwards = np.flatnonzero(np.diff(stamps) <= 0)
    if backwards.size:
        row = int(backwards[0]) + 1
        raise DataError(
            f"candles: timestamps must ascend, the one of row {row} ({candles['timestamp'].iloc[row]}) does not. "
            f"Sort the rows and drop duplicates."
        )
    return stamps


def _compute_chunk(
    chunk: _Chunk, minute: int, columns: list[NDArray[np.float64]], features: FeatureSet, out: NDArray[np.float32]
) -> None:
    """Computes the chunk's rows and writes them into `out`; `minute` is the epoch minute of its first bar."""
    open_, high, low, close, volume = (column[chunk.begin : chunk.stop] for column in columns)
    measures = Measures(minute, open_=open_, high=high, low=low, close=close, volume=volume, cut=chunk.cut)
    block = np.empty((BLOCK, len(features.features), measures.close.shape[1]), dtype=np.float32)
    for place, feature in enumerate(features.features):
        block[:, place] = feature.compute(measures)
    store_rows(block, out[chunk.first : chunk.stop], minute % BLOCK + chunk.first - chunk.begin)
