"""The goals of speed: one table, and the judgement of what was measured against it.

A goal names the figure by its place in what `make bench` measured, so that a figure that is no longer measured is seen:
it is told as not measured, and that is no better than missed.

Not here: measuring.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Goal:
    """One limit of one figure."""

    name: str
    figure: tuple[str, ...]
    """Keys that lead to it; the first is the benchmark."""
    sense: Literal["at least", "at most"]
    limit: float
    unit: str
    """`x`: a ratio of two things in one run; `%`: a share; `s`; `MB`."""
    source: str
    """Why this much."""


@dataclass(frozen=True)
class Judged:
    """A goal and what was measured of it; `measured` is None where the benchmark did not say."""

    goal: Goal
    measured: float | None

    @property
    def reached(self) -> bool:
        """Whether it was measured and is within the limit."""
        if self.measured is None:
            return False
        limit = self.goal.limit
        return self.measured >= limit if self.goal.sense == "at least" else self.measured <= limit

    def told(self) -> str:
        """One line for people."""
        goal, word = self.goal, "reached" if self.reached else "MISSED "
        found = "not measured" if self.measured is None else _said(self.measured, goal.unit)
        return f"{word}  {goal.name}: {found} (goal: {goal.sense} {_said(goal.limit, goal.unit)}; {goal.source})"

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        goal = self.goal
        kept = {"sense": goal.sense, "limit": goal.limit, "unit": goal.unit, "source": goal.source}
        return {"figure": list(goal.figure), "measured": self.measured, "reached": self.reached, **kept}


GOALS = (
    Goal(
        "features: pandas / ours, one thread",
        ("features", "ratios", "pandas / ours_1_thread", "wall"),
        "at least",
        5.0,
        "x",
        "compiled kernels, one a measure, gave 4.6x to 6.6x",
    ),
    Goal(
        "features of three symbols: pandas / ours on two threads",
        ("features", "ratios", "pandas_3_symbols / ours_3_symbols_2_threads", "wall"),
        "at least",
        15.0,
        "x",
        "one kernel written for these features alone reached 15.4x",
    ),
    Goal(
        "72 features of two years of three symbols, two threads",
        ("features", "seconds", "ours_3_symbols_2_threads", "wall"),
        "at most",
        1.0,
        "s",
        "that kernel took 0.93 s",
    ),
    Goal(
        "the same / first touch of the matrices",
        ("features", "ratios", "ours_3_symbols_2_threads / first_touch_3_symbols_2_threads", "wall"),
        "at most",
        4.0,
        "x",
        "that kernel took 3.7 times what making and first writing the matrices takes",
    ),
    Goal(
        "candles: archive / plain read by pyarrow",
        ("archive", "ratio"),
        "at most",
        1.5,
        "x",
        "what reading verified candles may cost more than reading any",
    ),
    Goal(
        "an epoch, batch 256, one thread: naive loop / ours",
        ("training", "batch 256", "ratio"),
        "at least",
        8.0,
        "x",
        "11.3 ms a step of the naive loop, 1.3 ms of matrix products with compiled loops between them",
    ),
    Goal(
        "an epoch, batch 1,024, one thread: naive loop / ours",
        ("training", "batch 1024", "ratio"),
        "at least",
        2.0,
        "x",
        "rows gathered at once and masks from a pool; large batches spare the naive loop, too",
    ),
    Goal(
        "an epoch of three symbols with its gates, V7, batch 256, two processes",
        ("training", "at once", "v7_three_symbols_seconds"),
        "at most",
        10.0,
        "s",
        "8.2 s were reached without gates",
    ),
    Goal(
        "the same: V8 / V7",
        ("training", "at once", "v8_to_v7"),
        "at most",
        1.25,
        "x",
        "V8 mixes two norms and is otherwise V7",
    ),
    Goal(
        "the same: naive loop as it is started / ours",
        ("training", "at once", "naive_to_v7"),
        "at least",
        12.0,
        "x",
        "142 s by one process with two threads, 8 to 10 s by two with one each",
    ),
    Goal(
        "the same: share of this machine's sgemm rate",
        ("training", "at once", "sgemm_share"),
        "at least",
        0.45,
        "%",
        "48 % were reached by matrix products with compiled loops between them",
    ),
    Goal(
        "the same: beside a program that burns a core / alone",
        ("training", "at once", "beside_a_burner"),
        "at most",
        2.2,
        "x",
        "three share two cores; threads that spin for each other take 5 to 30 times as long",
    ),
    Goal(
        "not library work, of a run of three symbols on 50 days",
        ("orchestration", "share_of_the_run"),
        "at most",
        0.10,
        "%",
        "a tenth is what an orchestrator may cost",
    ),
    Goal(
        "three symbols of two years, from parquet to a verdict",
        ("run", "wall_seconds"),
        "at most",
        300.0,
        "s",
        "a retrain over coffee, on a laptop with two cores",
    ),
    Goal(
        "the same: symbols without a verdict",
        ("run", "symbols_without_verdict"),
        "at most",
        0.0,
        "",
        "promoted or held; a failed one proves nothing",
    ),
    Goal(
        "the same: memory for each symbol at work",
        ("run", "peak_mb_a_symbol"),
        "at most",
        2_000.0,
        "MB",
        "two at once fit beside what else a laptop does",
    ),
)


def judged(measured: Mapping[str, Any], goals: tuple[Goal, ...] = GOALS) -> list[Judged]:
    """Every goal of the benchmarks that ran, in the order of the table."""
    return [Judged(goal, _figure(measured, goal.figure)) for goal in goals if goal.figure[0] in measured]


def _figure(measured: Any, keys: tuple[str, ...]) -> float | None:
    for key in keys:
        if not isinstance(measured, Mapping) or key not in measured:
            return None
        measured = measured[key]
    return float(measured)


def _said(number: float, unit: str) -> str:
    match unit:
        case "%":
            return f"{number:.1%}"
        case "x":
            return f"{number:.2f}x"
        case _:
            return f"{number:,.4g} {unit}".rstrip()
