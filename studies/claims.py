"""What the simulated markets must show of the whole chain, as claims that a study's runs keep or break.

An interval of 95 % lies wholly above a value that is true with probability 2.5 %. Over n independent runs such false
alarms follow a binomial law, so no more of them than its 99 % quantile may occur: `chance_bound`. More would be a leak,
or intervals that are too narrow. What could not be measured keeps no claim.

What does not belong here: making the runs (markets.py, retrain.py).
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import binom

from models_lib.candles.simulated import MarketKind
from models_lib.evaluation.evaluation import NO_DIRECTION

ONE_SIDED_TAIL = 0.025
"""Share of 95 % intervals that lie wholly above a true value."""
BOUND_LEVEL = 0.99
"""A study on which nothing is wrong breaks one counted claim with at most this much less than certainty."""
PLANTED_SHARE = 0.98
"""Accuracy on the planted market, as a share of the best possible."""


@dataclass(frozen=True)
class MarketRun:
    """One retrain of a study.

    Attributes:
        seed: of the market.
        symbol: of the market.
        outcome: promoted or held.
        reason: which gates held it.
        words: of the verdict.
        gates: as in `summary.json`.
        metrics: of the test rows, as in `summary.json`.
        best_realised_accuracy: planted market only: what the best possible calls scored on the same rows. It scatters
            about `best_possible_accuracy` as the model's accuracy does, so their ratio is the less noisy one.
        seconds: of the whole run.
    """

    seed: int
    symbol: str
    outcome: str
    reason: str
    words: tuple[str, ...]
    gates: tuple[dict[str, Any], ...]
    metrics: dict[str, Any]
    best_realised_accuracy: float | None
    seconds: float

    def gate_passed(self, name: str) -> bool:
        """Whether every result of that gate passed."""
        return all(gate["passed"] for gate in self.gates if gate["name"] == name)


@dataclass(frozen=True)
class Claim:
    """One claim and whether the runs keep it.

    Attributes:
        name: what is claimed, in words.
        kept: never true for what could not be measured.
        found: what was found, against which bound.
    """

    name: str
    kept: bool
    found: str

    def line(self) -> str:
        """One line for people."""
        return f"{'kept  ' if self.kept else 'BROKEN'}  {self.name}: {self.found}"


def chance_bound(trials: int) -> int:
    """The largest number of false alarms that chance explains at 99 %, of `trials` with a chance of 2.5 % each."""
    return int(binom.ppf(BOUND_LEVEL, trials, ONE_SIDED_TAIL))


def claims_of(runs: Sequence[MarketRun], *, market: MarketKind, label: str) -> tuple[Claim, ...]:
    """Every claim that this market and label make."""
    if market == "planted":
        return tuple(near_the_best(runs, symbol) for symbol in dict.fromkeys(run.symbol for run in runs))
    if market == "default":
        return ()
    claims = [
        no_more_above_than_chance(runs, "directional_accuracy", 0.5, "directional accuracy above one half"),
        no_more_above_than_chance(runs, "edge_bp", 0.0, "UP-DOWN return above 0"),
        driftless_rule_stands(runs),
        words_say_so(runs),
    ]
    if market == "iid":  # volatility is predictable on `null`, so a lift there may be honest
        claims.insert(0, no_more_above_than_chance(runs, "lift", 0.0, "lift above 0"))
    if label == "forward_return":
        claims.append(nothing_promoted(runs))
    return tuple(claims)


def no_more_above_than_chance(runs: Sequence[MarketRun], metric: str, value: float, name: str) -> Claim:
    """No more intervals of `metric` wholly above its true value than chance allows."""
    intervals = [found for run in runs if (found := run.metrics[f"{metric}_interval"]) is not None]
    above = sum(low > value for low, _ in intervals)
    below = sum(high < value for _, high in intervals)
    bound = chance_bound(len(intervals))
    found = (
        f"{above} of {len(intervals)} intervals wholly above (at most {bound} by chance), {below} wholly below; "
        f"mean {_mean_and_error([run.metrics[metric] for run in runs])}"
    )
    return Claim(name, bool(intervals) and above <= bound, found + _unmeasured(len(runs) - len(intervals)))


def driftless_rule_stands(runs: Sequence[MarketRun]) -> Claim:
    """The gate beats_driftless_rule passes no more often than chance allows."""
    passed = sum(run.gate_passed("beats_driftless_rule") for run in runs)
    measured = sum(run.metrics["driftless_improvement_interval"] is not None for run in runs)
    bound = chance_bound(measured)
    found = (
        f"passed {passed} of {measured} times (at most {bound} by chance); mean improvement "
        f"{_mean_and_error([run.metrics['driftless_improvement'] for run in runs])} nats"
    )
    return Claim("beats_driftless_rule", measured > 0 and passed <= bound, found + _unmeasured(len(runs) - measured))


def words_say_so(runs: Sequence[MarketRun]) -> Claim:
    """The verdict says that it is volatility, and no direction, exactly when beats_driftless_rule fails."""
    silent = sum((NO_DIRECTION in run.words) == run.gate_passed("beats_driftless_rule") for run in runs)
    said = sum(NO_DIRECTION in run.words for run in runs)
    return Claim(f'"{NO_DIRECTION}"', bool(runs) and silent == 0, f"said {said} times, {silent} times out of place")


def nothing_promoted(runs: Sequence[MarketRun]) -> Claim:
    """Every candidate is held, and the accuracy gate is among those that hold it."""
    promoted = sum(run.outcome == "promoted" for run in runs)
    held = sum(not run.gate_passed("accuracy") for run in runs)
    found = f"{promoted} of {len(runs)} promoted, {held} held by accuracy"
    return Claim("nothing is promoted", bool(runs) and promoted == 0 and held == len(runs), found)


def near_the_best(runs: Sequence[MarketRun], symbol: str) -> Claim:
    """The symbol's accuracy, averaged over its runs, is at least 98 % of the best possible."""
    own = [run for run in runs if run.symbol == symbol]
    name = f"{symbol}: accuracy at least {PLANTED_SHARE:.0%} of the best possible"
    if any(run.metrics["best_possible_accuracy"] is None for run in own):
        return Claim(name, kept=False, found="the best possible has no closed form for this label")
    share = _ratio_of_means(own, lambda run: run.metrics["best_possible_accuracy"])
    realised = _ratio_of_means(own, lambda run: run.best_realised_accuracy)
    accuracy = statistics.mean(float(run.metrics["accuracy"]) for run in own)
    best = statistics.mean(run.metrics["best_possible_accuracy"] for run in own)
    found = f"{accuracy:.4f} of {best:.4f} is {share:.2%} over {len(own)} runs"
    return Claim(name, share >= PLANTED_SHARE, f"{found} ({realised:.2%} of what the best calls scored on these rows)")


def _ratio_of_means(runs: Sequence[MarketRun], of: Callable[[MarketRun], float | None]) -> float:
    """Mean accuracy over the mean of another figure."""
    other = [figure for run in runs if (figure := of(run)) is not None]
    if len(other) < len(runs):
        return math.nan
    return statistics.mean(float(run.metrics["accuracy"]) for run in runs) / statistics.mean(other)


def _mean_and_error(figures: Sequence[float | None]) -> str:
    """Mean of the measured figures with its standard error over the runs."""
    measured = [figure for figure in figures if figure is not None]
    if len(measured) < 2:
        return f"{measured[0]:.4f}" if measured else "not measured"
    return f"{statistics.mean(measured):.4f} +- {statistics.stdev(measured) / math.sqrt(len(measured)):.4f}"


def _unmeasured(count: int) -> str:
    return f"; {count} not measured" if count else ""
