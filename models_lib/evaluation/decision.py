"""Which of three models is to be used: the repaired one, V8, or their ensemble (SPEC 9), and why, in words and numbers.

The repaired one if it passes every blocking gate and V8 does not; V8 if it passes; the ensemble if both pass, it passes
too, and on the whole test part its NLL is lower than V8's and the repaired one's by intervals that exclude 0; else none.

What does not belong here: measuring and judging, and what the choice leads to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from models_lib.evaluation.comparison import PairedDifference, RowSetResult
from models_lib.evaluation.gates import Figure, GateResult, improves

ModelName = Literal["repaired", "v8", "ensemble"]
MODELS: tuple[ModelName, ...] = get_args(ModelName)
PAIRS: tuple[tuple[ModelName, ModelName], ...] = (("repaired", "v8"), ("v8", "ensemble"), ("repaired", "ensemble"))
"""The differences that are measured: the first model's figure minus the second's."""


@dataclass(frozen=True)
class Decision:
    """Which model, and why.

    Attributes:
        winner: None when none may be used.
        reason: one or two sentences with the numbers.
    """

    winner: ModelName | None
    reason: str


def decide(
    failed: Mapping[ModelName, Sequence[GateResult]],
    test: RowSetResult,
    *,
    titles: Mapping[ModelName, str],
    sole: ModelName | None,
) -> Decision:
    """The choice of SPEC 9.

    Args:
        failed: by model, the blocking gates that it failed; empty when it passed them all. The ensemble
            is missing where `sole` is given: there is none.
        test: the comparison on the whole test part, with PAIRS.
        titles: by model, what it is called inside a sentence.
        sole: the member to which the ensemble gives all its weight, if it does.
    """
    bad: tuple[ModelName, ...] = tuple(name for name in ("repaired", "v8") if failed[name])
    if not bad:
        return _of_two_good_ones(failed.get("ensemble", ()), test, titles=titles, sole=sole)
    faults = "; ".join(f"{titles[name]} fails {_listed(failed[name])}" for name in bad)
    if len(bad) == 1:
        winner: ModelName = "v8" if bad == ("repaired",) else "repaired"
        passes = f"{_sentence(titles[winner])} passes every blocking gate"
        return Decision(winner, f"{passes}; {faults}. An ensemble is only chosen of two models that both pass.")
    ensemble = _of_two_bad_ones(failed.get("ensemble", ()), titles=titles, sole=sole)
    return Decision(None, f"{_sentence(faults)}; {titles['ensemble']} {ensemble}.")


def _of_two_bad_ones(failed: Sequence[GateResult], *, titles: Mapping[ModelName, str], sole: ModelName | None) -> str:
    """Why the ensemble is not chosen where both members fail."""
    if sole is not None:
        return f"gives all its weight to {titles[sole]}, so it is no third model"
    return f"fails {_listed(failed)}" if failed else "passes, but is only chosen of two that do"


def _of_two_good_ones(
    failed: Sequence[GateResult], test: RowSetResult, *, titles: Mapping[ModelName, str], sole: ModelName | None
) -> Decision:
    """Both members pass: the ensemble where it is shown to be better than each, else V8."""
    both = f"{_sentence(titles['repaired'])} and {titles['v8']} both pass every blocking gate"
    if sole is not None:
        return Decision("v8", f"{both}; the ensemble gives all its weight to {titles[sole]}, so it is no third model.")
    if failed:
        return Decision("v8", f"{both}, but the ensemble fails {_listed(failed)}.")
    members: tuple[ModelName, ...] = ("v8", "repaired")
    gains = {name: _gain(test, name) for name in members}
    unclear = [name for name, gain in gains.items() if gain is None or not improves(gain.value, gain.interval, limit=0)]
    if not unclear:
        shown = " and ".join(f"than that of {titles[name]} by {_said(gain)}" for name, gain in gains.items())
        return Decision("ensemble", f"{both}, and on {test.rows:,} test rows the ensemble's NLL is lower {shown}.")
    not_shown = " and ".join(f"that of {titles[name]} minus its own is {_said(gains[name])}" for name in unclear)
    return Decision(
        "v8", f"{both}, but the ensemble's NLL is not shown to be lower on {test.rows:,} test rows: {not_shown}."
    )


def _gain(test: RowSetResult, name: ModelName) -> PairedDifference | None:
    """That model's NLL minus the ensemble's."""
    pair = test.difference(name, "ensemble")
    return None if pair is None else pair.nll


def _said(gain: PairedDifference | None) -> str:
    if gain is None:
        return "not measured"
    if gain.interval is None:
        return f"{gain.value:+.4f} without an interval (too few blocks)"
    return f"{gain.value:+.4f} (95 % interval {gain.interval.low:+.4f} to {gain.interval.high:+.4f})"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(failed: Sequence[GateResult]) -> str:
    """`accuracy (0.412, limit 0.68) and finite (not measured)`."""
    said = [f"{gate.name} ({_held_against(gate)})" for gate in failed]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


def _held_against(gate: GateResult) -> str:
    if gate.value is None:
        return "not measured"
    if gate.name == "logit_range" and isinstance(gate.value, float) and gate.value < gate.limit:  # type: ignore[operator]
        return gate.note  # the logits lie within the limit because a clamp cut them
    return f"{_figure(gate.value)}, limit {_figure(gate.limit)}"


def _figure(figure: Figure) -> str:
    if isinstance(figure, tuple):
        return f"{figure[0]:.4g} to {figure[1]:.4g}"
    return "none" if figure is None else f"{figure:.4g}"
