"""The feature matrix of one symbol as a row-major .npy file that later steps map into memory."""

from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from models_lib.features import FEATURE_NAMES, compute_features
from models_lib.files import whole_file
from models_lib.steps.candles import read_candles
from models_lib.steps.refs import CandlesRef, FeaturesRef, FileRef


def compute_feature_matrix(candles: CandlesRef, folder: Path, *, threads: int) -> FeaturesRef:
    """Features of every candle, float32 [N, 72]; NaN in the warm-up rows of each segment."""
    frame = read_candles(candles)
    path = folder / "features.npy"
    with whole_file(path) as fresh:
        matrix = open_memmap(fresh, mode="w+", dtype=np.float32, shape=(len(frame), len(FEATURE_NAMES)))
        compute_features(frame, threads=threads, out=matrix)
        matrix.flush()
        del matrix
    return FeaturesRef(matrix=FileRef.of(path), rows=len(frame))


def map_features(ref: FeaturesRef) -> np.ndarray:
    """The matrix that `ref` names, mapped read-only: float32 [N, 72]."""
    matrix: np.ndarray = np.load(ref.matrix.checked(), mmap_mode="r", allow_pickle=False)
    return matrix
