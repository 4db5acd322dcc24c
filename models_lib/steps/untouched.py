"""The rows of a market that models of other days have not touched: what a fair comparison of them may look at.

Knowable when: the rows on which the models are joined lie after all that either was fitted on; the rows on which they
are judged lie after all that either was fitted, chosen or calibrated on.

What does not belong here: asking the models (compare.py).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from models_lib.bundle import Manifest
from models_lib.errors import DataError
from models_lib.steps.judgement import MOST
from models_lib.steps.market import Market, Rows


def untouched_market(market: Market, models: Sequence[Manifest], *, min_rows: int) -> Market:
    """The market with the training rows of all the models, validation rows that none was fitted on, test rows that none has seen.

    Its validation span lasts as long as that of the model that saw most: whoever asks what an ensemble has seen must not
    forget what its members have.

    Args:
        market: with labels; real or simulated as the models are.
        models: what they were fitted and chosen on.
        min_rows: fewest rows of each part.

    Raises:
        DataError: there are no labels, or too few such rows of a part.
    """
    labels = market.labels
    splits = labels.splits
    train = _common_train_rows(market, models)
    fitted_until = max(model.splits.fitted_until.timestamp() * 1_000 for model in models)
    validation = splits.validation[market.times[splits.validation] > fitted_until]
    test = splits.test[market.unseen(models)]
    _check_rows(market, models, {"validation": validation, "test": test}, min_rows)
    seen_until = max(int(model.splits.validation.last.timestamp() * 1_000) for model in models)
    last = max(int(market.times[validation[-1]]), seen_until)
    spans = splits.spans | {
        "train": (int(market.times[train[0]]), int(market.times[train[-1]])),
        "validation": (int(market.times[validation[0]]), last),
    }
    parts = replace(splits, train=train, validation=validation, spans=spans)
    return replace(market, labelled=replace(labels, splits=parts)).judged_on(test)


def _common_train_rows(market: Market, models: Sequence[Manifest]) -> Rows:
    """Rows that every model was trained on: their scalers are held against them, and rules and envelope fitted on them."""
    rows = market.trained_on(models[0])
    for model in models[1:]:
        rows = np.intersect1d(rows, market.trained_on(model), assume_unique=True)
    needed = MOST * max(model.splits.train.rows for model in models)
    if rows.size < needed:
        first = min(model.splits.train.first for model in models)
        raise DataError(
            f"{market.symbol} ({market.origin}): the candles have {rows.size:,} of the rows that both models were trained "
            f"on (at least {needed:,.0f} needed to measure whether their scalers fit). Give candles that begin at least a "
            f"day before {first:%Y-%m-%dT%H:%MZ}, and models of about the same time."
        )
    return rows


def _check_rows(market: Market, models: Sequence[Manifest], parts: dict[str, Rows], min_rows: int) -> None:
    ends = {
        "validation": ("training", max(model.splits.train.last for model in models)),
        "test": ("validation", max(model.splits.validation.last for model in models)),
    }
    for name, rows in parts.items():
        if rows.size < min_rows:
            part, end = ends[name]
            raise DataError(
                f"{market.symbol} ({market.origin}): {rows.size:,} {name} rows lie after the end of both models' {part}, "
                f"{end:%Y-%m-%dT%H:%MZ} (at least {min_rows:,} needed). Give newer candles, or models that were trained "
                f"on earlier ones."
            )
