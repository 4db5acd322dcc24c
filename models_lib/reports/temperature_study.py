"""The words, the table and the page of a temperature study: what other temperatures would do to one bundle.

What does not belong here: measuring (models_lib.steps.temperature_study).
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from models_lib.calibration import SweepRow, TemperatureFit, TemperatureSweep, softmax
from models_lib.config import TemperatureSection
from models_lib.evaluation.metrics import reliability_bins
from models_lib.reports import plots, wording
from models_lib.reports.inputs import Temperature
from models_lib.reports.writer import page_environment, with_kept_units

_ROWS = "rows studied"


@dataclass(frozen=True, kw_only=True)
class StudiedRows:
    """Which labelled rows were used, and how they lie to the bundle's own."""

    used: int
    before: int
    """Labelled rows of the candles that are not out of sample: up to the validation end and what its labels reach."""
    after: int
    """Labelled rows of the candles that are out of sample."""
    first: datetime
    """Open time of the first row used, aware, UTC."""
    last: datetime
    """Open time of the last row used, aware, UTC."""
    validation_end: datetime
    """Open time of the last row on which the bundle was chosen and calibrated, aware, UTC."""
    min_after: int
    """Fewest rows out of sample that are used alone."""
    old_network: bool = False
    """Whether the bundle holds a network of a file, whose own training rows nobody knows."""

    @property
    def out_of_sample(self) -> bool | None:
        """Whether the bundle saw none of the rows used; None where it holds a network that names no training rows."""
        if self.used != self.after:
            return False
        return None if self.old_network else True

    def sentence(self) -> str:
        """On which rows the study was made, and what that means."""
        span = f"{self.used:,} rows, {wording.moment(self.first)} to {wording.moment(self.last)}"
        end = f"the bundle's validation end ({wording.moment(self.validation_end)})"
        if self.used == self.after:
            left_out = f" {self.before:,} rows before it were left out." if self.before else " No row lies before it."
            if self.old_network:
                return f"Measured on {span}: after {end}.{left_out} {wording.OLD_NETWORK}"
            return f"Measured on {span}: after {end}, so out of sample.{left_out}"
        share = wording.percent(self.before / self.used)
        why = f" Only {self.after:,} lie after it (at least {self.min_after:,} would be used alone)."
        return (
            f"Measured on {span}: {self.before:,} of them ({share}) lie before {end}, so they are NOT out of sample."
            + (why if self.after < self.min_after else "")
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        times = {name: getattr(self, name).isoformat() for name in ("first", "last", "validation_end")}
        return {
            "used": self.used,
            "before_validation_end": self.before,
            "after_validation_end": self.after,
            "out_of_sample": self.out_of_sample,
            **times,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class TemperatureStudy:
    """One bundle's raw logits on labelled candles, and what each temperature makes of them."""

    symbol: str
    bundle: str
    """Hash."""
    label: str
    """Short name of the label with its numbers."""
    origin: str
    """Where the candles came from."""
    rows: StudiedRows
    sweep: TemperatureSweep
    """Over the temperatures that were asked for."""
    own: SweepRow
    """At the bundle's temperature."""
    lowest: SweepRow
    """At the temperature of the lowest NLL on these rows."""
    fit: TemperatureFit
    section: TemperatureSection
    ece_limit: float
    bins: int
    raw_logits: NDArray[np.float32]
    """[used, 3], before any temperature."""
    classes: NDArray[np.int8]
    """[used], 0..2."""

    def title(self) -> str:
        """What was studied."""
        return f"{self.symbol}, bundle {self.bundle[:12]}, label {self.label}, candles {self.origin}"

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and cells: the temperatures that were asked for, the bundle's own and the one of the lowest NLL."""
        header = ("T", "mean confidence", "share > 0.9", "share > 0.99", "ECE", "NLL", "")
        lines = {line.temperature: line for line in (self.own, self.lowest, *self.sweep.rows)}
        return header, [self._cells(lines[temperature]) for temperature in sorted(lines)]

    def _cells(self, line: SweepRow) -> tuple[str, ...]:
        remarks = {
            "the bundle's own": self.own.temperature,
            "lowest NLL": self.lowest.temperature,
            "meets the target": self.sweep.chosen,
        }
        return (
            f"{line.temperature:.4g}",
            wording.percent(line.mean_confidence),
            wording.percent(line.share_over_90),
            wording.percent(line.share_over_99),
            wording.percent(line.ece),
            wording.decimal(line.nll, 4),
            ", ".join(words for words, temperature in remarks.items() if temperature == line.temperature),
        )

    def sentences(self) -> tuple[str, ...]:
        """Which temperature meets the target, and the bundle's own beside the one of the lowest NLL."""
        bound = " That is the end of the range that is searched: these logits say nothing." if self.fit.at_bound else ""
        kept = f"The bundle keeps its own T = {self.own.temperature:.4g} (NLL {self.own.nll:.4f} on these rows)"
        best = f"their lowest NLL, {self.lowest.nll:.4f}, is at T = {self.lowest.temperature:.4g}"
        return self.sweep.reason, f"{kept}; {best}.{bound}"

    def to_json(self) -> dict[str, Any]:
        """Plain values: rows, table, both temperatures, target."""
        return {
            "symbol": self.symbol,
            "bundle": self.bundle,
            "label": self.label,
            "candles": self.origin,
            "rows": self.rows.to_json(),
            "table": [asdict(line) for line in self.sweep.rows],
            "own": asdict(self.own),
            "lowest_nll": {**asdict(self.lowest), "at_bound": self.fit.at_bound},
            "target": {
                "low": self.section.target_low,
                "high": self.section.target_high,
                "ece_limit": self.ece_limit,
                "ece_bins": self.bins,
                "temperature": self.sweep.chosen,
                "reason": self.sweep.reason,
            },
        }


def render_study(study: TemperatureStudy) -> str:
    """The study as one self-contained HTML page."""
    swept = Temperature(
        fitted=study.own.temperature,
        learned=None,
        sweep=study.sweep,
        target_low=study.section.target_low,
        target_high=study.section.target_high,
        ece_limit=study.ece_limit,
    )
    header, cells = study.table()
    page = (
        page_environment()
        .get_template("temperature.html.j2")
        .render(
            study=study,
            header=header,
            lines=cells,
            sweep=plots.temperature_sweep(swept, _ROWS),
            distributions=_distributions(study),
        )
    )
    return with_kept_units(page)


def _distributions(study: TemperatureStudy) -> list[dict[str, str | Markup]]:
    """Confidence and reliability at the bundle's temperature, at the lowest NLL and at the one that meets the target."""
    named = {study.own.temperature: "the bundle's own", study.lowest.temperature: "lowest NLL on these rows"}
    if study.sweep.chosen is not None:
        named.setdefault(study.sweep.chosen, "meets the target")
    charts: list[dict[str, str | Markup]] = []
    for temperature, words in named.items():
        probabilities = softmax(study.raw_logits, temperature)
        confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == study.classes
        charts.append(
            {
                "title": f"T = {temperature:.4g}, {words}",
                "confidence": plots.confidence_histogram(confidence, _ROWS),
                "reliability": plots.reliability_diagram(reliability_bins(confidence, correct, bins=study.bins)),
            }
        )
    return charts
