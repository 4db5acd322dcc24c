"""The words, the table and the page of a repair: what a network answered before, and what it answers mended.

One value says it all: the table, the JSON and the page are three ways to show it.

What does not belong here: measuring (models_lib.steps.repair).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from models_lib.calibration import TemperatureSweep
from models_lib.config import GatesSection, TemperatureSection
from models_lib.evaluation.gates import GateResult
from models_lib.evaluation.metrics import ClassificationMetrics
from models_lib.reports import plots, wording
from models_lib.reports.gate_lines import gate_lines
from models_lib.reports.inputs import GateRow, Temperature
from models_lib.reports.writer import page_environment, with_kept_units

_SCALERS = {
    "fitted": "scaler fitted on the training rows",
    "own": "scaler of the file",
    "identity": "raw inputs (identity scaler)",
}
_UNCHANGED_ACCURACY = 0.005
"""Half a percentage point of accuracy, either way, is called the same."""

_SAME_TEMPERATURE = 1e-5
"""Two fits of one temperature in other bounds agree within this."""

ScalerKind = Literal["fitted", "own", "identity"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """What one way of answering reaches on the test rows.

    Attributes:
        name: whose answers.
        temperature: what its raw logits are divided by.
        figures: None when a logit is not finite.
        clamped_share: of the rows, those in which a logit was cut; None without a clamp.
        targets: what the gates say to it that a repair is made for.
    """

    name: str
    temperature: float
    figures: ClassificationMetrics | None
    clamped_share: float | None = None
    targets: tuple[GateResult, ...] = ()

    def meets(self, gate: str) -> bool:
        """Whether it passes the gate of that name."""
        return any(target.name == gate and target.passed for target in self.targets)

    def to_json(self) -> dict[str, Any]:
        """Plain values; None for what was not measured."""
        names = ("accuracy", "nll", "ece", "mean_confidence", "share_over_90", "share_over_99", "max_abs_logit")
        figures = {name: None if self.figures is None else getattr(self.figures, name) for name in names}
        shares = None if self.figures is None else list(self.figures.class_shares)
        return {
            "name": self.name,
            "temperature": self.temperature,
            **figures,
            "class_shares": shares,
            "clamped_share": self.clamped_share,
        }


@dataclass(frozen=True, kw_only=True)
class VariantFigures:
    """One variant on the validation rows, by which it is chosen.

    Attributes:
        scaler: which.
        temperature: fitted.
        wanted: temperature that the NLL alone asks for; it differs from the fitted one where that ends at a bound.
        nll: at the fitted temperature.
        nll_at_10: at T = 10, the guess of an earlier repair.
        accuracy: share of right classes.
        clamped_share: share of rows in which a logit was cut.
    """

    scaler: ScalerKind
    temperature: float
    wanted: float
    nll: float
    nll_at_10: float
    accuracy: float
    clamped_share: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True, eq=False)
class RepairStudy:
    """One file mended: what was tried, what was chosen, what it reaches, what the gates say."""

    symbol: str
    source: str
    """Path of the file."""
    source_sha256: str
    source_family: str
    features: str
    """Name of the feature set."""
    origin: str
    """Where the candles came from."""
    label: str
    bundle: str
    """Hash of the mended model."""
    folder: str
    """Where it was written."""
    rows: Mapping[str, int]
    """Rows of train, validation and test."""
    variants: tuple[VariantFigures, ...]
    """The chosen one first."""
    before: Answered
    after: Answered
    at_10: Answered
    """The chosen variant at T = 10."""
    others: tuple[Answered, ...]
    """The variants that were not chosen, each at its own temperature."""
    changed_share: float
    """Test rows whose predicted class is another one than the file's."""
    changed_by_clamp: float
    """Test rows whose predicted class changed by the clamp alone."""
    rule_accuracy: float
    """Of the one-line rule, on the test rows."""
    gates: tuple[GateResult, ...]
    gates_section: GatesSection
    words: tuple[str, ...]
    """What the verdict carries."""
    sweep: TemperatureSweep
    """Of the chosen variant, on the validation rows."""
    temperature_section: TemperatureSection
    confidence: NDArray[np.float64]
    """Of the mended model's predictions on the test rows."""
    notes: tuple[str, ...] = ()
    """What is to be known about the file."""

    @property
    def chosen(self) -> VariantFigures:
        """The variant in the bundle."""
        return self.variants[0]

    @property
    def held_by(self) -> tuple[str, ...]:
        """Blocking gates that failed."""
        return tuple(gate.name for gate in self.gates if gate.blocks)

    def title(self) -> str:
        """What was mended, on what."""
        return f"{self.symbol}: {self.source} ({self.source_family}, features {self.features}), candles {self.origin}"

    def verdict(self) -> str:
        """The bundle, and whether its gates hold it."""
        verdict = f"held by {', '.join(self.held_by)}" if self.held_by else "passes every blocking gate"
        return f"Bundle {self.bundle[:12]} ({self.source_family}-repaired) {verdict}."

    def sentences(self) -> tuple[str, ...]:
        """Choice, accuracy, targets, clamp, the guess of before, and what a repair cannot do; each with its numbers."""
        said = (
            self._choice(),
            self._accuracy(),
            self._rows(),
            *self._targets(),
            self._clamp(),
            self._guess(),
            self._skill(),
            self._identity(),
            *(f"The file: {note}." for note in self.notes),
        )
        return tuple(sentence for sentence in said if sentence)

    def _choice(self) -> str:
        chosen, *others = self.variants
        bound = ""
        if chosen.wanted < chosen.temperature * (1.0 - _SAME_TEMPERATURE):
            bound = f" (the NLL alone asks for {chosen.wanted:.4g}, with which clamped logits would pass the gate)"
        beside = "; ".join(
            f"{_SCALERS[other.scaler]} has {other.nll:.4f} at T = {other.temperature:.4g}" for other in others
        )
        return (
            f"Chosen by validation NLL: {_SCALERS[chosen.scaler]}, T = {chosen.temperature:.4g}{bound}, NLL {chosen.nll:.4f}"
            + (f"; {beside}." if beside else ".")
        )

    def _accuracy(self) -> str:
        before, after = self.before.figures, self.after.figures
        assert after is not None, "a bundle with logits that are not finite is never written"
        if before is None:
            return (
                f"The file gives logits that are not finite; mended, its accuracy is {wording.percent(after.accuracy)}."
            )
        change = after.accuracy - before.accuracy
        words = (
            "survives"
            if abs(change) < _UNCHANGED_ACCURACY
            else f"{'falls' if change < 0.0 else 'rises'} by {abs(100.0 * change):.1f} points"
        )
        scaled = self.chosen.scaler != "identity"
        cause = "scaling its inputs changed what the network computes" if scaled else "the clamp makes ties"
        changed = f"{wording.percent(self.changed_share)} of the test rows get another class" + (
            f" ({cause})" if self.changed_share > 0.0 else ""
        )
        return f"Accuracy {words}: {wording.percent(before.accuracy)} before, {wording.percent(after.accuracy)} after; {changed}."

    def _targets(self) -> tuple[str, ...]:
        targets = {target.name for target in self.after.targets}
        lines = gate_lines(
            tuple(GateRow.from_json(gate.to_json()) for gate in self.gates if gate.name in targets),
            "blocking",
            self.gates_section,
        )
        met = [f"{line.name} {line.value} ({line.limit})" for line in lines if line.passed]
        missed = [
            f"{line.name} is missed: {line.value} ({line.limit}){_remarked(line.remarks)}; {self._elsewhere(line.name)}"
            for line in lines
            if not line.passed
        ]
        return (f"Met: {', '.join(met)}." if met else "", *(f"{sentence}." for sentence in missed))

    def _elsewhere(self, gate: str) -> str:
        """What else was tried and would meet the gate; the lower NLL on the validation rows was preferred to it."""
        met = [tried.name for tried in (self.at_10, *self.others) if tried.meets(gate)]
        return (
            f"met, at a higher validation NLL, by: {', '.join(met)}" if met else "nothing else that was tried meets it"
        )

    def _rows(self) -> str:
        return (
            f"All figures but the NLL of the choice are of {self.rows['test']:,} test rows, which scaler, temperature and "
            f"choice did not see. {wording.OLD_NETWORK}"
        )

    def _clamp(self) -> str:
        share = self.after.clamped_share
        if not share:
            return ""
        return (
            f"The clamp cut a logit in {wording.percent(share)} of the test rows and changed the class of "
            f"{wording.percent(self.changed_by_clamp)}."
        )

    def _guess(self) -> str:
        figures = self.at_10.figures
        if figures is None:
            return ""
        return (
            f"T = 10 would have given mean confidence {wording.percent(figures.mean_confidence)}, ECE "
            f"{wording.percent(figures.ece)} and NLL {figures.nll:.4f}."
        )

    def _skill(self) -> str:
        figures = self.after.figures
        assert figures is not None, "a bundle with logits that are not finite is never written"
        return (
            f"Repair calibrates, it trains nothing: accuracy that comes back with a scaler was in the weights before, and "
            f"what they never learned it cannot add. A one-line rule has an accuracy of "
            f"{wording.percent(self.rule_accuracy)}, this model {wording.percent(figures.accuracy)}."
        )

    def _identity(self) -> str:
        if self.chosen.scaler != "identity" or "feature_normalisation" not in self.held_by:
            return ""
        return (
            "It keeps raw inputs, so feature_normalisation holds it; --set gates.feature_normalisation.severity=advisory "
            "takes that gate as a report."
        )

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and cells: before, after, and what else was tried, on the test rows."""
        header = (
            "test rows",
            "T",
            "accuracy",
            "NLL",
            "ECE",
            "confidence",
            "> 0.99",
            "max |logit|",
            "clamped",
            "classes",
        )
        return header, [_cells(answered) for answered in (self.before, self.after, self.at_10, *self.others)]

    def words_line(self) -> str:
        """The words that every verdict must carry; empty where there are none."""
        return f"Words of the verdict: {'; '.join(self.words)}." if self.words else ""

    def to_json(self) -> dict[str, Any]:
        """Plain values: all that the table and the page say."""
        return {
            "symbol": self.symbol,
            "file": self.source,
            "file_sha256": self.source_sha256,
            "file_family": self.source_family,
            "features": self.features,
            "candles": self.origin,
            "label": self.label,
            "bundle": self.bundle,
            "folder": self.folder,
            "rows": dict(self.rows),
            "chosen": self.chosen.scaler,
            "temperature": self.chosen.temperature,
            "variants": [variant.to_json() for variant in self.variants],
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "at_temperature_10": self.at_10.to_json(),
            "others": [answered.to_json() for answered in self.others],
            "changed_share": self.changed_share,
            "changed_by_clamp": self.changed_by_clamp,
            "mechanical_rule_accuracy": self.rule_accuracy,
            "gates": [gate.to_json() for gate in self.gates],
            "held_by": list(self.held_by),
            "words": list(self.words),
            "sentences": [self.verdict(), *self.sentences()],
        }


def render_repair(study: RepairStudy) -> str:
    """The repair as one self-contained HTML page."""
    header, cells = study.table()
    rows = tuple(GateRow.from_json(gate.to_json()) for gate in study.gates)
    page = (
        page_environment()
        .get_template("repair.html.j2")
        .render(
            study=study,
            header=header,
            lines=cells,
            variants=[_variant_cells(variant) for variant in study.variants],
            blocking=gate_lines(rows, "blocking", study.gates_section),
            advisory=gate_lines(rows, "advisory", study.gates_section),
            charts=_charts(study),
            not_measured=wording.NOT_MEASURED,
        )
    )
    return with_kept_units(page)


def _charts(study: RepairStudy) -> Sequence[Mapping[str, str | Markup]]:
    swept = Temperature(
        fitted=study.chosen.temperature,
        learned=None,
        sweep=study.sweep,
        target_low=study.temperature_section.target_low,
        target_high=study.temperature_section.target_high,
        ece_limit=study.gates_section.calibration_error.limit,
    )
    return (
        *(
            {
                "title": f"Reliability, {answered.name}",
                "chart": plots.reliability_diagram(answered.figures.reliability),
                "caption": "On the dashed line a confidence of 70 % comes true 70 % of the time. Below it the model is too sure.",
            }
            for answered in (study.before, study.after)
            if answered.figures is not None
        ),
        {
            "title": "Confidence, mended",
            "chart": plots.confidence_histogram(study.confidence),
            "caption": "How sure the mended model is. A pile at the right edge is a broken model.",
        },
        {
            "title": "Over the temperature",
            "chart": plots.temperature_sweep(swept),
            "caption": "The bundle takes the T of the lowest NLL on the validation rows. No T changes a predicted class.",
        },
    )


def _cells(answered: Answered) -> tuple[str, ...]:
    figures = answered.figures
    clamped = "none" if answered.clamped_share is None else wording.percent(answered.clamped_share)
    if figures is None:
        return (
            answered.name,
            f"{answered.temperature:.4g}",
            *([wording.NOT_MEASURED] * 6),
            clamped,
            wording.NOT_MEASURED,
        )
    return (
        answered.name,
        f"{answered.temperature:.4g}",
        wording.percent(figures.accuracy),
        wording.decimal(figures.nll, 4),
        wording.percent(figures.ece),
        wording.percent(figures.mean_confidence),
        wording.percent(figures.share_over_99),
        wording.number(figures.max_abs_logit),
        clamped,
        "/".join(f"{100.0 * share:.0f}" for share in figures.class_shares),
    )


def _variant_cells(variant: VariantFigures) -> tuple[str, ...]:
    return (
        _SCALERS[variant.scaler],
        f"{variant.temperature:.4g}",
        wording.decimal(variant.nll, 4),
        wording.decimal(variant.nll_at_10, 4),
        wording.percent(variant.accuracy),
        wording.percent(variant.clamped_share),
    )


def _remarked(remarks: Sequence[str]) -> str:
    return f"; {'; '.join(remarks)}" if remarks else ""
