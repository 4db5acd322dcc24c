"""What the Prefect UI shows of one judged symbol: its gates as a table, its verdict as text, charts, a link to the page.

A piece is a plain value with the key under which the UI lists it from run to run. The same inputs as the page's make
the pieces, so that both say the same.

What does not belong here: publishing (tasks.show), and the table of the whole run (summary_table.py).
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models_lib.reports import plots, wording
from models_lib.reports.answers import four_answers, headline
from models_lib.reports.comparison import Rung, ladder
from models_lib.reports.gate_lines import gate_lines
from models_lib.reports.inputs import Drift, ReportInputs
from models_lib.reports.writer import charts

_SHOWN_CHARTS = {
    "reliability": "On the dashed line a confidence of 70 % comes true 70 % of the time; below it the model is too sure",
    "confidence": "How sure it is; a pile at the right edge is a broken model",
    "training": "Validation NLL after that epoch's own temperature; the epoch with the lowest is kept",
}
"""The charts that a look decides by, with their captions. The others stand on the page: each run keeps its pieces in
Prefect's database."""


@dataclass(frozen=True)
class Piece:
    """Something to show: `key` of small letters, digits and dashes, and one line about it."""

    key: str
    description: str


@dataclass(frozen=True)
class Table(Piece):
    """Rows with the same columns; cells are Markdown."""

    rows: list[dict[str, str]]


@dataclass(frozen=True)
class Text(Piece):
    """Markdown."""

    markdown: str


@dataclass(frozen=True)
class Image(Piece):
    """An image as a `data:` address."""

    address: str


@dataclass(frozen=True)
class Link(Piece):
    """An address with its text."""

    address: str
    text: str


def piece_key(kind: str, symbol: str) -> str:
    """`gates-btc-usd` of `gates` and `BTC-USD`."""
    return f"{kind}-{symbol.lower()}"


def symbol_pieces(report: ReportInputs, page: Path) -> tuple[Piece, ...]:
    """The pieces of one symbol.

    Args:
        report: what the page says.
        page: the page itself, in the run folder of the machine that wrote it.
    """
    symbol, about = report.symbol, f"{report.symbol} {headline(report).verdict}, run {report.run_id}"
    drawn = charts(report, _SHOWN_CHARTS)
    return (
        Text(piece_key("verdict", symbol), about, verdict_markdown(report, page)),
        Table(piece_key("gates", symbol), about, gate_rows(report)),
        *_control_pieces(report, about),
        *_drift_pieces(report, about),
        *(
            Image(piece_key(name, symbol), f"{about}. {caption}.", _data_address(plots.standalone(drawn[name])))
            for name, caption in _SHOWN_CHARTS.items()
            if name in drawn
        ),
        Link(piece_key("page", symbol), f"{about}: {page}", page.as_uri(), f"the page of {symbol}"),
    )


def _control_pieces(report: ReportInputs, about: str) -> tuple[Piece, ...]:
    """The model beside its controls; nothing where none was asked for."""
    if report.controls is None:
        return ()
    caption = f"{about}. {report.controls.finding}. {report.controls.where}"
    return (Table(piece_key("controls", report.symbol), caption, list(report.controls.rows)),)


def _drift_pieces(report: ReportInputs, about: str) -> tuple[Piece, ...]:
    """The shift of every feature; nothing where it was not measured, which the gate says."""
    if report.drift is None:
        return ()
    caption = f"{about}. Newest week against the training rows; limits from {report.drift.past_weeks} weeks before it"
    return (Table(piece_key("drift", report.symbol), caption, drift_rows(report.drift)),)


def drift_rows(drift: Drift) -> list[dict[str, str]]:
    """One row a feature, the worst beside its own limit first."""
    return [
        {
            "feature": shift.name,
            "PSI": wording.number(shift.psi),
            "limit": wording.number(shift.limit),
            "share of limit": wording.percent(shift.psi / shift.limit, 0),
            "within": "**no**" if shift.above else "yes",
        }
        for shift in drift.features
    ]


def gate_rows(report: ReportInputs) -> list[dict[str, str]]:
    """One row a gate, blocking ones first, and failed ones first among them."""
    return [
        {
            "gate": line.name,
            "split": line.split,
            "value": line.value,
            "limit": line.limit,
            "severity": severity,
            "passed": "yes" if line.passed else "**no**",
            "beside it": wording.inert_markdown("; ".join(line.remarks)),
        }
        for severity in ("blocking", "advisory")
        for line in gate_lines(report.gates, severity, report.gates_section)
    ]


def verdict_markdown(report: ReportInputs, page: Path) -> str:
    """The verdict, the four answers, the model beside what needs no model, and what it calls what."""
    verdict, figures = headline(report), report.figures
    answers = [
        f"- **{answer.question} {answer.word}.** {wording.inert_markdown(answer.why)}"
        for answer in four_answers(report)
    ]
    calibration = (
        f"ECE {wording.percent(figures.ece)}, mean confidence {wording.percent(figures.mean_confidence)}, "
        f"edge after costs {wording.basis_points(figures.edge_after_costs_bp.value)} a call."
    )
    parts = (
        f"## {report.symbol}: {verdict.verdict}",
        "\n\n".join(wording.inert_markdown(sentence) for sentence in verdict.sentences),
        "\n".join(answers),
        _ladder_table(ladder(figures, report.best_possible_accuracy)),
        calibration,
        _control_list(report),
        "" if report.confusion is None else _confusion_table(report.confusion),
        f"Label {report.label}. {report.label_meaning} Candles: {wording.inert_markdown(report.data_origin)}.",
        f"Bundle `{report.bundle_hash[:12]}`, run `{report.run_id}`, page `{page}`",
    )
    return "\n\n".join(part for part in parts if part)


def _control_list(report: ReportInputs) -> str:
    """A line a control; the table of them is a piece of its own."""
    words = () if report.controls is None else report.controls.words
    marks = {True: "**alarm** ", False: ""}
    return "\n".join(f"- {marks[one.alarm]}{wording.inert_markdown(one.text)}" for one in words)


def _ladder_table(rungs: Sequence[Rung]) -> str:
    lines = ["| test rows | accuracy | NLL |", "|---|---:|---:|"]
    for rung in rungs:
        name = f"**{rung.name}**" if rung.ours else rung.name
        nll = wording.decimal(rung.nll) if rung.gives_nll else "-"
        lines.append(f"| {name} | {wording.percent(rung.accuracy)} | {nll} |")
    return "\n".join(lines)


def _confusion_table(confusion: NDArray[np.int64]) -> str:
    names = ("DOWN", "NEUTRAL", "UP")
    lines = [f"| true | {' | '.join(f'said {name}' for name in names)} |", "|---|---:|---:|---:|"]
    for name, row in zip(names, confusion, strict=True):
        total = int(row.sum())
        shares = (wording.percent(int(count) / total) if total else wording.NOT_MEASURED for count in row)
        lines.append(f"| {name} | {' | '.join(shares)} |")
    return "\n".join(lines)


def _data_address(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
