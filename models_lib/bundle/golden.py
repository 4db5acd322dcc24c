"""Golden vectors: raw candles, and what features, logits and probabilities came out of them when the bundle was made.

They are replayed at every load, so a bundle never runs on code or a machine that gives it other inputs or other answers.
The candles are real ones from the end of the run's data.

What does not belong here: which deviations are errors and which are warnings (reader.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models_lib.bundle.layout import GOLDEN_FILE
from models_lib.bundle.predictor import Predictor, probabilities_of
from models_lib.bundle.tensors import decode, encode
from models_lib.candles.schema import TIMESTAMP_DTYPE, VALUE_COLUMNS, epoch_ms, segment_starts
from models_lib.errors import BundleError, DataError
from models_lib.features import CURRENT, SERVING_BARS, WARM_UP_BARS, FeatureSet, compute_features

GOLDEN_ROWS = 64
"""Rows whose features and predictions are kept."""
GOLDEN_CANDLES = SERVING_BARS + GOLDEN_ROWS - 1
"""Candles that are kept, so that each of those rows has its serving window."""
FEATURE_TOLERANCE_STD = 1e-5
"""Largest deviation of a replayed feature, in standard deviations of that feature (the scaler's scale)."""
ROUNDING_STEPS = 2
"""Steps of float32 by which a replayed feature may differ whatever its scale."""
PROBABILITY_TOLERANCE = 1e-5
"""Largest deviation of a replayed probability."""
LOGIT_TOLERANCE = 1e-3
"""Largest deviation of a replayed logit: a constant on all three changes no probability, but the logit gate."""

_DTYPES = {
    "timestamps": np.int64,
    "ohlcv": np.float64,
    "features": np.float32,
    "logits": np.float32,
    "probabilities": np.float32,
}


@dataclass(frozen=True, eq=False)
class Golden:
    """Candles and the answers to their last M rows.

    Attributes:
        timestamps: int64 [N], open times in ms, ascending.
        ohlcv: float64 [N, 5], open, high, low, close, volume.
        features: float32 [M, F] of the last M candles.
        logits: float32 [M, 3], after the temperature.
        probabilities: float32 [M, 3].
    """

    timestamps: npt.NDArray[np.int64]
    ohlcv: npt.NDArray[np.float64]
    features: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]

    def candles(self) -> pd.DataFrame:
        """The candles as a frame."""
        stamps = pd.Series(self.timestamps.astype("datetime64[ms]")).dt.tz_localize("UTC").astype(TIMESTAMP_DTYPE)
        return pd.DataFrame({"timestamp": stamps, **dict(zip(VALUE_COLUMNS, self.ohlcv.T.copy(), strict=True))})

    def to_bytes(self) -> bytes:
        """As written to golden.safetensors."""
        return encode({name: getattr(self, name) for name in _DTYPES})


def record_golden(
    candles: pd.DataFrame, predictor: Predictor, *, symbol: str, features: FeatureSet = CURRENT
) -> Golden:
    """Golden vectors of the newest 64 consecutive rows with features, from the last candles before them.

    Args:
        candles: the run's candles; may have holes.
        predictor: the finished model.
        symbol: for the message.
        features: what the model reads.

    Raises:
        DataError: no segment is long enough.
    """
    end = _newest_end(epoch_ms(candles), symbol)
    window = candles.iloc[max(0, end - GOLDEN_CANDLES) : end].reset_index(drop=True)
    inputs = compute_features(window, features=features)[-GOLDEN_ROWS:]
    logits = predictor.logits(inputs)
    return Golden(
        timestamps=epoch_ms(window),
        ohlcv=np.ascontiguousarray(window[list(VALUE_COLUMNS)].to_numpy(dtype=np.float64)),
        features=inputs,
        logits=logits,
        probabilities=probabilities_of(logits),
    )


def parse_golden(content: bytes) -> Golden:
    """The golden vectors in a bundle.

    Raises:
        BundleError: damaged, incomplete, mis-shaped, not finite or out of order.
    """
    arrays = decode(content, name=GOLDEN_FILE)
    if arrays.keys() != _DTYPES.keys():
        raise _damaged(f"must hold {', '.join(sorted(_DTYPES))}, holds {', '.join(sorted(arrays))}")
    for name, dtype in _DTYPES.items():
        if arrays[name].dtype != dtype:
            raise _damaged(f"{name} must be {np.dtype(dtype)}, was {arrays[name].dtype}")
    _check_shapes(arrays)
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise _damaged("NaN or infinity among the values")
    fields: dict[str, Any] = dict(arrays)
    golden = Golden(**fields)
    if (np.diff(golden.timestamps) <= 0).any():
        raise _damaged("the candles are not in order of time")
    return golden


def replay(
    golden: Golden, predictors: Sequence[Predictor], scale: npt.NDArray[np.float32], *, features: FeatureSet
) -> str:
    """Computes the golden rows again and says how close they come.

    Args:
        golden: what was recorded.
        predictors: the model, in one engine or more.
        scale: the scaler's scale [F].
        features: what the model reads.

    Raises:
        BundleError: another number of features, features further than 1e-5 of their std, probabilities further than 1e-5, or logits further
            than 1e-3, from the record.
    """
    num_rows, num_features = golden.features.shape
    if num_features != len(features.features):
        raise _damaged(f"features must be {[num_rows, len(features.features)]}, was {[num_rows, num_features]}")
    inputs = compute_features(golden.candles(), features=features)[-num_rows:]
    # A scaler of raw inputs has a scale of 1, and a close of 79,568 is known to 0.008 in float32: the last two steps of the
    # number itself are rounding, whatever the scale.
    rounding = ROUNDING_STEPS * np.spacing(np.abs(golden.features)).astype(np.float64)
    in_std = np.maximum(np.abs(inputs.astype(np.float64) - golden.features) - rounding, 0.0) / scale
    worst = _worst(in_std)
    if not worst <= FEATURE_TOLERANCE_STD:
        column = int(np.nan_to_num(in_std, nan=np.inf).max(axis=0).argmax())
        raise BundleError(
            f"golden vectors: feature {features.names[column]} comes out {worst:.3g} std away from the record "
            f"(at most {FEATURE_TOLERANCE_STD:g} allowed): this code computes other features than the training did. "
            f"Use the version of crpbot that wrote the bundle, or train again."
        )
    apart = max(_answers_apart(golden, predictor.logits(inputs)) for predictor in predictors)
    return (
        f"{num_rows} rows replayed from {len(golden.timestamps):,} candles: features within {worst:.1g} std, "
        f"probabilities within {apart:.1g}"
    )


def _answers_apart(golden: Golden, logits: npt.NDArray[np.float32]) -> float:
    """The largest deviation of a probability."""
    apart = _worst(np.abs(probabilities_of(logits).astype(np.float64) - golden.probabilities))
    _check_answers("probability", apart, PROBABILITY_TOLERANCE)
    _check_answers("logit", _worst(np.abs(logits.astype(np.float64) - golden.logits)), LOGIT_TOLERANCE)
    return apart


def _check_answers(kind: str, apart: float, tolerance: float) -> None:
    if not apart <= tolerance:
        raise BundleError(
            f"golden vectors: a {kind} comes out {apart:.3g} away from the record (at most {tolerance:g} allowed): "
            f"weights, scaler, temperature or class order are not those of the training. Train again."
        )


def _newest_end(timestamps: npt.NDArray[np.int64], symbol: str) -> int:
    """One past the newest row whose segment has 64 rows with features before it."""
    needed = WARM_UP_BARS + GOLDEN_ROWS
    starts = segment_starts(timestamps)
    ends = np.append(starts[1:], len(timestamps))
    long_enough = np.flatnonzero(ends - starts >= needed)
    if len(long_enough) == 0:
        raise DataError(
            f"{symbol}: no stretch of {needed:,} candles without a hole, so no golden vectors can be recorded. "
            f"Fetch a longer history."
        )
    return int(ends[long_enough[-1]])


def _check_shapes(arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    num_candles = arrays["timestamps"].size
    num_rows, num_features = arrays["features"].shape if arrays["features"].ndim == 2 else (0, 0)
    wanted: dict[str, tuple[int, ...]] = {
        "timestamps": (num_candles,),
        "ohlcv": (num_candles, len(VALUE_COLUMNS)),
        "features": (num_rows, num_features),
        "logits": (num_rows, 3),
        "probabilities": (num_rows, 3),
    }
    for name, shape in wanted.items():
        if arrays[name].shape != shape:
            raise _damaged(f"{name} must be {list(shape)}, was {list(arrays[name].shape)}")
    if not 0 < num_rows <= num_candles:
        raise _damaged(f"{num_rows} rows from {num_candles} candles prove nothing")


def _worst(deviations: npt.NDArray[np.float64]) -> float:
    """The largest deviation; NaN counts as infinite."""
    return float(np.nan_to_num(deviations, nan=np.inf, posinf=np.inf).max())


def _damaged(fact: str) -> BundleError:
    return BundleError(f"{GOLDEN_FILE} is damaged: {fact}. Take the bundle from the store again.")
