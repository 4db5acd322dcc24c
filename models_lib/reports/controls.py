"""The model beside its controls: one table, and a sentence about each, for page, UI, console, summary and messages.

A control is a training that must find nothing; see models_lib.evaluation.controls.

What does not belong here: what an alarm is, and how a page or a terminal draws a table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models_lib.evaluation.controls import rule_tells
from models_lib.reports import wording
from models_lib.reports.wording import NOT_MEASURED, Say

NUMBER_COLUMNS = (
    "accuracy",
    "one-line rule",
    "lift",
    "NLL",
    "ECE",
    "right direction (a coin: 50 %)",
    "time",
)
_MODEL = "model"
_OWN_STEPS = "its own steps"
"""Where the model's time stands."""
Entries = Sequence[Mapping[str, Any]]
"""Controls as `summary.json` holds them."""


@dataclass(frozen=True)
class ControlWords:
    """What is said of one control, and whether it is an alarm."""

    text: str
    alarm: bool


@dataclass(frozen=True)
class ControlTable:
    """What a reader is shown.

    Attributes:
        rows: cells by column, the model first.
        words: of each control, in their order.
        alarms: names of the controls that found something.
        unmeasured: names of those that could not show anything: they failed, or what they are judged by has no interval.
        where: where they were trained.
    """

    rows: tuple[dict[str, str], ...]
    words: tuple[ControlWords, ...]
    alarms: tuple[str, ...]
    unmeasured: tuple[str, ...]
    where: str

    @property
    def finding(self) -> str:
        """What all controls together came to; silence is no finding."""
        said = {"CONTROL ALARM": self.alarms, "Not measured": self.unmeasured}
        return ". ".join(f"{what}: {', '.join(names)}" for what, names in said.items() if names) or (
            "No control found anything"
        )


def control_table(model: Mapping[str, Any], controls: Entries, *, unpaid: bool = False) -> ControlTable | None:
    """The table; None where no control was asked for.

    Args:
        model: figures of the model's test rows.
        controls: of the same symbol.
        unpaid: whether the model was trained on a rented machine, and these were not.
    """
    if not controls:
        return None
    rows = [_row(_MODEL, model, _OWN_STEPS)]
    rows += [_row(entry["name"], entry["metrics"] or {}, wording.duration(entry["seconds"])) for entry in controls]
    devices = {entry["device"] for entry in controls if entry["device"]}
    return ControlTable(
        rows=tuple(rows),
        words=tuple(ControlWords(control_words(entry), bool(entry["alarm"])) for entry in controls),
        alarms=tuple(entry["name"] for entry in controls if entry["alarm"]),
        unmeasured=tuple(entry["name"] for entry in controls if not (entry["alarm"] or _is_measured(entry))),
        where=f"Trained on this machine ({', '.join(sorted(devices)) or 'no training ended'})"
        + (", and not, as the model was, as a job that is paid for." if unpaid else "."),
    )


def control_words(entry: Mapping[str, Any]) -> str:
    """What one control came to, in a sentence that no reader can take for the model's verdict."""
    name, metrics = entry["name"], entry["metrics"]
    if metrics is None:
        return (
            f"control {name} came to nothing: {entry['reason']} The model's verdict does not depend on it; the next run "
            "tries it again."
        )
    if entry["alarm"]:
        return str(entry["alarm"]["words"])
    lift = _with_interval(metrics, "lift", wording.signed_points)
    if name == "shuffled":
        accuracy = _with_interval(metrics, "accuracy", wording.percent)
        return (
            f"control shuffled: learned from permuted labels, it is right in {accuracy} of the test rows. "
            + _unless_measured(metrics, "accuracy", _NO_LABEL_KNOWN if rule_tells(metrics) else _BLIND)
        )
    if metrics.get("directional_accuracy") is None:
        return "control signflip: it called no direction, so it shows nothing."
    direction = _with_interval(metrics, "directional_accuracy", wording.percent)
    return (
        f"control signflip: on random signs {direction} of its calls have the right direction. "
        + _unless_measured(metrics, "directional_accuracy", "No feature knows the future, as far as this can show.")
        + f" Its lift, {lift}, needs no knowledge of direction; as much of the model's may need none, either."
    )


_NO_LABEL_KNOWN = "No test label was known to it, as far as this can show."
_BLIND = (
    "Where the one-line rule is hardly better than the majority class, this control shows next to nothing, and did so even "
    "with all test rows among the training rows."
)


def control_lines(model: Mapping[str, Any], controls: Entries) -> list[str]:
    """The table as short lines for a message: `model: accuracy 74.1 %, one-line rule 74.5 %, ...`."""
    table = control_table(model, controls)
    if table is None:
        return []
    return [f"{row['training']}: {', '.join(f'{name} {row[name]}' for name in NUMBER_COLUMNS)}" for row in table.rows]


def control_alarm_lines(summary: Mapping[str, Any]) -> list[str]:
    """One line for each alarm of a run's controls: `BTC-USD: control signflip: ...`."""
    return [
        f"{symbol}: {entry['alarm']['words']}"
        for symbol, outcome in summary["symbols"].items()
        for entry in outcome.get("controls", ())
        if entry["alarm"]
    ]


def _row(name: str, metrics: Mapping[str, Any], time: str) -> dict[str, str]:
    figures = (
        _said(metrics, "accuracy", wording.percent),
        _said(metrics, "mechanical_rule_accuracy", wording.percent),
        _with_interval(metrics, "lift", wording.signed_points),
        _said(metrics, "nll", wording.decimal),
        _said(metrics, "ece", wording.percent),
        _with_interval(metrics, "directional_accuracy", wording.percent),
        time,
    )
    return {"training": _TITLES[name], **dict(zip(NUMBER_COLUMNS, figures, strict=True))}


_TITLES = {_MODEL: "model", "shuffled": "shuffled labels", "signflip": "flipped signs"}


_JUDGED_BY = {"shuffled": "accuracy", "signflip": "directional_accuracy"}
"""Figure of each control without whose interval it shows nothing."""


def _is_measured(entry: Mapping[str, Any]) -> bool:
    return entry["metrics"] is not None and entry["metrics"].get(f"{_JUDGED_BY[entry['name']]}_interval") is not None


def _said(metrics: Mapping[str, Any], name: str, say: Say) -> str:
    return say(metrics.get(name))


def _with_interval(metrics: Mapping[str, Any], name: str, say: Say) -> str:
    value, bounds = metrics.get(name), metrics.get(f"{name}_interval")
    if value is None:
        return NOT_MEASURED
    told = "interval not measured" if bounds is None else wording.interval((bounds[0], bounds[1]), say)
    return f"{say(value)} ({told})"


def _unless_measured(metrics: Mapping[str, Any], name: str, words: str) -> str:
    if metrics.get(f"{name}_interval") is None:
        return "There are too few test rows for an interval, so it shows nothing."
    return words
