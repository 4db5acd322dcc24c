"""What the configuration changed against the shipped one about how a model is judged: gates, and how figures are measured.

A verdict under moved limits, other costs or other intervals is another verdict, so the page and `summary.md` say so.

What does not belong here: settings that make another model (recipe, data, label), and judging the changes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from models_lib.config import EvaluationSection, GatesSection


@dataclass(frozen=True)
class ChangedSetting:
    """One setting in force that differs from the shipped one."""

    name: str
    """Dotted, as `--set` takes it, or the last part alone where the reader knows the rest."""
    value: str
    shipped: str

    def __str__(self) -> str:
        return f"{self.name} {self.value}, shipped {self.shipped}"


def changed_settings(gates: GatesSection, evaluation: EvaluationSection) -> tuple[ChangedSetting, ...]:
    """Every limit, severity and way of measuring that differs, with its dotted name; seeds and controls change no meaning."""
    moved = [
        change
        for gate in GatesSection.model_fields
        for change in _changes(getattr(gates, gate), getattr(GatesSection(), gate), f"gates.{gate}.")
    ]
    measured = _changes(evaluation, EvaluationSection(), "evaluation.")
    return (*moved, *(change for change in measured if not change.name.endswith(("_seed", ".controls"))))


def changes_of_gate(name: str, gates: GatesSection) -> tuple[ChangedSetting, ...]:
    """What differs about one gate, as `limit`; nothing for a name that is no gate of the configuration."""
    if name not in GatesSection.model_fields:
        return ()
    return tuple(_changes(getattr(gates, name), getattr(GatesSection(), name)))


def _changes(chosen: BaseModel, shipped: BaseModel, prefix: str = "") -> Iterator[ChangedSetting]:
    before = shipped.model_dump()
    for name, value in chosen.model_dump().items():
        if value != before[name]:
            yield ChangedSetting(f"{prefix}{name}", _said(value), _said(before[name]))


def _said(value: object) -> str:
    """Every digit that tells two settings apart: `0.4`, `10`, `advisory`."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
