"""The room of the features: causal inputs from the candles of one symbol, for training and serving alike.

`current` is the list that models are trained on, `raw72` the unscaled one of the models before them.

What does not belong here: candles and their checks, labels, scaling (the network holds its scaler).
"""

from models_lib.features.compute import compute_features
from models_lib.features.definitions import (
    FEATURE_NAMES,
    FEATURES,
    SERVING_BARS,
    WARM_UP_BARS,
    Feature,
)
from models_lib.features.newest import NEWEST_ROW_BARS, newest_features
from models_lib.features.sets import (
    CURRENT,
    FEATURE_SETS,
    RAW72,
    FeatureSet,
    feature_set,
    joined,
    read_feature_list,
    selected,
)

__all__ = [
    "CURRENT",
    "FEATURES",
    "FEATURE_NAMES",
    "FEATURE_SETS",
    "NEWEST_ROW_BARS",
    "RAW72",
    "SERVING_BARS",
    "WARM_UP_BARS",
    "Feature",
    "FeatureSet",
    "compute_features",
    "feature_set",
    "joined",
    "newest_features",
    "read_feature_list",
    "selected",
]
