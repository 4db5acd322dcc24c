"""A bundle as a host serves it: the newest bar's features and calibrated probabilities.

The features are those of `compute_features` over the whole history, bit for bit, and the probabilities those of the bundle.

What does not belong here: whether anything is said about them (decide.py).
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models_lib.bundle import Bundle, load_bundle
from models_lib.candles.schema import BAR_MS
from models_lib.features import NEWEST_ROW_BARS, newest_features
from models_lib.runtime.bars import BarWindow


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says about one bar.

    Attributes:
        features: float32 [F], of the bar.
        probabilities: calibrated, of DOWN, NEUTRAL and UP.
        outside: features outside the range of the training rows; 0 where none was measured.
    """

    features: NDArray[np.float32]
    probabilities: tuple[float, float, float]
    outside: int

    @property
    def finite(self) -> bool:
        """Whether features and probabilities are numbers."""
        return all(map(math.isfinite, self.probabilities)) and bool(np.isfinite(self.features).all())

    @property
    def likeliest(self) -> int:
        """The class with the largest probability: 0 DOWN, 1 NEUTRAL, 2 UP."""
        return max(range(3), key=self.probabilities.__getitem__)


class ServedModel:
    """A loaded bundle.

    Args:
        bundle: with a predictor that a host has.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        facts = bundle.manifest.envelope
        self._envelope = facts.envelope() if facts is not None else None

    @classmethod
    def load(cls, folder: Path, *, symbol: str) -> "ServedModel":
        """The release in a folder, after every check that a host can make.

        Raises:
            ConfigError, BundleError: it is not there, or it is refused.
        """
        return cls(load_bundle(folder, symbol=symbol, only_as_served=True))

    def predict(self, window: BarWindow) -> Prediction:
        """The prediction for the newest bar of a window that is warm."""
        assert window.last_ms is not None, "a warm window has bars"
        features = newest_features(
            window.last_ms // BAR_MS, window.newest(NEWEST_ROW_BARS), features=self.bundle.feature_set
        )
        return self.of_features(features)

    def of_features(self, features: NDArray[np.float32]) -> Prediction:
        """The prediction for one row of features, float32 [F]."""
        down, neutral, up = self.bundle.predictor.probabilities(features[np.newaxis])[0].tolist()
        outside = int(self._envelope.outside(features).sum()) if self._envelope is not None else 0
        return Prediction(features, (down, neutral, up), outside)
