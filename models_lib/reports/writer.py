"""Renders the page of one symbol.

The page is one file: inline style, inline SVG, no script, and a content security policy that forbids every request.
The same inputs give the same bytes.

What does not belong here: what the page says (answers.py, comparison.py, gate_lines.py) and how it looks (templates/).
"""

import re
from collections.abc import Callable, Collection
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from models_lib.reports import plots, timeline, wording
from models_lib.reports.answers import four_answers, headline
from models_lib.reports.changed_settings import changed_settings
from models_lib.reports.comparison import differences, ladder
from models_lib.reports.gate_lines import gate_lines
from models_lib.reports.inputs import ReportInputs

_LONGEST_HOLES = 10
_WORST_SHIFTS = 10


def render_report(report: ReportInputs) -> str:
    """The page as HTML text."""
    figures, data = report.figures, report.data
    page = (
        page_environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            headline=headline(report),
            answers=four_answers(report),
            blocking=gate_lines(report.gates, "blocking", report.gates_section),
            advisory=gate_lines(report.gates, "advisory", report.gates_section),
            changed=changed_settings(report.gates_section, report.evaluation_section),
            rungs=ladder(figures, report.best_possible_accuracy),
            differences=differences(figures, report.evaluation_section.costs_bp),
            charts=charts(report),
            part_stretches=timeline.part_stretches(data),
            missing_stretches=timeline.missing_stretches(data),
            longest_holes=timeline.longest_holes(data, _LONGEST_HOLES),
            worst_shifts=() if report.drift is None else report.drift.features[:_WORST_SHIFTS],
            not_measured=wording.NOT_MEASURED,
            why_training_ended=_why_training_ended(report),
            class_names=("DOWN", "NEUTRAL", "UP"),
        )
    )
    return with_kept_units(page)


def page_environment() -> jinja2.Environment:
    """The templates of this room, with the words for numbers as filters."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        decimal=wording.decimal,
        percent=wording.percent,
        number=wording.number,
        whole=wording.whole,
        duration=wording.duration,
        moment=wording.moment,
        minutes_long=wording.minutes_long,
    )
    return environment


def with_kept_units(page: str) -> str:
    """The page with a no-break space between every number and its unit."""
    return re.sub(r"(?<=\d) (?=(?:%|bp|points|min|h|s|days)(?!\w))", "\N{NO-BREAK SPACE}", page)


def _why_training_ended(report: ReportInputs) -> str:
    history = report.history
    match history.stop:
        case "max_epochs":
            return "all epochs done"
        case "patience":
            return "no better epoch for too long"
        case "gates":
            epochs = "1 epoch" if report.gate_stop_epochs == 1 else f"{report.gate_stop_epochs} consecutive epochs"
            return f"a blocking gate failed in each of {epochs}: {', '.join(history.stopped_by)}"


def charts(report: ReportInputs, wanted: Collection[str] | None = None) -> dict[str, Markup]:
    """The charts that have something to show, by name; of `wanted` only these, because drawing takes its time."""
    drawn = {name: draw(report) for name, draw in _CHARTS.items() if wanted is None or name in wanted}
    return {name: chart for name, chart in drawn.items() if chart is not None}


def _training(report: ReportInputs) -> Markup | None:
    return plots.training_curves(report.history) if report.history.epochs else None


def _reliability(report: ReportInputs) -> Markup | None:
    measured = report.reliability
    return plots.reliability_diagram(measured) if measured is not None and measured.counts.sum() > 0 else None


def _confidence(report: ReportInputs) -> Markup | None:
    if not len(report.probabilities):
        return None
    return plots.confidence_histogram(report.probabilities.max(axis=1).astype(np.float64))


def _logits(report: ReportInputs) -> Markup | None:
    if not np.isfinite(report.logits).all(axis=1).any():
        return None
    return plots.logit_histogram(report.logits.astype(np.float64), report.gates_section.logit_range.limit)


def _sweep(report: ReportInputs) -> Markup | None:
    return plots.temperature_sweep(report.temperature) if report.temperature.sweep.rows else None


def _costs(report: ReportInputs) -> Markup | None:
    return plots.paid_trainings(report.paid) if report.paid else None


_CHARTS: dict[str, Callable[[ReportInputs], Markup | None]] = {
    "training": _training,
    "reliability": _reliability,
    "confidence": _confidence,
    "logits": _logits,
    "sweep": _sweep,
    "costs": _costs,
}
