"""How often the predictions are right, and what acting on them would have earned: on the test rows, and live.

The same functions measure both, so that the live figures may be held against the test's. They need nothing but numpy,
because the trading host runs them.

What does not belong here: the rules that need no model (baselines.py), and any verdict.
"""

import numpy as np
from numpy.typing import NDArray

from models_lib.evaluation.blocks import Blocks
from models_lib.evaluation.bootstrap import Interval
from models_lib.labels import DOWN, UP

Floats = NDArray[np.float64]
Figures = tuple[dict[str, float | None], dict[str, Interval | None]]
"""Figures by name, and their intervals by the same names; None is not measured."""

_BP = 1e4


def prediction_figures(
    probabilities: NDArray[np.floating], classes: NDArray[np.integer], blocks: Blocks | None = None
) -> Figures:
    """Accuracy and `confidence_gap`: mean confidence minus accuracy, above 0 for a model that is too sure.

    The gap is the part of a calibration error that a mean can show. Unlike the error over bins, whose expectation grows
    as the rows get fewer, it means the same in few rows and in many, so intervals of it may be compared.

    Args:
        probabilities: float [n, 3], n > 0.
        classes: int [n], all known.
        blocks: None leaves the intervals out.
    """
    correct = (probabilities.argmax(axis=1) == classes).astype(np.float64)
    gap = probabilities.max(axis=1).astype(np.float64) - correct
    per_row = {"accuracy": correct, "confidence_gap": gap}
    intervals = {} if blocks is None else {name: blocks.mean(figure) for name, figure in per_row.items()}
    return {name: float(figure.mean()) for name, figure in per_row.items()}, intervals


def call_figures(
    probabilities: NDArray[np.floating], forward_return: Floats, costs_bp: float, blocks: Blocks | None = None
) -> Figures:
    """Direction and earnings of UP and DOWN calls, by the return from the current close over the horizon.

    A return of exactly 0 has no direction and does not count for directional accuracy; it does count as a return.

    Args:
        probabilities: float [n, 3].
        forward_return: float64 [n], log close(t + horizon) - log close(t).
        costs_bp: of a round trip.
        blocks: None leaves the intervals out.
    """
    predicted = probabilities.argmax(axis=1)
    up, down = (predicted == UP).astype(np.float64), (predicted == DOWN).astype(np.float64)
    signed = (up - down) * forward_return
    moved = (up + down) * (forward_return != 0.0)
    after_costs = signed * _BP - costs_bp * (up + down)
    up_bp, down_bp = up * forward_return * _BP, down * forward_return * _BP
    figures = {
        "directional_accuracy": _ratio((signed > 0.0).sum(), moved.sum()),
        "edge_bp": _difference(_ratio(up_bp.sum(), up.sum()), _ratio(down_bp.sum(), down.sum())),
        "edge_after_costs_bp": _ratio(after_costs.sum(), (up + down).sum()),
    }
    if blocks is None:
        return figures, {}
    return figures, {
        "directional_accuracy": blocks.ratio((signed > 0.0).astype(np.float64), moved),
        "edge_bp": blocks.difference((up_bp, up), (down_bp, down)),
        "edge_after_costs_bp": blocks.ratio(after_costs, up + down),
    }


def _ratio(numerator: float, denominator: float) -> float | None:
    return float(numerator / denominator) if denominator > 0.0 else None


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second
