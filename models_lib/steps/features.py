"""The feature matrix of one symbol as a row-major .npy file that later steps map into memory."""

import os
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from models_lib.features import FEATURE_NAMES, compute_features
from models_lib.files import whole_file
from models_lib.steps.candles import read_candles
from models_lib.steps.refs import CandlesRef, FeaturesRef, FileRef


def compute_feature_matrix(candles: CandlesRef, folder: Path, *, threads: int) -> FeaturesRef:
    """Features of every candle, float32 [N, 72]; NaN in the warm-up rows of each segment.

    Raises:
        OSError: the disk is too full; nothing is left behind.
    """
    frame = read_candles(candles)
    path = folder / "features.npy"
    with whole_file(path) as fresh:
        matrix = open_memmap(fresh, mode="w+", dtype=np.float32, shape=(len(frame), len(FEATURE_NAMES)))
        _reserve(fresh)
        compute_features(frame, threads=threads, out=matrix)
        matrix.flush()
        del matrix
    return FeaturesRef(matrix=FileRef.of(path), rows=len(frame))


def _reserve(path: Path) -> None:
    """Gives the file its blocks now: a write into the map of a sparse file kills the process when the disk is full."""
    with path.open("r+b") as stream:
        os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)


def map_features(ref: FeaturesRef) -> np.ndarray:
    """The matrix that `ref` names, mapped read-only: float32 [N, 72]."""
    matrix: np.ndarray = np.load(ref.matrix.checked(), mmap_mode="r", allow_pickle=False)
    return matrix
