"""The room of the features: 72 dimensionless, causal inputs from the candles of one symbol, for training and serving alike.

What does not belong here: candles and their checks, labels, scaling (the network holds its scaler).
"""

from models_lib.features.code_hash import feature_code_hash
from models_lib.features.compute import compute_features
from models_lib.features.definitions import (
    FEATURE_NAMES,
    FEATURE_SET,
    FEATURE_SET_VERSION,
    FEATURES,
    SERVING_BARS,
    WARM_UP_BARS,
    Feature,
)
from models_lib.features.newest import NEWEST_ROW_BARS, newest_features

__all__ = [
    "FEATURES",
    "FEATURE_NAMES",
    "FEATURE_SET",
    "FEATURE_SET_VERSION",
    "NEWEST_ROW_BARS",
    "SERVING_BARS",
    "WARM_UP_BARS",
    "Feature",
    "compute_features",
    "feature_code_hash",
    "newest_features",
]
