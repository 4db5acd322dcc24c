"""The words, tables, JSON and page of a comparison of three models: repaired, V8, and their ensemble.

All of them come from one value, so that they say the same.

What does not belong here: measuring and deciding (models_lib.evaluation), and which rows and bundles there are
(models_lib.steps.compare).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from models_lib.config import EvaluationSection, GatesSection
from models_lib.evaluation.comparison import PairedDifference, PairedFigures, RowSetFigures, RowSetResult
from models_lib.evaluation.decision import Decision, ModelName
from models_lib.evaluation.gates import GateResult
from models_lib.evaluation.metrics import ReliabilityBins
from models_lib.evaluation.pool import PoolFit
from models_lib.reports import plots, wording
from models_lib.reports.comparison import Difference, difference_line
from models_lib.reports.gate_lines import GateLine, gate_lines
from models_lib.reports.inputs import Figure, GateRow
from models_lib.reports.writer import page_environment, with_kept_units

Cells = tuple[str, ...]
SET_NAMES = {
    "test": "Test",
    "sample": "Sample",
    "newest_week": "Newest 7 days",
    "high_volatility": "High volatility",
}


def _shares(shares: tuple[float, float, float]) -> str:
    """`31.2 / 35.0 / 33.8 %` of DOWN, NEUTRAL, UP."""
    return f"{' / '.join(f'{100 * share:.1f}' for share in shares)} %"


COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("accuracy", "accuracy", wording.percent),
    ("ECE", "ece", wording.percent),
    ("NLL", "nll", lambda value: wording.decimal(value, 4)),
    ("confidence", "mean_confidence", wording.percent),
    ("> 0.9", "share_over_90", wording.percent),
    ("> 0.99", "share_over_99", wording.percent),
    ("DOWN / NEUTRAL / UP", "class_shares", _shares),
    ("direction", "directional_accuracy", wording.percent),
    ("edge", "edge_bp", wording.basis_points),
    ("after costs", "edge_after_costs_bp", wording.basis_points),
)
"""Head, name in the JSON, and how it is said, of each figure of a model on a row set."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparedModel:
    """One of the three, as it was judged.

    Attributes:
        name: its place in the comparison.
        title: what it is called inside a sentence, such as `the repaired V6`.
        family: of its bundle.
        bundle: its hash.
        folder: where its bundle lies.
        features: name of its feature set.
        temperature: of its bundle.
        gates: every gate.
        words: that its verdict must carry.
        reliability: the diagram on the whole test part.
    """

    name: ModelName
    title: str
    family: str
    bundle: str
    folder: str
    features: str
    temperature: float
    gates: tuple[GateResult, ...]
    words: tuple[str, ...]
    reliability: ReliabilityBins

    @property
    def short(self) -> str:
        """The title as the head of a table."""
        return self.title.removeprefix("the ")

    @property
    def failed(self) -> tuple[GateResult, ...]:
        """The blocking gates that it failed."""
        return tuple(gate for gate in self.gates if gate.blocks)

    def verdict(self) -> str:
        """Whether it passes, in a few words."""
        blocking = sum(gate.severity == "blocking" for gate in self.gates)
        if not self.failed:
            return f"passes all {blocking} blocking gates"
        return f"fails {len(self.failed)} of {blocking} blocking gates: {', '.join(gate.name for gate in self.failed)}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "family": self.family,
            "bundle": self.bundle,
            "folder": self.folder,
            "features": self.features,
            "temperature": self.temperature,
            "passed": not self.failed,
            "failed_blocking": [gate.name for gate in self.failed],
            "gates": [gate.to_json() for gate in self.gates],
            "words": list(self.words),
        }


@dataclass(frozen=True)
class Stretch:
    """Rows in order of time: how many, and the open times of the first and the last (aware, UTC)."""

    rows: int
    first: datetime
    last: datetime

    def __str__(self) -> str:
        return f"{self.rows:,} rows, {wording.moment(self.first)} to {wording.moment(self.last)}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"rows": self.rows, "first": self.first.isoformat(), "last": self.last.isoformat()}


@dataclass(frozen=True, kw_only=True, eq=False)
class ThreeModels:
    """Three models on the same rows, and which of them is to be used."""

    symbol: str
    label: str
    """Short name of the label with its numbers."""
    label_meaning: str
    origin: str
    """Where the candles came from."""
    simulated_market: str | None
    models: Mapping[str, ComparedModel]
    """By name: repaired, v8, ensemble."""
    pool: PoolFit
    """Of the repaired model and V8, in this order."""
    validation: Stretch
    """The rows that the pool was fitted on; neither member was trained on them."""
    test: Stretch
    """The rows that everything else was measured on, after both validation ends. What an old network was trained on is
    not known."""
    clear_minutes: int
    """Between the last row that a member saw and the first row used: the label's span and look-back."""
    row_sets: tuple[RowSetResult, ...]
    decision: Decision
    evaluation: EvaluationSection
    gates: GatesSection
    promotion: str | None = None
    """What the promotion of the winner came to; None when nobody asked for it."""
    seconds: float
    """From the start of the command up to this page."""

    def title(self) -> str:
        """What was compared."""
        models = ", ".join(f"{model.short} {model.bundle[:12]}" for model in self.models.values())
        return f"{self.symbol}, label {self.label}, candles {self.origin}: {models}"

    def choice(self) -> str:
        """Which model, in a few words."""
        winner = self.decision.winner
        return "none of them" if winner is None else self.models[winner].short

    def sentences(self) -> tuple[str, ...]:
        """The choice with its reason, what was measured on which rows, how the ensemble came about."""
        promotion = () if self.promotion is None else (self.promotion,)
        return (
            f"Choice: {self.choice()}. {self.decision.reason}",
            *promotion,
            self._pool_sentence(),
            self._rows_sentence(),
        )

    def _pool_sentence(self) -> str:
        repaired, v8 = self.models["repaired"].title, self.models["v8"].title
        fitted = f"fitted on {self.validation}, which lie after both trainings' end"
        nll = f"NLL there {self.pool.nll:.4f}; {repaired} {self.pool.members_nll[0]:.4f}, {v8} {self.pool.members_nll[1]:.4f}"
        if self.pool.sole is not None:
            bound = " That is the end of the range that is searched." if self.pool.at_bound else ""
            return (
                f"Ensemble: all the weight goes to {(repaired, v8)[self.pool.sole]}, at T = {self.pool.temperature:.4g}: "
                f"the other one adds nothing ({fitted}; {nll}).{bound}"
            )
        return (
            f"Ensemble: {self.pool.weights[0]:.3f} of {repaired} and {self.pool.weights[1]:.3f} of {v8}, then "
            f"T = {self.pool.temperature:.4g}, {fitted} ({nll})."
        )

    def _rows_sentence(self) -> str:
        test = self.row_sets[0]
        least = (
            f" An interval needs {self.evaluation.min_blocks} of them."
            if test.blocks < self.evaluation.min_blocks
            else ""
        )
        return (
            f"Measured on {self.test}: at least {self.clear_minutes} minutes after both validations' end, so out of "
            f"sample for V8 and for all that was fitted around the old network; "
            f"{wording.plural(test.blocks, 'block')} of {test.block_bars:,} bars.{least} {wording.OLD_NETWORK}"
        )

    def table(self) -> tuple[Cells, list[Cells]]:
        """Header and cells: each model on each row set."""
        header = ("rows", "model", *(title for title, _, _ in COLUMNS))
        return header, [
            (
                f"{SET_NAMES[one.name]} ({one.rows:,})",
                self.models[name].short,
                *(say(getattr(figures, key)) for _, key, say in COLUMNS),
            )
            for one in self.row_sets
            for name, figures in self._figures_of(one)
        ]

    def _figures_of(self, one: RowSetResult) -> list[tuple[str, RowSetFigures]]:
        return [(name, one.figures[name]) for name in self.models if name in one.figures]

    def differences_table(self) -> tuple[Cells, list[Cells]]:
        """Header and cells: each pair on each row set."""
        header = (
            "rows",
            "first - second",
            "NLL",
            "95 % interval",
            "accuracy",
            "95 % interval",
            "effective rows",
            "blocks",
        )
        return header, [
            (
                f"{SET_NAMES[one.name]} ({one.rows:,})",
                f"{self.models[pair.first].short} - {self.models[pair.second].short}",
                *_said(pair.nll, wording.signed),
                *_said(pair.accuracy, wording.signed_points),
                wording.whole(_effective_rows(pair)),
                _blocks(one),
            )
            for one in self.row_sets
            for pair in one.differences
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        names = ("repaired", "v8")
        return {
            "symbol": self.symbol,
            "label": self.label,
            "candles": self.origin,
            "simulated_market": self.simulated_market,
            "models": {name: model.to_json() for name, model in self.models.items()},
            "ensemble": {
                "weights": dict(zip(names, self.pool.weights, strict=True)),
                "temperature": self.pool.temperature,
                "validation_nll": self.pool.nll,
                "members_validation_nll": dict(zip(names, self.pool.members_nll, strict=True)),
                "sole_member": None if self.pool.sole is None else names[self.pool.sole],
                "at_bound": self.pool.at_bound,
            },
            "rows": {"validation": self.validation.to_json(), "test": self.test.to_json()},
            "row_sets": {one.name: _row_set_json(one) for one in self.row_sets},
            "decision": {"winner": self.decision.winner, "reason": self.decision.reason},
            "promotion": self.promotion,
            "seconds": self.seconds,
        }


def _row_set_json(one: RowSetResult) -> dict[str, Any]:
    return {
        "meaning": one.meaning,
        "rows": one.rows,
        "block_bars": one.block_bars,
        "blocks": one.blocks,
        "blocks_with_rows": one.blocks_with_rows,
        "models": {
            name: {**asdict(figures), "class_shares": list(figures.class_shares)}
            for name, figures in one.figures.items()
        },
        "differences": {
            f"{pair.first} - {pair.second}": {"nll": pair.nll.to_json(), "accuracy": pair.accuracy.to_json()}
            for pair in one.differences
        },
    }


def _said(difference: PairedDifference, say: wording.Say) -> tuple[str, str]:
    return say(difference.value), wording.interval(_bounds(difference), say)


def _bounds(difference: PairedDifference) -> tuple[float, float] | None:
    interval = difference.interval
    return None if interval is None else (interval.low, interval.high)


def _blocks(one: RowSetResult) -> str:
    """`43 of 240`, and how few of them hold a row where the rows crowd together."""
    said = f"{one.blocks:,} of {one.block_bars:,} bars"
    return said if one.blocks_with_rows == one.blocks else f"{said}, rows in {one.blocks_with_rows:,}"


@dataclass(frozen=True)
class _Cell:
    """One figure on the page; `place` is where the JSON has it."""

    place: str
    text: str


@dataclass(frozen=True)
class _Judged:
    """One gate in each model's column; None where that model was not asked."""

    name: str
    meaning: str
    limit: str
    lines: tuple[tuple[str, GateLine | None], ...]


def render_comparison(study: ThreeModels) -> str:
    """The comparison as one self-contained HTML page."""
    page = (
        page_environment()
        .get_template("three_models.html.j2")
        .render(
            study=study,
            names=SET_NAMES,
            heads=[title for title, _, _ in COLUMNS],
            figures={one.name: _figure_rows(study, one) for one in study.row_sets},
            differences={one.name: [_pair_lines(study, pair) for pair in one.differences] for one in study.row_sets},
            blocks={one.name: _blocks(one) for one in study.row_sets},
            gates={severity: _gate_rows(study, severity) for severity in ("blocking", "advisory")},
            reliability={name: plots.reliability_diagram(model.reliability) for name, model in study.models.items()},
        )
    )
    return with_kept_units(page)


def _figure_rows(study: ThreeModels, one: RowSetResult) -> list[tuple[ComparedModel, list[_Cell]]]:
    return [
        (
            study.models[name],
            [_Cell(f"row_sets/{one.name}/models/{name}/{key}", say(getattr(figures, key))) for _, key, say in COLUMNS],
        )
        for name, figures in one.figures.items()
    ]


def _pair_lines(
    study: ThreeModels, pair: PairedFigures
) -> tuple[str, str, float | None, tuple[tuple[str, Difference], ...]]:
    """The pair as the JSON and as a reader calls it, its effective rows, and its two differences by name."""
    first, second = study.models[pair.first].short, study.models[pair.second].short
    nll = Figure(value=pair.nll.value, interval=_bounds(pair.nll))
    accuracy = Figure(value=pair.accuracy.value, interval=_bounds(pair.accuracy))
    better = "above 0: {} is better"
    return (
        f"{pair.first} - {pair.second}",
        f"{first} minus {second}",
        _effective_rows(pair),
        (
            ("nll", difference_line("NLL", better.format(second), nll, wording.signed)),
            ("accuracy", difference_line("Accuracy", better.format(first), accuracy, wording.signed_points)),
        ),
    )


def _effective_rows(pair: PairedFigures) -> float | None:
    return None if pair.nll.interval is None else pair.nll.interval.effective_rows


def _gate_rows(study: ThreeModels, severity: str) -> list[_Judged]:
    """The gates of one severity, in the order in which they were judged."""
    lines = {name: _lines_by_gate(model, severity, study.gates) for name, model in study.models.items()}
    order = dict.fromkeys((gate.name, gate.split) for model in study.models.values() for gate in model.gates)
    rows = []
    for gate in order:
        told = {name: found.get(gate) for name, found in lines.items()}
        any_line = next((line for line in told.values() if line is not None), None)
        if any_line is not None:
            rows.append(_Judged(gate[0], f"{any_line.meaning}; {any_line.split}", any_line.limit, tuple(told.items())))
    return rows


def _lines_by_gate(model: ComparedModel, severity: str, section: GatesSection) -> dict[tuple[str, str], GateLine]:
    """By name and split as the gate has them."""
    rows = [GateRow.from_json(gate.to_json()) for gate in model.gates if gate.severity == severity]
    lines = {(line.name, line.split): line for line in gate_lines(tuple(rows), severity, section)}
    return {(row.name, row.split): lines[row.name, row.split.replace("_", " ")] for row in rows}
