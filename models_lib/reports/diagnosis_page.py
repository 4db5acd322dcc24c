"""The page of a diagnosis: one self-contained file in the style of a run's report.

What does not belong here: what is said (diagnosis.py).
"""

import numpy as np
from markupsafe import Markup

from models_lib.calibration import softmax
from models_lib.reports import plots, wording
from models_lib.reports.diagnosis import ROWS, Diagnosis
from models_lib.reports.writer import page_environment, with_kept_units

_SHOWN_FEATURES = 12


def render_diagnosis(diagnosis: Diagnosis) -> str:
    """The diagnosis as HTML text; the same values give the same bytes."""
    header, outputs = diagnosis.output_table()
    worst = diagnosis.examined.layer.worst()
    page = (
        page_environment()
        .get_template("diagnosis.html.j2")
        .render(
            diagnosis=diagnosis,
            blocking=diagnosis.gate_lines("blocking"),
            advisory=diagnosis.gate_lines("advisory"),
            header=header,
            outputs=outputs,
            figures=diagnosis.figure_lines(),
            charts=_charts(diagnosis),
            worst=worst[:_SHOWN_FEATURES],
            others=worst[_SHOWN_FEATURES:],
            number=wording.number,
            not_measured=wording.NOT_MEASURED,
        )
    )
    return with_kept_units(page)


def _charts(diagnosis: Diagnosis) -> dict[str, Markup]:
    """The charts that have something to show, by name."""
    charts: dict[str, Markup] = {}
    logits = diagnosis.logits[np.isfinite(diagnosis.logits).all(axis=1)].astype(np.float64)
    if len(logits):
        charts["logits"] = plots.logit_histogram(logits, diagnosis.gates_section.logit_range.limit, ROWS)
        charts["confidence"] = plots.confidence_histogram(softmax(logits).max(axis=1), ROWS)
    if diagnosis.reliability is not None:
        charts["reliability"] = plots.reliability_diagram(diagnosis.reliability)
    worst = [
        feature
        for feature in diagnosis.examined.layer.worst()[:_SHOWN_FEATURES]
        if 0.0 < feature.largest_activation < np.inf
    ]
    if worst:
        names = [f"{feature.number} {feature.name}" for feature in worst]
        charts["layer"] = plots.first_layer_bars(names, [feature.largest_activation for feature in worst])
    return charts
