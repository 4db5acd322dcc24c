"""The gate table's lines: each gate in plain words, its value and limit in the unit that a person thinks in.

What does not belong here: judging. Whether a gate passed was decided where it was measured.
"""

import re
from dataclasses import dataclass

from models_lib.config import GatesSection
from models_lib.reports import wording
from models_lib.reports.changed_settings import changes_of_gate
from models_lib.reports.inputs import Bounds, GateRow
from models_lib.reports.wording import Say


@dataclass(frozen=True)
class GateLine:
    """One line of the table, ready to be shown."""

    name: str
    meaning: str
    passed: bool
    measured: bool
    value: str
    limit: str
    split: str
    remarks: tuple[str, ...]


_NATS: Say = wording.signed
_SHAPES: dict[str, tuple[str, str, Say]] = {
    "scaler_present": ("the saved file holds its input scaler; smallest scale", "above ", wording.number),
    "feature_normalisation": (
        "scaled features have mean 0 and deviation 1; the worst distance",
        "below ",
        wording.number,
    ),
    "logit_range": ("largest logit in size", "below ", wording.number),
    "overconfidence": ("predictions that are more than 99 % sure", "below ", wording.percent),
    "class_balance": ("smallest and largest share that a class takes of the predictions", "", wording.percent),
    "finite": ("no NaN or infinity in features, logits, probabilities, weights; how many", "exactly ", wording.number),
    "calibration_error": ("distance between confidence and what came true (ECE)", "below ", wording.percent),
    "accuracy": ("share of right predictions; comparable only for the same label", "at least ", wording.percent),
    "beats_mechanical_rule": ("NLL gained on the calibrated one-line rule; low end of its interval", "above ", _NATS),
    "beats_driftless_rule": ("NLL gained on what volatility alone can say; low end of its interval", "above ", _NATS),
    "not_worse_than_champion": (
        "NLL gained on the champion on later rows; high end of its interval",
        "at least ",
        _NATS,
    ),
    "confidence_band": ("mean confidence", "", wording.percent),
    "edge_after_costs": ("mean return of its calls after costs", "above ", wording.basis_points),
    "feature_drift": (
        "newest week against training (PSI) of the worst feature; its own limit",
        "at most ",
        wording.number,
    ),
}


def gate_lines(gates: tuple[GateRow, ...], severity: str, section: GatesSection) -> tuple[GateLine, ...]:
    """The lines of one severity, failed ones first."""
    rows = [gate for gate in gates if gate.severity == severity]
    return tuple(_line(gate, section) for gate in sorted(rows, key=lambda gate: gate.passed))


def moved_limits(name: str, section: GatesSection) -> str:
    """What the configuration changed about a gate against the shipped one; empty where nothing."""
    changes = changes_of_gate(name, section)
    return f"Changed by the configuration: {'; '.join(map(str, changes))}." if changes else ""


def _line(gate: GateRow, section: GatesSection) -> GateLine:
    meaning, comparison, say = _SHAPES.get(gate.name, ("", "", wording.number))
    limit = "" if gate.limit is None else f"{comparison}{_round(_said(gate.limit, say))}"
    remarks = tuple(
        remark for remark in (gate.note, moved_limits(gate.name, section)) if remark and remark != wording.NOT_MEASURED
    )
    return GateLine(
        name=gate.name,
        meaning=meaning,
        passed=gate.passed,
        measured=gate.value is not None,
        value=_said(gate.value, say),
        limit=limit,
        split=gate.split.replace("_", " "),
        remarks=remarks,
    )


def _round(said: str) -> str:
    """Limits are round numbers: `10 %` instead of `10.0 %`, `0` instead of `+0.0000`."""
    return re.sub(r"\+?(\d+)\.0+(?=\D|$)", r"\1", said)


def _said(value: float | bool | Bounds | None, say: Say) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return say(value[0]) if value[0] == value[1] else wording.interval(value, say)
    return say(value)
