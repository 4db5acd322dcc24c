"""The candles of one symbol with all that a model is asked and held against: labels, splits, and features of any set.

One market serves every model that is judged on it, so that all of them see the same rows: in a run the candidate and the
champion, outside of runs whatever is diagnosed, repaired or compared.

What does not belong here: models and their answers (judgement.py).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models_lib.bundle import EnvelopeFacts, LabelFacts, Manifest, Span, SplitFacts
from models_lib.bundle.kinds import MarketFacts
from models_lib.candles.planted import best_possible_accuracy
from models_lib.candles.schema import epoch_ms
from models_lib.candles.simulated import MarketKind
from models_lib.candles.sources import CandleSource
from models_lib.config import LabelSection, RunConfig
from models_lib.envelope import fit_envelope
from models_lib.errors import DataError
from models_lib.features import CURRENT, FeatureSet, compute_features
from models_lib.steps.candles import checked_candles, read_candles
from models_lib.steps.features import map_features
from models_lib.steps.labels import LabelledFrame, label_frame, read_labelled_frame, rows_with_features
from models_lib.steps.refs import Prepared

Matrix = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Market:
    """N candles of one symbol, and what is asked of each.

    Attributes:
        symbol: whose candles.
        frame: checked and filled.
        times: int64 [N], open times in ms since 1970 UTC.
        label: what a model is asked.
        labelled: labels, threshold and splits; None where there are too few rows for them.
        unlabelled_because: why there are none; empty where there are.
        simulated_market: kind of the simulated market; None: real candles.
        report: what the checks of the candles found, with `origin` and `data_hash`.
    """

    symbol: str
    frame: pd.DataFrame
    times: Rows
    label: LabelSection
    labelled: LabelledFrame | None
    unlabelled_because: str = ""
    simulated_market: MarketKind | None
    report: Mapping[str, Any]
    _matrices: dict[tuple[str, ...], Matrix] = field(default_factory=dict, repr=False)

    @property
    def origin(self) -> str:
        """Where the candles come from."""
        return str(self.report["origin"])

    @property
    def data_hash(self) -> str:
        """SHA-256 of the filled candles."""
        return str(self.report["data_hash"])

    @property
    def labels(self) -> LabelledFrame:
        """The labels, for those who can do nothing without them.

        Raises:
            DataError: there are none.
        """
        if self.labelled is None:
            raise DataError(self.unlabelled_because)
        return self.labelled

    @property
    def judged_rows(self) -> Rows:
        """The rows that models answer on: the test rows; without labels every row with features."""
        if self.labelled is not None:
            return self.labelled.splits.test
        return np.flatnonzero(rows_with_features(self.times)).astype(np.int64)

    def matrix(self, features: FeatureSet) -> Matrix:
        """Features of every row, float32 [N, F], NaN in the warm-up rows; computed once a set and shared."""
        if features.names not in self._matrices:
            self._matrices[features.names] = compute_features(self.frame, features=features)
        return self._matrices[features.names]

    def judged_on(self, rows: Rows) -> "Market":
        """The same market, on which only these of its test rows are judged; matrices are shared.

        Raises:
            DataError: there are no labels, or no rows are left.
        """
        labelled = self.labels
        if not rows.size:
            raise DataError(f"{self.symbol}: no test row is left to be judged (at least 1 needed). Give newer candles.")
        spans = labelled.splits.spans | {"test": (int(self.times[rows[0]]), int(self.times[rows[-1]]))}
        return replace(self, labelled=replace(labelled, splits=replace(labelled.splits, test=rows, spans=spans)))

    def unseen(self, models: Sequence[Manifest]) -> NDArray[np.bool_]:
        """Bool [n_judged]: the judged rows whose labels share no bar with what any of the models was fitted or chosen on.

        An ensemble was fitted on what its members were fitted on, too. A model of another market (simulated where this
        one is real, or the other way round) shares no bar with it, whatever the dates of both.
        """
        times = self.times[self.judged_rows]
        after = np.ones(times.size, dtype=np.bool_)
        parts = [part for model in models for part in (model, *(member.manifest for member in model.members))]
        for model in parts:
            if (model.simulated_market is None) == (self.simulated_market is None):
                after &= times > model.splits.seen_until.timestamp() * 1_000
        return after

    def trained_on(self, model: Manifest) -> Rows:
        """The rows of this market that the model was trained on; none of another market, whatever the dates of both."""
        values, span = self.labels.values, model.splits.train
        if (model.simulated_market is None) != (self.simulated_market is None):
            return np.empty(0, dtype=np.int64)
        first, last = (moment.timestamp() * 1_000 for moment in (span.first, span.last))
        inside = (self.times >= first) & (self.times <= last)
        usable = rows_with_features(self.times) & np.isfinite(values.value) & np.isfinite(values.forward_return)
        return np.flatnonzero(inside & usable).astype(np.int64)

    def facts(self, features: FeatureSet, config: RunConfig) -> MarketFacts:
        """What a bundle that was fitted on this market says of it.

        Args:
            features: of the bundle.
            config: how the rows were split, and how long a bundle is valid.

        Raises:
            DataError: there are no labels.
        """
        labels = self.labels
        splits = labels.splits
        spans = {name: Span.of_ms(*span, getattr(splits, name).size) for name, span in splits.spans.items()}
        return MarketFacts(
            symbol=self.symbol,
            label=LabelFacts(section=self.label, threshold=labels.threshold, span_minutes=labels.values.span_minutes),
            splits=SplitFacts(
                section=config.splits,
                purge_minutes=splits.purge_minutes,
                embargo_minutes=splits.embargo_minutes,
                **spans,
            ),
            envelope=EnvelopeFacts.of(fit_envelope(self.matrix(features), splits.train)),
            data_hash=self.data_hash,
            simulated_market=self.simulated_market,
            valid_days=config.bundle.valid_days,
        )

    def best_possible_accuracy(self) -> float | None:
        """What a model that knew the planted market's rule would reach on the judged rows; None on every other market."""
        if self.simulated_market != "planted" or self.labelled is None:
            return None
        return best_possible_accuracy(
            self.frame, label=self.label, threshold=self.labelled.threshold, rows=self.judged_rows
        )


def with_candles(config: RunConfig, folder: Path) -> RunConfig:
    """The configuration with the candles of this folder, whatever its own source is."""
    data = config.data.model_copy(update={"source": "parquet", "path": folder, "uri": None})
    return config.model_copy(update={"data": data})


def open_market(symbol: str, config: RunConfig, *, source: CandleSource, now: datetime) -> Market:
    """The market of these candles. With too few rows for labels and splits it comes without them, and says so.

    Args:
        symbol: which.
        config: the rules of the candles, the label and the splits.
        source: where the candles come from.
        now: aware; the age of the newest bar is held against it.

    Raises:
        DataError: the candles are missing or break a rule.
    """
    frame, report = checked_candles(symbol, config.data, source=source, now=now)
    labelled, reason = None, ""
    try:
        labelled = label_frame(frame, config.label, config.splits, symbol=symbol)
    except DataError as error:
        reason = str(error)
    return Market(
        symbol=symbol,
        frame=frame,
        times=epoch_ms(frame),
        label=config.label,
        labelled=labelled,
        unlabelled_because=reason,
        simulated_market=config.data.simulated_market,
        report=report,
    )


def market_of_run(config: RunConfig, prepared: Prepared) -> Market:
    """The market that a run has prepared, from its files; the feature matrix stays mapped.

    Raises:
        DataError: a file of an earlier step is gone or changed.
    """
    frame = read_candles(prepared.candles)
    return Market(
        symbol=prepared.symbol,
        frame=frame,
        times=epoch_ms(frame),
        label=config.label,
        labelled=read_labelled_frame(prepared.labels, frame, config.label),
        simulated_market=config.data.simulated_market,
        report=json.loads(prepared.candles.report.checked().read_text()),
        _matrices={CURRENT.names: map_features(prepared.features)},
    )
