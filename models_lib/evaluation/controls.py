"""Trainings that must find nothing: what they are given instead of the truth, and when their finding something is an alarm.

A model that is good for the wrong reason (test rows or their labels in the training, a feature that knows the future)
passes every gate. A control takes out what an honest model could learn and leaves the wrong reasons in:

- `shuffled`: the labels of the training and of the validation rows are permuted. Whoever still knows the test labels
  has seen them.
- `signflip`: the candles are rebuilt with random signs (models_lib.candles.sign_flipped), and everything is done on them
  as on the real ones. Whoever still knows the direction reads it from the future.

An alarm must mean something, so it is not "the lift lies above 0". On a market with random signs volatility is still
there to be known, and that alone lifts a model of `forward_return` 3 to 4 points over the one-line rule, nearly
always, and one of `trend` by a fifth of a point, which two years of candles show. And calls that were learned from
permuted labels are no coin: each training finds another rule of nothing, which is right more or less often than a
third, on all rows alike, so that no interval over rows knows of it. What each alarm asks instead stands beside it.

What they do not find: permuted labels show rows of the test part among the training rows where the label contains the
known past. In a label without it they stay unseen, and no label shows too short a purge, because the rows beside a boundary
are permuted like all others.

What does not belong here: the trainings (models_lib.steps.controls) and how the table looks (models_lib.reports).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models_lib.config import ControlName
from models_lib.training.seeds import symbol_seed

Classes = NDArray[np.int8]
Rows = NDArray[np.int64]

COIN: Final = 0.5
"""Directional accuracy of whoever knows nothing about a market whose signs were tossed: exactly so, by construction."""
TELLING_GAP: Final = 0.25
"""The one-line rule must be right so much more often than the majority class for accuracy to show that it was learned.
It is about 40 points for `trend`. The gap alone proves nothing: class shares that moved between training and test rows make
up to 30 points of a label without known part (41 simulated markets of 50 days), so the label must contain it, too."""


@dataclass(frozen=True)
class ControlAlarm:
    """A figure of a control that it could not reach honestly.

    Attributes:
        name: of the figure, as in the metrics.
        value: the lower end of its 95 % interval.
        limit: above which that lies.
        words: what it means, likely causes, and what to do.
    """

    name: str
    value: float
    limit: float
    words: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def control_seed(seed: int, symbol: str, control: ControlName) -> int:
    """The seed of what a control makes random: the training's, with the symbol and the control mixed in."""
    return symbol_seed(seed, f"{symbol}:control:{control}")


def permuted_classes(classes: Classes, parts: tuple[Rows, ...], *, test: Rows, seed: int) -> Classes:
    """The classes, int8 [N], with those of each part's rows in random order; all others stay true.

    A row that is in a part and in the test rows, which must never be, keeps its true class: that is the leak that the
    control is there to find.

    Args:
        classes: int8 [N].
        parts: row numbers; each part keeps its own counts of the classes.
        test: row numbers.
        seed: of the order.
    """
    random, permuted = np.random.default_rng(seed), classes.copy()
    for part in parts:
        rows = np.setdiff1d(part, test, assume_unique=True)
        permuted[rows] = random.permutation(classes[rows])
    return permuted


def control_alarm(control: ControlName, metrics: Mapping[str, Any], *, known_part_inside: bool) -> ControlAlarm | None:
    """The alarm about a control's figures; None where they show nothing, or were not measured.

    Args:
        control: which.
        metrics: of its test rows, with the intervals.
        known_part_inside: whether the label contains the known past (models_lib.labels).
    """
    tells = known_part_inside and rule_tells(metrics)
    match control:
        case "shuffled":
            return _knows_the_labels(metrics, known_part_tells=tells)
        case "signflip":
            return _knows_the_future(metrics, known_part_tells=tells)


_SPLIT: Final = (
    "Likely: test rows among the training rows, or test labels that reach the training in another way. Look at splits and "
    "labels"
)
_FUTURE: Final = (
    "Likely: a feature that reads bars after its row, a label that is among the features, or candles whose time is not "
    "that of their open. Cut the newest candles off and see whether earlier features change"
)


def rule_tells(metrics: Mapping[str, Any]) -> bool:
    """Whether the one-line rule is right so often that knowing it would show in the accuracy."""
    return bool(metrics["mechanical_rule_accuracy"] - metrics["majority_accuracy"] >= TELLING_GAP)


def _knows_the_labels(metrics: Mapping[str, Any], *, known_part_tells: bool) -> ControlAlarm | None:
    """Permuted labels must not lead over half of the way from the majority class to the one-line rule.

    Where the label has no known part, or that way is short, the lift must not lie above 0 together with the gain in NLL:
    a rule of nothing may make the right calls, but it has no reason to be sure of them.
    """
    majority, rule = metrics["majority_accuracy"], metrics["mechanical_rule_accuracy"]
    if known_part_tells:
        name, limit = "accuracy", (majority + rule) / 2.0
    else:
        name, limit = "lift", 0.0
        if not _low(metrics, "nll_improvement") > 0.0:
            return None
    low = _low(metrics, name)
    if not low > limit:
        return None
    words = (
        f"control shuffled: its labels were permuted, and it is still right in {_percent(metrics['accuracy'])} of the test "
        f"rows (one-line rule {_percent(rule)}, majority {_percent(majority)}). It knows test labels. {_SPLIT}; until then "
        "trust no figure of this model."
    )
    return ControlAlarm(name, low, limit, words)


def _knows_the_future(metrics: Mapping[str, Any], *, known_part_tells: bool) -> ControlAlarm | None:
    """On random signs no call is better than a coin: exactly so, and one in 40 honest 95 % intervals says otherwise.

    Where the label contains the known past, its rules are so nearly all that can be known that a model must not be right
    more often than the better of them, even as if that were known without error. Where it does not, no rule is a ceiling:
    volatility may be read in better ways.
    """
    low, direction = _low(metrics, "directional_accuracy"), metrics["directional_accuracy"]
    if low > COIN:
        words = (
            f"control signflip: signs of the returns are coin tosses there, and {_percent(direction)} of its calls have the "
            f"right one (95 % interval from {_percent(low)}; chance alone does this once in 40). {_FUTURE}; to rule chance "
            "out, run again with another training.seed."
        )
        return ControlAlarm("directional_accuracy", low, COIN, words)
    low, best = _low(metrics, "accuracy"), max(metrics["mechanical_rule_accuracy"], metrics["driftless_rule_accuracy"])
    if known_part_tells and low > best:
        words = (
            f"control signflip: signs of the returns are coin tosses there, and it is right in "
            f"{_percent(metrics['accuracy'])} of the test rows (95 % interval from {_percent(low)}), where all that the known "
            f"part and volatility say is right in {_percent(best)}. {_FUTURE}."
        )
        return ControlAlarm("accuracy", low, best, words)
    return None


def _low(metrics: Mapping[str, Any], name: str) -> float:
    """The lower end of the figure's interval; minus infinity where it was not measured."""
    bounds = metrics.get(f"{name}_interval")
    return -np.inf if bounds is None else float(bounds[0])


def _percent(share: float) -> str:
    return f"{100.0 * share:.1f} %"
