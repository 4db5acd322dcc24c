"""Labels and splits of one symbol: classes, known part, forward return, and which rows belong to which part."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models_lib.candles.schema import epoch_ms, segment_starts
from models_lib.config import LabelSection, SplitsSection
from models_lib.features import WARM_UP_BARS
from models_lib.files import whole_file, write_json
from models_lib.labels import LabelValues, fit_threshold, label_classes, label_values
from models_lib.splits import Splits, split_rows
from models_lib.steps.candles import read_candles
from models_lib.steps.refs import CandlesRef, FileRef, LabelsRef


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """What the labels file holds; every array but the row lists is [N].

    Attributes:
        classes: int8, 0 DOWN, 1 NEUTRAL, 2 UP, -1 unknown.
        known_part: float64, g, known at the row's close.
        forward_return: float64, log return over the horizon from the current close; NaN where unknown.
        train: int64 row numbers.
        validation: int64 row numbers.
        test: int64 row numbers.
    """

    classes: NDArray[np.int8]
    known_part: NDArray[np.float64]
    forward_return: NDArray[np.float64]
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def rows_with_features(times: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Bool [N]: False in the warm-up rows at the start of each segment."""
    starts = segment_starts(times)
    row = np.arange(times.size)
    row_in_segment = row - starts[np.searchsorted(starts, row, side="right") - 1]
    warm: NDArray[np.bool_] = row_in_segment >= WARM_UP_BARS
    return warm


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """A frame of N candles with what is asked of each row.

    Attributes:
        values: the label before its threshold.
        splits: train, validation and test rows.
        threshold: of NEUTRAL, fitted on the training rows only.
        classes: int8 [N], -1 unknown.
    """

    values: LabelValues
    splits: Splits
    threshold: float
    classes: NDArray[np.int8]


def label_frame(frame: pd.DataFrame, label: LabelSection, splits: SplitsSection, *, symbol: str) -> LabelledFrame:
    """Labels of every row, and the purged splits of those whose features and label are known.

    Raises:
        DataError: too few usable rows for a part.
    """
    times = epoch_ms(frame)
    values = label_values(frame, label)
    usable = rows_with_features(times) & np.isfinite(values.value) & np.isfinite(values.forward_return)
    parts = split_rows(
        times,
        usable,
        splits,
        span_minutes=values.span_minutes,
        embargo_minutes=values.lookback_minutes,
        symbol=symbol,
    )
    threshold = fit_threshold(values, label, parts.train)
    return LabelledFrame(values, parts, threshold, label_classes(values, label, threshold))


def label_rows(candles: CandlesRef, label: LabelSection, splits: SplitsSection, folder: Path) -> LabelsRef:
    """Labels of every row, with the threshold fitted on the training rows only, and the purged splits.

    Raises:
        DataError: too few usable rows for a part.
    """
    labelled = label_frame(read_candles(candles), label, splits, symbol=candles.symbol)
    values, parts = labelled.values, labelled.splits
    arrays = folder / "labels.safetensors"
    with whole_file(arrays) as fresh:
        save_file(
            {
                "classes": labelled.classes,
                "known_part": values.known_part,
                "forward_return": values.forward_return,
                "train": parts.train,
                "validation": parts.validation,
                "test": parts.test,
            },
            fresh,
        )
    facts = folder / "labels.json"
    write_json(facts, {**parts.to_json(), "threshold": labelled.threshold, "span_minutes": values.span_minutes})
    return LabelsRef(
        arrays=FileRef.of(arrays),
        facts=FileRef.of(facts),
        train_rows=int(parts.train.size),
        validation_rows=int(parts.validation.size),
        test_rows=int(parts.test.size),
    )


def read_labels(ref: LabelsRef) -> LabelledRows:
    """The labels that `ref` names."""
    return LabelledRows(**load_file(ref.arrays.checked()))


def read_labelled_frame(ref: LabelsRef, frame: pd.DataFrame, label: LabelSection) -> LabelledFrame:
    """What `label_frame` gave for these candles, from the files that `ref` names."""
    rows, facts = read_labels(ref), json.loads(ref.facts.checked().read_text())
    splits = Splits(
        train=rows.train,
        validation=rows.validation,
        test=rows.test,
        spans={part: (span[0], span[1]) for part, span in facts["spans"].items()},
        purge_minutes=facts["purge_minutes"],
        embargo_minutes=facts["embargo_minutes"],
    )
    return LabelledFrame(label_values(frame, label), splits, facts["threshold"], rows.classes)
