"""Several models on the same test rows: their figures on each row set, and the paired differences between them.

A difference is measured row by row, so that what is hard about a row is taken out of it; its interval comes from blocks
that are the same for every pair.

What does not belong here: which rows there are (row_sets.py), gates, and who wins (decision.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models_lib.calibration import softmax
from models_lib.config import EvaluationSection
from models_lib.evaluation.bootstrap import Interval
from models_lib.evaluation.calls import call_figures
from models_lib.evaluation.metrics import ReliabilityBins, classification_metrics, nll_per_row
from models_lib.evaluation.row_sets import RowSet, RowSetBlocks, row_sets

Floats = NDArray[np.float64]
Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparedRows:
    """The n test rows of a comparison.

    Attributes:
        times_ms: int64 [n], open times, ascending.
        classes: int8 [n], 0..2, every one known.
        forward_return: float64 [n], log return from the current close over the horizon.
        log_volatility: float64 [n], log realised volatility of the last HIGH_VOLATILITY_BARS bars.
    """

    times_ms: NDArray[np.int64]
    classes: NDArray[np.int8]
    forward_return: Floats
    log_volatility: Floats


@dataclass(frozen=True, kw_only=True)
class RowSetFigures:
    """One model on one row set; shares in 0..1, NLL in nats a row, edges in basis points of the price.

    `directional_accuracy`, `edge_bp` and `edge_after_costs_bp` are None where there are no such calls.
    """

    accuracy: float
    ece: float
    nll: float
    mean_confidence: float
    share_over_90: float
    share_over_99: float
    class_shares: tuple[float, float, float]
    directional_accuracy: float | None
    edge_bp: float | None
    edge_after_costs_bp: float | None


@dataclass(frozen=True)
class PairedDifference:
    """Mean over the row set of one model's figure minus the other's, with its 95 % interval (None: not measured)."""

    value: float
    interval: Interval | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        interval = self.interval
        return {
            "value": self.value,
            "interval": None if interval is None else [interval.low, interval.high],
            "effective_rows": None if interval is None else interval.effective_rows,
        }


@dataclass(frozen=True, kw_only=True)
class PairedFigures:
    """One pair of models on one row set.

    Attributes:
        first: name of a model.
        second: name of the other.
        nll: NLL of the first minus that of the second; above 0 the second is better.
        accuracy: accuracy of the first minus that of the second; above 0 the first is better.
    """

    first: str
    second: str
    nll: PairedDifference
    accuracy: PairedDifference


@dataclass(frozen=True, kw_only=True, eq=False)
class RowSetResult:
    """Every model on one row set.

    Attributes:
        rows: how many rows.
        block_bars: length of the bootstrap blocks.
        blocks: how many blocks a resample draws.
        blocks_with_rows: how many of that many adjoining blocks hold a row of the set: a set whose rows crowd together
            says less than its rows suggest.
        figures: by model; empty where the set has no row.
        differences: of each pair; empty where the set has no row.
    """

    name: str
    meaning: str
    rows: int
    block_bars: int
    blocks: int
    blocks_with_rows: int
    figures: Mapping[str, RowSetFigures]
    differences: tuple[PairedFigures, ...]

    def difference(self, first: str, second: str) -> PairedFigures | None:
        """Of this pair in this order; None where it was not compared."""
        return next((pair for pair in self.differences if (pair.first, pair.second) == (first, second)), None)


def compare_models(
    rows: ComparedRows,
    logits: Mapping[str, NDArray[np.floating]],
    pairs: Iterable[Pair],
    section: EvaluationSection,
) -> tuple[RowSetResult, ...]:
    """The models' figures on the four row sets, and the differences of these pairs.

    Args:
        rows: the test rows.
        logits: by model, float [n, 3] after temperature, as its bundle emits them.
        pairs: names of two models each.
        section: blocks, samples, seeds, bins, costs.

    Raises:
        ValueError: logits that are not finite or do not fit the rows.
    """
    sets = row_sets(rows.times_ms, rows.log_volatility, seed=section.bootstrap_seed)
    for name, emitted in logits.items():
        if not np.isfinite(emitted).all():
            raise ValueError(f"logits of {name} must be finite, were NaN or infinite in places")
    models = {name: _Model.of(emitted, rows.classes) for name, emitted in logits.items()}
    return tuple(_on(row_set, rows, models, tuple(pairs), section) for row_set in sets)


def reliability_of(
    logits: NDArray[np.floating], classes: NDArray[np.integer], section: EvaluationSection
) -> ReliabilityBins:
    """The reliability diagram of one model on the whole test part."""
    return classification_metrics(logits, _probabilities(logits), classes, bins=section.ece_bins).reliability


@dataclass(frozen=True, eq=False)
class _Model:
    """What a model says of each test row: logits [n, 3], its NLL [n], and 1 where it is right [n]."""

    logits: NDArray[np.floating]
    nll: Floats
    correct: Floats

    @classmethod
    def of(cls, logits: NDArray[np.floating], classes: NDArray[np.integer]) -> Self:
        return cls(logits, nll_per_row(logits, classes), (logits.argmax(axis=1) == classes).astype(np.float64))


def _probabilities(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """As a bundle emits them, so that these figures are those of its gates."""
    return softmax(logits).astype(np.float32)


def _on(
    row_set: RowSet,
    rows: ComparedRows,
    models: Mapping[str, _Model],
    pairs: tuple[Pair, ...],
    section: EvaluationSection,
) -> RowSetResult:
    blocks = RowSetBlocks(row_set, section)
    some = row_set.rows > 0
    return RowSetResult(
        name=row_set.name,
        meaning=row_set.meaning,
        rows=row_set.rows,
        block_bars=blocks.block_bars,
        blocks=blocks.blocks,
        blocks_with_rows=blocks.blocks_with_rows,
        figures={name: _figures(model.logits, rows, row_set.inside, section) for name, model in models.items() if some},
        differences=tuple(
            PairedFigures(
                first=first,
                second=second,
                nll=_difference(models[first].nll, models[second].nll, row_set, blocks),
                accuracy=_difference(models[first].correct, models[second].correct, row_set, blocks),
            )
            for first, second in pairs
            if some
        ),
    )


def _difference(first: Floats, second: Floats, row_set: RowSet, blocks: RowSetBlocks) -> PairedDifference:
    per_row = first - second
    return PairedDifference(float(per_row[row_set.inside].mean()), blocks.mean(per_row))


def _figures(
    logits: NDArray[np.floating], rows: ComparedRows, inside: NDArray[np.bool_], section: EvaluationSection
) -> RowSetFigures:
    emitted, classes = logits[inside], rows.classes[inside]
    probabilities = _probabilities(emitted)
    measured = classification_metrics(emitted, probabilities, classes, bins=section.ece_bins)
    calls, _ = call_figures(probabilities, rows.forward_return[inside], section.costs_bp)
    return RowSetFigures(
        accuracy=measured.accuracy,
        ece=measured.ece,
        nll=measured.nll,
        mean_confidence=measured.mean_confidence,
        share_over_90=measured.share_over_90,
        share_over_99=measured.share_over_99,
        class_shares=measured.class_shares,
        directional_accuracy=calls["directional_accuracy"],
        edge_bp=calls["edge_bp"],
        edge_after_costs_bp=calls["edge_after_costs_bp"],
    )
