"""The honest-accuracy block: the model on one ladder with what needs no model, and each difference with its interval.

What does not belong here: measuring, and the words of the verdict (answers.py).
"""

import math
from dataclasses import dataclass

from models_lib.reports import wording
from models_lib.reports.inputs import Figure, Figures
from models_lib.reports.wording import Say


@dataclass(frozen=True)
class Rung:
    """One predictor: who, in what way, accuracy and NLL (None: not measured; `gives_nll` False: it has none)."""

    name: str
    meaning: str
    accuracy: float | None
    nll: float | None
    gives_nll: bool = True
    ours: bool = False


@dataclass(frozen=True)
class Whisker:
    """An interval on a track whose middle is the neutral value; positions in percent of the track."""

    low: float
    high: float
    value: float


@dataclass(frozen=True)
class Difference:
    """One figure with its interval, in words and drawn."""

    name: str
    meaning: str
    value: str
    interval: str
    tone: str
    whisker: Whisker | None


def ladder(figures: Figures, best_possible_accuracy: float | None) -> tuple[Rung, ...]:
    """From knowing nothing to the model; on the planted market also the best that anyone could do."""
    rungs = [
        Rung("Equal guess", "a third for each class", 1 / 3, math.log(3)),
        Rung(
            "Majority class",
            "always the same answer, no probabilities",
            figures.majority_accuracy,
            None,
            gives_nll=False,
        ),
        Rung(
            "One-line rule",
            "the label's known part against a threshold; its NLL after calibration",
            figures.mechanical_rule_accuracy,
            figures.mechanical_rule_nll,
        ),
        Rung(
            "Driftless rule",
            "known part, volatility and clock; no direction",
            figures.driftless_rule_accuracy,
            figures.driftless_rule_nll,
        ),
        Rung("This model", "", figures.accuracy, figures.nll, ours=True),
    ]
    if best_possible_accuracy is not None:
        meaning = "computed from the planted market's formula"
        if figures.accuracy is not None:
            meaning += f"; the model reaches {wording.percent(figures.accuracy / best_possible_accuracy)} of it"
        rungs.append(Rung("Best possible", meaning, best_possible_accuracy, None, gives_nll=False))
    return tuple(rungs)


def differences(figures: Figures, costs_bp: float) -> tuple[Difference, ...]:
    """What the model adds, figure by figure."""
    return (
        difference_line("Accuracy over the one-line rule", "lift", figures.lift, wording.signed_points),
        difference_line(
            "NLL gained on the calibrated rule",
            "nats a row, above 0 is better",
            figures.nll_improvement,
            wording.signed,
        ),
        difference_line(
            "NLL gained on the driftless rule",
            "above 0 it knows more than volatility",
            figures.driftless_improvement,
            wording.signed,
        ),
        difference_line(
            "Directional accuracy",
            "sign of the return from the current close, on UP and DOWN calls; a coin has 50 %",
            figures.directional_accuracy,
            wording.percent,
            neutral=0.5,
        ),
        difference_line("Return of UP minus DOWN calls", "before costs", figures.edge_bp, wording.basis_points),
        difference_line(
            "Return of its calls after costs",
            f"costs {costs_bp:g} bp",
            figures.edge_after_costs_bp,
            wording.basis_points,
        ),
    )


def difference_line(name: str, meaning: str, figure: Figure, say: Say, neutral: float = 0.0) -> Difference:
    """One figure with its interval against the value that means no difference."""
    tones = {"yes": "good", "no": "bad", "unclear": "weak", None: "unknown"}
    return Difference(
        name=name,
        meaning=meaning,
        value=say(figure.value),
        interval=wording.interval(figure.interval, say),
        tone=tones[figure.against(neutral)],
        whisker=_whisker(figure, neutral),
    )


def _whisker(figure: Figure, neutral: float) -> Whisker | None:
    if figure.against(neutral) is None or figure.value is None or figure.interval is None:
        return None
    low, high, value = figure.interval[0] - neutral, figure.interval[1] - neutral, figure.value - neutral
    reach = 1.15 * max(abs(low), abs(high), abs(value), 1e-12)
    return Whisker(*(round(50 + 50 * place / reach, 2) for place in (low, high, value)))
