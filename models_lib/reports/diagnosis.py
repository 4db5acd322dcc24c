"""What a diagnosis says: the values behind the terminal's table, the JSON and the page, so that all three agree.

What does not belong here: measuring (models_lib.legacy, models_lib.steps) and how the page looks (diagnosis_page.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_lib.config import GatesSection
from models_lib.evaluation.gates import GateResult
from models_lib.evaluation.metrics import ReliabilityBins
from models_lib.labels import CLASS_NAMES
from models_lib.legacy.causes import Cause, Examined, ModelFacts, Remedy
from models_lib.legacy.diagnosis import FeatureFigures
from models_lib.reports import wording
from models_lib.reports.gate_lines import GateLine, gate_lines
from models_lib.reports.inputs import GateRow

ROWS = "rows examined"
_WORST_IN_A_LINE = 3


@dataclass(frozen=True, kw_only=True)
class ExaminedRows:
    """On which rows a model was examined, and whether it can have learned from them."""

    used: int
    first: datetime
    """Open time of the first row used, aware, UTC."""
    last: datetime
    """Open time of the last row used, aware, UTC."""
    seen: int | None
    """Rows up to the bundle's validation end and what its labels reach; None: the model names no spans."""
    old_network: bool = False
    """Whether the bundle holds a network of a file, whose own training rows nobody knows."""
    why_unlabelled: str = ""
    """Why nothing that needs labels was measured; empty when it was."""

    def sentence(self) -> str:
        """Which rows, and what that means for the figures."""
        kind = "test rows" if not self.why_unlabelled else "rows without labels"
        span = f"{self.used:,} {kind}, {wording.moment(self.first)} to {wording.moment(self.last)}"
        if self.why_unlabelled:
            return f"{span}: {self.why_unlabelled}"
        if self.seen is None:
            return (
                f"{span}. The file names no training span: it may have been trained on these rows, which would "
                f"flatter its accuracy and ECE."
            )
        if self.seen == 0 and self.old_network:
            return f"{span}: all after what was fitted around the old network. {wording.OLD_NETWORK}"
        if self.seen == 0:
            return f"{span}: all after the model's validation end, so out of sample."
        share = wording.percent(self.seen / self.used)
        return f"{span}: {self.seen:,} of them ({share}) lie before its validation end, so they are NOT out of sample."

    def _out_of_sample(self) -> bool | None:
        """None where nobody knows: the network, or all of the model, names no span."""
        if self.seen is None or (self.seen == 0 and self.old_network):
            return None
        return self.seen == 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "used": self.used,
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "before_validation_end": self.seen,
            "out_of_sample": self._out_of_sample(),
            "labelled": not self.why_unlabelled,
            "sentence": self.sentence(),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnosis:
    """Everything that was found out about one model."""

    examined: Examined
    causes: tuple[Cause, ...]
    remedy: Remedy
    written_at: datetime
    label: str
    """Short name of the label with its numbers."""
    origin: str
    """Where the candles came from."""
    simulated_market: str | None
    rows: ExaminedRows
    gates: tuple[GateResult, ...]
    gates_section: GatesSection
    metrics: Mapping[str, Any] | None
    """The honest account on the test rows (SPEC 4); None without labels."""
    words: tuple[str, ...]
    """The words of the verdict, such as `no edge after costs measured`."""
    logits: NDArray[np.floating]
    """[used, 3], as the model emits them."""
    reliability: ReliabilityBins | None

    @property
    def model(self) -> ModelFacts:
        """What was examined."""
        return self.examined.model

    @property
    def failed_blocking(self) -> tuple[str, ...]:
        """Names of the blocking gates that failed; empty: the model may go out."""
        return tuple(gate.name for gate in self.gates if gate.blocks)

    @property
    def verdict(self) -> str:
        """PASSED or FAILED."""
        return "FAILED" if self.failed_blocking else "PASSED"

    def headline(self) -> str:
        """Verdict in one line."""
        blocking = [gate for gate in self.gates if gate.severity == "blocking"]
        failed = f"{len(self.failed_blocking)} of {len(blocking)} blocking gates failed"
        how_many = failed if self.failed_blocking else f"all {len(blocking)} blocking gates passed"
        return f"{self.model.symbol} {self.verdict}: {how_many} ({self.title()})"

    def title(self) -> str:
        """What was examined, in few words."""
        model = self.model
        return f"{model.family} {model.source} {model.name}, {model.identity[:12]}"

    def cause_lines(self) -> tuple[str, ...]:
        """The likely causes, the first one being the most telling."""
        if self.causes:
            return tuple(cause.words for cause in self.causes)
        if self.failed_blocking:
            return (f"no known fault found; {', '.join(self.failed_blocking)} failed all the same",)
        return ("nothing wrong found",)

    def row_sentences(self) -> tuple[str, ...]:
        """On what it was examined, and what that means."""
        simulated = f'Simulated market "{self.simulated_market}": nothing here says anything about real prices.'
        return (self.rows.sentence(),) if self.simulated_market is None else (simulated, self.rows.sentence())

    def output_table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and cells: each class's emitted logits and its share of the predictions."""
        answers = self.examined.answers
        columns = (answers.logit_min, answers.logit_mean, answers.logit_max, answers.class_shares)
        says = (wording.number, wording.number, wording.number, wording.percent)
        return ("output", "lowest logit", "mean logit", "highest logit", "share of predictions"), [
            (name, *(say(values[place] if values else None) for values, say in zip(columns, says, strict=True)))
            for place, name in enumerate(CLASS_NAMES)
        ]

    def figure_lines(self) -> list[tuple[str, str]]:
        """A name and a line of figures for each."""
        layer, model = self.examined.layer, self.model
        worst = ", ".join(_one_feature(feature) for feature in layer.worst()[:_WORST_IN_A_LINE])
        off = wording.number(layer.furthest_off().off_norm)
        activations = f"largest |activation| {wording.number(layer.largest)}, median {wording.number(layer.median)}"
        return [
            ("confidence", self._confidence_line()),
            ("skill", self._skill_line()),
            ("model", f"scaler {self._scaler()}; temperature {self._temperature()}; features {model.feature_set}"),
            ("layer 1", f"{activations}; worst |mean| or |deviation - 1| of an input {off}"),
            ("features", f"largest |weight x input|, the worst of {len(layer.features)}: {worst}"),
        ]

    def _confidence_line(self) -> str:
        answers = self.examined.answers
        return (
            f"mean {wording.percent(answers.mean_confidence)}; > 0.99 {wording.percent(answers.share_over_99)}, "
            f"> 0.9 {wording.percent(answers.share_over_90)}, 0.5-0.9 {wording.percent(answers.share_50_90)}"
        )

    def _skill_line(self) -> str:
        skill = self.examined.skill
        if skill is None:
            return f"accuracy, ECE, NLL {wording.NOT_MEASURED}"
        best = skill.best
        at_best = "" if best is None else f"; lowest at T = {wording.number(best.row.temperature)}: {best.row.nll:.3f}"
        return (
            f"accuracy {wording.percent(skill.accuracy)} (one-line rule {wording.percent(skill.rule_accuracy)}); "
            f"ECE {wording.percent(skill.ece)}; NLL {wording.decimal(skill.nll)}{at_best}"
        )

    def _scaler(self) -> str:
        return (self.model.scaler_from or "present") if self.model.has_scaler else "none"

    def _temperature(self) -> str:
        return "none" if self.model.temperature is None else f"{self.model.temperature:.4g}"

    def gate_lines(self, severity: str) -> tuple[GateLine, ...]:
        """The gates of one severity in words, failed ones first."""
        rows = tuple(GateRow.from_json(gate.to_json()) for gate in self.gates)
        return gate_lines(rows, severity, self.gates_section)

    def gate_table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and cells of every gate, blocking ones first."""
        return ("gate", "result", "measured", "limit", "rows", "severity"), [
            (line.name, "pass" if line.passed else "FAIL", line.value, line.limit, line.split, severity)
            for severity in ("blocking", "advisory")
            for line in self.gate_lines(severity)
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values: everything that the table and the page say, and all features."""
        examined = self.examined
        model = asdict(self.model)
        document: dict[str, Any] = _plain(
            {
                "file": model.pop("reference"),
                "symbol": model.pop("symbol"),
                "family": model.pop("family"),
                "model": model,
                "verdict": self.verdict.lower(),
                "failed_blocking": self.failed_blocking,
                "causes": [asdict(cause) for cause in self.causes],
                "cause": self.cause_lines()[0],
                "remedy": asdict(self.remedy),
                "words": self.words,
                "written_at": self.written_at.isoformat(),
                "label": self.label,
                "candles": self.origin,
                "simulated_market": self.simulated_market,
                "rows": self.rows.to_json(),
                "logits": self._logits_json(),
                "confidence": self._confidence_json(),
                "class_shares": _by_class(examined.answers.class_shares),
                "clamped_share": examined.clamped_share,
                "skill": None if examined.skill is None else asdict(examined.skill),
                "metrics": None if self.metrics is None else {"test": dict(self.metrics)},
                "layer_1": {
                    "largest_activation": examined.layer.largest,
                    "median_activation": examined.layer.median,
                    "worst_features": [feature.name for feature in examined.layer.worst()],
                    "features": [
                        {**asdict(feature), "off_norm": feature.off_norm} for feature in examined.layer.features
                    ],
                },
                "gates": [gate.to_json() for gate in self.gates],
            }
        )
        return document

    def _logits_json(self) -> dict[str, Any]:
        answers = self.examined.answers
        return {
            "min": _by_class(answers.logit_min),
            "mean": _by_class(answers.logit_mean),
            "max": _by_class(answers.logit_max),
            "largest": answers.largest_logit,
            "alike_share": answers.alike_share,
            "non_finite_rows": answers.non_finite_rows,
        }

    def _confidence_json(self) -> dict[str, Any]:
        answers = self.examined.answers
        return {
            "mean": answers.mean_confidence,
            "share_over_90": answers.share_over_90,
            "share_over_99": answers.share_over_99,
            "share_50_90": answers.share_50_90,
        }


def _one_feature(feature: FeatureFigures) -> str:
    return f"{feature.number} {feature.name} {wording.number(feature.largest_activation)}"


def _by_class(values: Sequence[float] | None) -> dict[str, float] | None:
    return None if values is None else dict(zip(CLASS_NAMES, values, strict=True))


def _plain(value: Any) -> Any:
    """The same with lists for tuples, and None for numbers that JSON cannot say."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
