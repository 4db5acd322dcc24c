"""Renders the page of one symbol and writes it, whole or not at all.

The page is one file: inline style, inline SVG, no script, and a content security policy that forbids every request.
The same inputs give the same bytes.

What does not belong here: what the page says (answers.py, comparison.py, gate_lines.py) and how it looks (templates/).
"""

import re
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from models_lib.files import sha256_bytes, write_bytes
from models_lib.reports import plots, timeline, wording
from models_lib.reports.answers import four_answers, headline
from models_lib.reports.changed_settings import changed_settings
from models_lib.reports.comparison import differences, ladder
from models_lib.reports.gate_lines import gate_lines
from models_lib.reports.inputs import ReportInputs
from models_lib.training.history import Stop

_LONGEST_HOLES = 10
_STOP_WORDS: dict[Stop, str] = {
    "max_epochs": "all epochs done",
    "patience": "no better epoch for too long",
    "gates": "the same blocking gates failed epoch after epoch",
}


def write_report(path: Path, report: ReportInputs) -> str:
    """Writes the page to `path` and returns its SHA-256."""
    page = render_report(report).encode()
    write_bytes(path, page)
    return sha256_bytes(page)


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
            rungs=ladder(figures, report.best_possible_accuracy) if figures else (),
            differences=differences(figures, report.evaluation_section.costs_bp) if figures else (),
            charts=_charts(report),
            part_stretches=timeline.part_stretches(data) if data else (),
            missing_stretches=timeline.missing_stretches(data) if data else (),
            longest_holes=timeline.longest_holes(data, _LONGEST_HOLES) if data else (),
            not_measured=wording.NOT_MEASURED,
            stop_words=_STOP_WORDS,
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


def _charts(report: ReportInputs) -> dict[str, Markup]:
    """The charts that have something to show, by name."""
    charts: dict[str, Markup] = {}
    if report.history is not None and report.history.epochs:
        charts["training"] = plots.training_curves(report.history)
    if report.reliability is not None and report.reliability.counts.sum() > 0:
        charts["reliability"] = plots.reliability_diagram(report.reliability)
    if report.probabilities is not None and len(report.probabilities):
        charts["confidence"] = plots.confidence_histogram(report.probabilities.max(axis=1).astype(np.float64))
    if report.logits is not None and np.isfinite(report.logits).all(axis=1).any():
        charts["logits"] = plots.logit_histogram(
            report.logits.astype(np.float64), report.gates_section.logit_range.limit
        )
    if report.temperature is not None and report.temperature.sweep.rows:
        charts["sweep"] = plots.temperature_sweep(report.temperature)
    return charts
