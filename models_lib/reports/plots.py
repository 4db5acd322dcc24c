"""The charts of the page as inline SVG whose colours follow the page's theme.

matplotlib draws with marker colours; each marker is then replaced by the page's CSS variable, so one drawing serves
light, dark and print. Text stays text: small, selectable, read aloud. Nothing in the SVG points outside the page.

What does not belong here: deciding what a chart means (the template's captions and answers.py).
"""

import io
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator, PercentFormatter
from matplotlib.typing import RcKeyType
from numpy.typing import NDArray

from models_lib.evaluation.metrics import ReliabilityBins
from models_lib.reports.inputs import PaidTraining, Temperature
from models_lib.training.history import TrainingHistory

INK, MUTED, LINE, BLUE, ORANGE, GREEN = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
_THEME = {INK: "--ink", MUTED: "--muted", LINE: "--line", BLUE: "--blue", ORANGE: "--orange", GREEN: "--green"}
_CLASS_COLOURS = (("DOWN", ORANGE, ":"), ("NEUTRAL", MUTED, "--"), ("UP", BLUE, "-"))
_SHOWN_WIDTH = 720
_DAY_SECONDS = 86_400
_WIDTH_INCHES, _HEIGHT_INCHES = 5.0, 3.3
_SETTINGS: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
}
_drawing = threading.Lock()  # matplotlib's settings are global, and several symbols may be drawn at once


def training_curves(history: TrainingHistory) -> Markup:
    """Loss and validation NLL over the epochs, validation accuracy below; the kept epoch is marked."""
    epochs = [row.epoch for row in history.epochs]
    with _canvas("training", "Training loss, validation NLL and accuracy by epoch", rows=2) as (axes, finish):
        loss, accuracy = axes
        loss.plot(
            epochs,
            _numbers([row.validation_nll for row in history.epochs]),
            color=BLUE,
            marker="o",
            label="validation NLL",
        )
        loss.plot(
            epochs,
            _numbers([row.train_loss for row in history.epochs]),
            color=ORANGE,
            ls="--",
            marker=".",
            label="train loss",
        )
        percent = 100 * _numbers([row.validation_accuracy for row in history.epochs])
        accuracy.plot(epochs, percent, color=GREEN, marker="o", label="validation accuracy, %")
        for panel in axes:
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            panel.axvline(history.best_epoch, color=INK, lw=1, ls=":")
            _legend(panel)
        loss.tick_params(labelbottom=False)
        accuracy.set_xlabel(f"epoch (dotted: epoch {history.best_epoch}, the one kept)")
        return finish()


def reliability_diagram(reliability: ReliabilityBins) -> Markup:
    """Share that came true against the confidence, with the rows of each bin below."""
    filled = reliability.counts > 0
    centres = (reliability.edges[:-1] + reliability.edges[1:]) / 2
    with _canvas("reliability", "Reliability diagram: accuracy against confidence", rows=2) as (axes, finish):
        curve, rows = axes
        curve.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--", label="perfectly calibrated")
        curve.plot(
            reliability.confidence[filled],
            reliability.accuracy[filled],
            color=BLUE,
            marker="o",
            clip_on=False,
            label="this model",
        )
        rows.bar(centres, reliability.counts, width=0.9 * np.diff(reliability.edges), color=BLUE)
        for panel in axes:
            panel.set_xlim(0.3, 1.005)
            panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        curve.set_ylim(0.0, 1.02)
        curve.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        curve.set_ylabel("came true")
        _legend(curve)
        curve.tick_params(labelbottom=False)
        rows.set_ylabel("rows")
        rows.yaxis.set_major_locator(MaxNLocator(nbins=3))
        rows.yaxis.set_major_formatter(FuncFormatter(_thousands))
        rows.set_xlabel("confidence")
        return finish()


def confidence_histogram(confidences: NDArray[np.float64], rows: str = "test rows") -> Markup:
    """How sure the model was: share of the rows in each bin of confidence; `rows` names them."""
    edges = np.linspace(0.3, 1.0, 29)
    share = np.histogram(confidences, bins=edges)[0] / max(1, confidences.size)
    with _canvas("confidence", f"Histogram of confidence on the {rows}") as (axes, finish):
        (panel,) = axes
        panel.bar((edges[:-1] + edges[1:]) / 2, share, width=0.9 * np.diff(edges), color=BLUE)
        for mark in (0.9, 0.99):
            panel.axvline(mark, color=MUTED, lw=1, ls=":")
        panel.set_xlim(0.3, 1.005)
        panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        panel.set_xlabel("confidence (dotted: 90 % and 99 %)")
        panel.set_ylabel(f"share of {rows}")
        return finish()


def logit_histogram(logits_NC: NDArray[np.float64], limit: float, rows: str = "test rows") -> Markup:
    """Logits of each class after temperature, with the limit of the gate where it is near enough to be drawn."""
    finite = logits_NC[np.isfinite(logits_NC).all(axis=1)]
    reach = max(1.0, float(np.abs(finite).max(initial=0.0)))
    shown = max(reach, limit) if reach > limit / 20 else reach
    edges = np.linspace(-shown, shown, 101)
    with _canvas("logits", f"Histogram of logits of each class on the {rows}") as (axes, finish):
        (panel,) = axes
        for column, (name, colour, style) in enumerate(_CLASS_COLOURS):
            share = np.histogram(finite[:, column], bins=edges)[0] / max(1, len(finite))
            panel.plot((edges[:-1] + edges[1:]) / 2, share, color=colour, ls=style, label=name)
        if limit <= shown:
            for mark in (-limit, limit):
                panel.axvline(mark, color=INK, lw=1, ls=":")
        panel.xaxis.set_major_formatter(FuncFormatter(_thousands))
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        panel.set_ylim(bottom=0)
        panel.set_xlabel(f"logit after temperature (dotted: the gate's limit, {limit:g})")
        panel.set_ylabel(f"share of {rows}")
        _legend(panel)
        return finish()


def first_layer_bars(names: Sequence[str], activations: Sequence[float]) -> Markup:
    """What each of these features alone can cause in a unit of layer 1, the first on top."""
    with _canvas("first-layer", "Largest activation of layer 1 that each feature causes alone") as (axes, finish):
        (panel,) = axes
        panel.barh(names, activations, color=BLUE)
        panel.invert_yaxis()
        panel.xaxis.set_major_locator(MaxNLocator(nbins=4))
        panel.xaxis.set_major_formatter(FuncFormatter(_thousands))
        panel.grid(visible=False, axis="y")
        panel.set_xlabel("largest |weight x input|")
        return finish()


def temperature_sweep(temperature: Temperature, rows: str = "validation rows") -> Markup:
    """NLL, and calibration error beside mean confidence, over the temperature; the fitted one is marked."""
    values = [line.temperature for line in temperature.sweep.rows]
    description = f"NLL, calibration error and mean confidence by temperature on the {rows}"
    with _canvas("sweep", description, rows=2) as (axes, finish):
        nll, shares = axes
        nll.plot(values, [line.nll for line in temperature.sweep.rows], color=BLUE, marker="o", ms=4, label="NLL")
        shares.axhspan(100 * temperature.target_low, 100 * temperature.target_high, color=GREEN, alpha=0.15, lw=0)
        shares.plot(
            values,
            [100 * line.mean_confidence for line in temperature.sweep.rows],
            color=GREEN,
            marker="o",
            ms=4,
            label="mean confidence, % (band: target)",
        )
        shares.plot(
            values,
            [100 * line.ece for line in temperature.sweep.rows],
            color=ORANGE,
            ls="--",
            marker=".",
            label="ECE, %",
        )
        for panel in axes:
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(FixedLocator([value for value in values if value in _ROUND] or values))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            panel.axvline(temperature.fitted, color=INK, lw=1, ls=":")
            _legend(panel)
        nll.tick_params(labelbottom=False)
        shares.set_ylim(0, 100)
        shares.set_xlabel(f"temperature (dotted: {temperature.fitted:.3f}, the one fitted)")
        return finish()


def paid_trainings(paid: Sequence[PaidTraining]) -> Markup:
    """What each training of the symbol on a rented machine was billed, by the day of its end."""
    with _canvas("costs", "What each paid training was billed, by day") as (axes, finish):
        (panel,) = axes
        days = [each.ended_at.timestamp() / _DAY_SECONDS for each in paid]
        panel.vlines(days, 0, [each.usd for each in paid], color=MUTED, lw=1)
        panel.plot(days, [each.usd for each in paid], color=BLUE, marker="o", ls="none")
        panel.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        panel.xaxis.set_major_formatter(FuncFormatter(_date))
        middle, reach = (days[0] + days[-1]) / 2, max(2.0, (days[-1] - days[0]) * 0.55)
        panel.set_xlim(middle - reach, middle + reach)
        panel.set_ylim(bottom=0)
        panel.set_ylabel("USD billed")
        return finish()


def standalone(chart: Markup) -> str:
    """The chart as an SVG file of its own, in the page's light colours on white, for where the page's style is not."""
    colours = re.search(r":root \{.*?\}", (Path(__file__).parent / "templates" / "style.css").read_text(), re.DOTALL)
    assert colours is not None
    head, _, drawing = chart.partition(">")
    size = f'width="{_SHOWN_WIDTH}" height="{_SHOWN_WIDTH * _HEIGHT_INCHES / _WIDTH_INCHES:.0f}"'
    ground = f'<style>{colours.group()}</style><rect width="100%" height="100%" fill="#ffffff"/>'
    return f'{head} xmlns="http://www.w3.org/2000/svg" {size}>{ground}{drawing}'


def _legend(panel: Axes) -> None:
    """The legend above the panel, where no line can run through it."""
    panel.legend(fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0, handlelength=1.6)


_ROUND = (0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)


@contextmanager
def _canvas(name: str, description: str, *, rows: int = 1) -> Iterator[tuple[list[Axes], Callable[[], Markup]]]:
    """Axes to draw on, and a function that turns the drawing into themed inline SVG."""
    with _drawing, mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure = Figure(figsize=(_WIDTH_INCHES, _HEIGHT_INCHES), layout="constrained")
        figure.patch.set_alpha(0.0)
        ratios = [2, 1] if name != "sweep" else [1, 1]
        axes = figure.subplots(rows, 1, squeeze=False, gridspec_kw={"height_ratios": ratios[:rows]}).ravel().tolist()
        for panel in axes:
            panel.patch.set_alpha(0.0)
        yield axes, lambda: _inline(figure, description)


def _inline(figure: Figure, description: str) -> Markup:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r"<g id=\"[^\"]*\"", "<g", svg
    )  # names of groups repeat from chart to chart, and nothing refers to them
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font: \1 var(--font)", svg)
    for marker, variable in _THEME.items():
        svg = svg.replace(marker, f"var({variable})")
    box = re.search(r"viewBox=\"[^\"]*\"", svg)
    assert box is not None
    head = f'<svg {box.group()} role="img" aria-label="{escape(description, quote=True)}">'
    return Markup(head + svg[svg.index(">") + 1 :].strip())  # noqa: S704 - made here; the only foreign text is escaped


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _thousands(value: float, _position: int | None) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 or value == round(value) else f"{value:g}"


def _date(days: float, _position: int | None) -> str:
    return f"{datetime.fromtimestamp(days * _DAY_SECONDS, UTC):%Y-%m-%d}"
