"""What a fitted pool answers, from its definition; in the product the ensemble's bundle does this."""

import numpy as np

from models_lib.evaluation.pool import PoolFit


def pooled_logits(first: np.ndarray, second: np.ndarray, fit: PoolFit) -> np.ndarray:
    """Logits after the pool's temperature, float64 [n, 3], of the members' emitted logits [n, 3]."""
    raw = fit.weights[0] * first.astype(np.float64) + fit.weights[1] * second.astype(np.float64)
    return raw / fit.temperature
