"""Renders the page of one symbol.

The page is one file: inline style, inline SVG, no script, and a content security policy that forbids every request.
The same inputs give the same bytes.

What does not belong here: what the page says (answers.py, comparison.py, gate_lines.py) and how it looks (templates/).
"""

import re
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


def charts(report: ReportInputs) -> dict[str, Markup]:
    """The charts that have something to show, by name."""
    drawn: dict[str, Markup] = {}
    if report.history.epochs:
        drawn["training"] = plots.training_curves(report.history)
    if report.reliability is not None and report.reliability.counts.sum() > 0:
        drawn["reliability"] = plots.reliability_diagram(report.reliability)
    if len(report.probabilities):
        drawn["confidence"] = plots.confidence_histogram(report.probabilities.max(axis=1).astype(np.float64))
    if np.isfinite(report.logits).all(axis=1).any():
        drawn["logits"] = plots.logit_histogram(
            report.logits.astype(np.float64), report.gates_section.logit_range.limit
        )
    if report.temperature.sweep.rows:
        drawn["sweep"] = plots.temperature_sweep(report.temperature)
    return drawn
