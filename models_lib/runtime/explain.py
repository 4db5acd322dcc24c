"""What moved one prediction: for each feature, how much of the probability goes when the feature says nothing.

Occlusion (Zeiler, Fergus 2014): each feature in turn is put to its mean over the training rows, everything else stays, and
the change of the called class's probability is that feature's part. One batch through the same model.

Features that say nearly the same share a move between them, so parts do not add up to the whole.

What does not belong here: words about the market (models_lib.signals).
"""

from typing import Final

import numpy as np

from models_lib.bundle import Bundle
from models_lib.bundle.tensors import SCALER_MEAN
from models_lib.runtime.serving import Prediction

METHOD: Final = "change of the probability when the feature alone is put to its mean over the training rows"


def most_moving(
    bundle: Bundle, prediction: Prediction, *, class_index: int, most: int = 5
) -> tuple[tuple[str, float], ...]:
    """The features that moved the class's probability most, and by how much: positive for, negative against.

    Args:
        bundle: that predicted.
        prediction: of the bar.
        class_index: 0 DOWN, 1 NEUTRAL, 2 UP.
        most: how many are named.
    """
    names = bundle.manifest.features.names
    rows = np.repeat(prediction.features[np.newaxis], len(names) + 1, axis=0)
    rows[np.arange(len(names)), np.arange(len(names))] = bundle.tensors[SCALER_MEAN]
    probabilities = bundle.predictor.probabilities(rows)[:, class_index].astype(np.float64)
    moves = probabilities[-1] - probabilities[:-1]
    order = np.argsort(-np.abs(moves), kind="stable")[:most]
    return tuple((names[place], float(moves[place])) for place in order)
