"""The three judged models as one value, of which page, JSON and tables are made.

What does not belong here: judging (judgement.py), figures and decision (models_lib.evaluation), words (models_lib.reports).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models_lib.bundle import Bundle
from models_lib.config import RunConfig
from models_lib.errors import BundleError
from models_lib.evaluation.comparison import ComparedRows, RowSetResult, compare_models, reliability_of
from models_lib.evaluation.decision import MODELS, PAIRS, ModelName, decide
from models_lib.evaluation.pool import PoolFit
from models_lib.evaluation.row_sets import HIGH_VOLATILITY_BARS
from models_lib.evaluation.volatility import log_realised_volatility
from models_lib.reports.three_models import ComparedModel, Stretch, ThreeModels
from models_lib.steps.judged_bundle import JudgedBundle
from models_lib.steps.market import Market, Rows
from models_lib.steps.report import label_meaning, label_name


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparedBundle:
    """One of the three models with its verdict."""

    folder: Path
    verdict: JudgedBundle


def study_of(
    judged: Mapping[ModelName, ComparedBundle], pool: PoolFit, market: Market, config: RunConfig, *, seconds: float
) -> ThreeModels:
    """Everything that is said of them.

    Args:
        judged: the repaired model and V8, and their ensemble where both count in it.
        pool: of the first two, in this order.
        market: on which they were judged.
        config: that they were judged with.
        seconds: that it took.

    Raises:
        BundleError: logits that are not finite.
    """
    rows = market.judged_rows
    logits: dict[str, NDArray[np.floating]] = {name: one.verdict.answers.logits for name, one in judged.items()}
    for one in judged.values():
        check_finite(one.verdict.bundle, one.verdict.answers.logits)
    pairs = [pair for pair in PAIRS if set(pair) <= judged.keys()]
    row_sets = compare_models(_compared_rows(market, rows), logits, pairs, config.evaluation)
    models: dict[ModelName, ComparedModel] = {
        name: _compared(name, judged[name], market, config) for name in MODELS if name in judged
    }
    sole: ModelName | None = None if pool.sole is None else ("repaired", "v8")[pool.sole]
    return ThreeModels(
        symbol=market.symbol,
        label=label_name(market.label),
        label_meaning=label_meaning(market.label),
        origin=market.origin,
        simulated_market=market.simulated_market,
        models={str(name): model for name, model in models.items()},
        pool=pool,
        validation=_stretch(market, market.labels.splits.validation),
        test=_stretch(market, rows),
        clear_minutes=market.labels.splits.purge_minutes + market.labels.splits.embargo_minutes,
        row_sets=row_sets,
        decision=decide(
            {name: model.failed for name, model in models.items()},
            _whole(row_sets),
            titles={name: model.title for name, model in models.items()} | {"ensemble": _title("ensemble", "ensemble")},
            sole=sole,
        ),
        evaluation=config.evaluation,
        gates=config.gates,
        seconds=seconds,
    )


def _whole(row_sets: tuple[RowSetResult, ...]) -> RowSetResult:
    return next(one for one in row_sets if one.name == "test")


def _compared_rows(market: Market, rows: Rows) -> ComparedRows:
    labels = market.labels
    return ComparedRows(
        times_ms=market.times[rows],
        classes=labels.classes[rows],
        forward_return=labels.values.forward_return[rows],
        log_volatility=log_realised_volatility(market.frame, HIGH_VOLATILITY_BARS)[rows],
    )


def _compared(name: ModelName, one: ComparedBundle, market: Market, config: RunConfig) -> ComparedModel:
    bundle, judged = one.verdict.bundle, one.verdict.judged
    return ComparedModel(
        name=name,
        title=_title(name, bundle.manifest.family),
        family=bundle.manifest.family,
        bundle=bundle.hash,
        folder=str(one.folder),
        features=bundle.feature_set.name,
        temperature=bundle.predictor.temperature,
        gates=judged.gates,
        words=judged.words,
        reliability=reliability_of(
            one.verdict.answers.logits, market.labels.classes[market.judged_rows], config.evaluation
        ),
    )


def _title(name: ModelName, family: str) -> str:
    """What a model is called inside a sentence."""
    match name:
        case "repaired":
            return f"the repaired {family.removesuffix('-repaired').upper()}"
        case "v8":
            return family.upper()
        case "ensemble":
            return "the ensemble"


def _stretch(market: Market, rows: Rows) -> Stretch:
    first, last = (datetime.fromtimestamp(int(market.times[row]) / 1_000, UTC) for row in (rows[0], rows[-1]))
    return Stretch(rows=rows.size, first=first, last=last)


def check_finite(bundle: Bundle, logits: NDArray[np.floating]) -> None:
    """Refuses a model without answers.

    Raises:
        BundleError: logits that are not finite.
    """
    if not np.isfinite(logits).all():
        raise BundleError(
            f"{bundle.manifest.symbol}: bundle {bundle.hash[:12]} gives logits that are not finite, so it cannot be "
            f"compared. Train or repair it again."
        )
