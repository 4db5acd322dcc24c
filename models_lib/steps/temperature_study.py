"""What other temperatures would do to a bundle, measured on labelled candles; the bundle is read, never changed.

The label is the bundle's own: its definition and its threshold come from the manifest. So are the target, the limit of
the calibration error and its bins: they come from the run that judged the bundle, where that is known. Rows after the
validation end are out of sample and are used alone where there are enough of them; otherwise the study says that they
are not.

What does not belong here: the words and the page (models_lib.reports.temperature_study).
"""

import math
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError

from models_lib.bundle import Bundle, load_bundle
from models_lib.calibration import LARGEST_INVERSE, SMALLEST_INVERSE, fit_temperature, sweep_temperatures
from models_lib.candles.schema import epoch_ms
from models_lib.candles.sources import ParquetSource, load_candles
from models_lib.config import DataSection, EvaluationSection, GatesSection, TemperatureSection
from models_lib.errors import BundleError, ConfigError, DataError
from models_lib.labels import UNKNOWN, label_classes, label_values
from models_lib.legacy.repair import LARGEST_TEMPERATURE
from models_lib.reports.temperature_study import StudiedRows, TemperatureStudy, render_study
from models_lib.steps.report import label_name
from models_lib.steps.written import write_table_and_page

MIN_UNSEEN_ROWS = 500
"""Fewer rows after the validation end say too little alone; the same number as the smallest part of a split."""

SomeSection = TypeVar("SomeSection", EvaluationSection, GatesSection, TemperatureSection)
WhichRows = Literal["unseen", "all"]
Rows = NDArray[np.int64]


def parse_temperatures(text: str) -> tuple[float, ...]:
    """The distinct temperatures in `1,1.5,2`, in ascending order.

    Raises:
        ConfigError: not numbers above 0.
    """
    try:
        values = {float(part) for part in text.split(",")}
    except ValueError:
        values = set()
    if not values or not all(math.isfinite(value) and value > 0.0 for value in values):
        raise ConfigError(f"--values {text!r}: must be numbers above 0 with commas between them, such as 0.5,1,2.")
    return tuple(sorted(values))


def study_temperature(
    bundle_folder: Path, candles: Path, *, values: tuple[float, ...] | None, which: WhichRows, now: datetime
) -> TemperatureStudy:
    """The sweep over the bundle's raw logits, its own temperature and the one of the lowest NLL on the same rows.

    Args:
        bundle_folder: a complete bundle.
        candles: folder with <SYMBOL>.parquet.
        values: temperatures of the table; None takes the default sweep.
        which: unseen takes the rows after the bundle's validation end alone, where there are MIN_UNSEEN_ROWS of them.
        now: aware; the age of the newest bar is held against it.

    Raises:
        ConfigError: no such folder.
        BundleError: the bundle is not sound, or gives logits that are not finite.
        DataError: the candles are missing or break a rule, or no row has features and a label.
    """
    bundle = load_bundle(bundle_folder)
    symbol, label = bundle.manifest.symbol, bundle.manifest.label
    source = ParquetSource(candles)
    frame, _ = load_candles(source, symbol, DataSection(source="parquet", path=candles), now=now)
    matrix = bundle.features(frame)
    classes = label_classes(label_values(frame, label.section), label.section, label.threshold)
    labelled = np.flatnonzero(~np.isnan(matrix).any(axis=1) & (classes != UNKNOWN))
    if labelled.size == 0:
        raise DataError(
            f"{symbol} ({source.origin(symbol)}): none of {len(frame):,} rows has features and a label (at least 1 "
            f"needed); features need {bundle.manifest.features.warm_up_bars:,} minutes without a hole before it. "
            f"Fetch a longer window."
        )
    chosen, rows = _choose_rows(frame, labelled, bundle, which)
    raw_logits = bundle.predictor.raw_logits(matrix[chosen])
    if not np.isfinite(raw_logits).all():
        raise BundleError(
            f"{symbol}: bundle {bundle.hash[:12]} gives logits that are not finite. Train the model again."
        )
    return _measure(
        bundle,
        rows,
        raw_logits=raw_logits,
        classes=classes[chosen],
        values=values,
        origin=source.origin(symbol),
    )


def _measure(
    bundle: Bundle,
    rows: StudiedRows,
    *,
    raw_logits: NDArray[np.float32],
    classes: NDArray[np.int8],
    values: tuple[float, ...] | None,
    origin: str,
) -> TemperatureStudy:
    target = _section_of_run(bundle, "temperature", TemperatureSection)
    section = target.model_copy(update={"sweep": TemperatureSection().sweep if values is None else values})
    ece_limit = _section_of_run(bundle, "gates", GatesSection).calibration_error.limit
    bins = _section_of_run(bundle, "evaluation", EvaluationSection).ece_bins
    sweep = sweep_temperatures(raw_logits, classes, section, ece_limit=ece_limit, bins=bins)
    largest = LARGEST_TEMPERATURE if bundle.manifest.holds_old_network else 1.0 / SMALLEST_INVERSE
    fit = fit_temperature(raw_logits, classes, between=(1.0 / LARGEST_INVERSE, largest))
    marked = TemperatureSection(sweep=(bundle.predictor.temperature, fit.temperature))
    own, lowest = sweep_temperatures(raw_logits, classes, marked, ece_limit=ece_limit, bins=bins).rows
    return TemperatureStudy(
        symbol=bundle.manifest.symbol,
        bundle=bundle.hash,
        label=label_name(bundle.manifest.label.section),
        origin=origin,
        rows=rows,
        sweep=sweep,
        own=own,
        lowest=lowest,
        fit=fit,
        section=section,
        ece_limit=ece_limit,
        bins=bins,
        raw_logits=raw_logits,
        classes=classes,
    )


def _section_of_run(bundle: Bundle, name: str, kind: type[SomeSection]) -> SomeSection:
    """That part of the configuration of the run that judged the bundle; the shipped one where it is not known.

    A bundle without facts has none, and the facts of another version of this code may hold what this one cannot read.
    """
    known = bundle.facts.config.get(name) if bundle.facts else None
    try:
        return kind() if known is None else kind.model_validate(known)
    except ValidationError:
        return kind()


def _choose_rows(frame: pd.DataFrame, labelled: Rows, bundle: Bundle, which: WhichRows) -> tuple[Rows, StudiedRows]:
    splits = bundle.manifest.splits
    after = labelled[epoch_ms(frame)[labelled] > splits.seen_until.timestamp() * 1_000]
    chosen = after if which == "unseen" and after.size >= MIN_UNSEEN_ROWS else labelled
    times = frame["timestamp"].iloc[[chosen[0], chosen[-1]]]
    return chosen, StudiedRows(
        used=chosen.size,
        before=labelled.size - after.size,
        after=after.size,
        first=times.iloc[0].to_pydatetime(),
        last=times.iloc[1].to_pydatetime(),
        validation_end=splits.validation.last,
        min_after=MIN_UNSEEN_ROWS,
        old_network=bundle.manifest.holds_old_network,
    )


def write_study(study: TemperatureStudy, folder: Path) -> tuple[Path, Path]:
    """Writes the table as JSON and the page with the plots into `folder`; returns both paths.

    Raises:
        ConfigError: the folder cannot be written.
    """
    return write_table_and_page(folder, "temperature", table=study.to_json(), page=render_study(study))
