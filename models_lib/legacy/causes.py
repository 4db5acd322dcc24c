"""Why a model fails, in words with their numbers, and what to do about it.

Each rule looks at the figures for one fault and says it, or says nothing. Causes come before symptoms, so the first one
is the headline. A cause names what would mend it: a repair for what lies around the weights (scaler, clamp, temperature),
training for what lies in them.

What does not belong here: measuring (diagnosis.py, models_lib.evaluation) and judging (the gates).
"""

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models_lib.labels import CLASS_NAMES
from models_lib.legacy.diagnosis import AnswerFigures, BestTemperature, FeatureFigures, LayerFigures
from models_lib.reports import wording

Mend = Literal["repair", "train"]
REPAIRED_FAMILIES = ("v6", "v7")
"""Families whose files `crpbot repair` takes."""

_BLOWN_UP = 10.0
"""A scaled input seldom reaches this; a larger one without a scaler is in the units of its feature."""
_FITS_WITHIN = 5.0
"""Inputs whose mean or deviation is further off than this many of the scaler's deviations are not the scaler's."""
_NEARLY_ALL, _HARDLY_ANY = 0.90, 0.01
_FAR = 3.0


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of a model before it has answered.

    Attributes:
        reference: the file or folder as it was named, for commands.
        source: a legacy file, or a bundle of this system.
        family: v6, v7, v8, v6-repaired, v7-repaired or ensemble.
        symbol: whose candles it is held against.
        identity: SHA-256 of the file, or the bundle's hash.
        feature_set: name of the features that it was given.
        has_batch_norm: whether its layers have BatchNorm.
        has_scaler: whether it brings a scaler.
        scaler_from: where that came from; empty when there is none, or nothing is to be said.
        temperature: that divides its logits; None when it has none.
        clamp: size to which raw logits are cut; None without one.
        notes: what the reader of the file remarked.
    """

    reference: str
    source: Literal["file", "bundle"]
    family: str
    symbol: str
    identity: str
    feature_set: str
    has_batch_norm: bool
    has_scaler: bool
    scaler_from: str = ""
    temperature: float | None
    clamp: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """File or folder name."""
        return Path(self.reference).name


@dataclass(frozen=True, kw_only=True)
class SkillFigures:
    """What only labels can tell; None where it was not measured."""

    accuracy: float | None
    ece: float | None
    nll: float | None
    rule_accuracy: float | None
    """Of the one-line rule that was best on the training rows."""
    best: BestTemperature | None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where figures stop being harmless: the configuration's gates."""

    ece: float
    over_99: float
    min_lift: float
    clamped_share: float


@dataclass(frozen=True, kw_only=True)
class Examined:
    """All that the causes are read from; `skill` is None without labels, `clamped_share` without a clamp."""

    model: ModelFacts
    layer: LayerFigures
    answers: AnswerFigures
    skill: SkillFigures | None
    clamped_share: float | None
    limits: Limits


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One fault: a stable name, a sentence with its numbers, and what would mend it."""

    name: str
    words: str
    mend: Mend


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What to do: a sentence, and the commands for it in the order of preference; none where nothing is to be done."""

    words: str
    commands: tuple[str, ...] = ()


def likely_causes(examined: Examined) -> tuple[Cause, ...]:
    """The faults that the figures show, the most telling first; empty when they show none."""
    found = (rule(examined) for rule in _RULES)
    return tuple(cause for cause in found if cause is not None)


def _zero_scale(examined: Examined) -> Cause | None:
    for feature in examined.layer.features:
        if feature.scale is not None and feature.scale <= 0.0:
            words = f"the scaler's scale of {_feature(feature)}, is {wording.number(feature.scale)}: it divides by that"
            return Cause(name="zero_scale", words=words, mend="repair")
    return None


def _no_scaler(examined: Examined) -> Cause | None:
    if examined.model.has_scaler:
        return None
    worst = _worst(examined)
    if worst.largest_input <= _BLOWN_UP:
        off = examined.layer.furthest_off()
        fact = (
            f"{_feature(off)}, has mean {wording.number(off.mean)} and deviation {wording.number(off.std)}, not 0 and 1"
        )
        return Cause(name="no_scaler", words=f"no scaler: {fact}", mend="repair")
    fact = (
        f"{_feature(worst)}, reaches {wording.number(worst.largest_input)} and layer 1 answers with "
        f"{wording.number(worst.largest_activation)}"
    )
    if examined.model.has_batch_norm:
        norm = "BatchNorm divides by what it saw in training, so it holds only while prices stay there"
        return Cause(name="no_scaler_but_batch_norm", words=f"no scaler, but BatchNorm: {fact}; {norm}", mend="repair")
    features = examined.layer.features
    raw = sum(feature.largest_input > _BLOWN_UP for feature in features)
    words = f"no scaler: {fact}; {raw} of {wording.plural(len(features), 'feature')} reach more than {_BLOWN_UP:g}"
    return Cause(name="no_scaler", words=words, mend="repair")


def _scaler_of_other_candles(examined: Examined) -> Cause | None:
    if not examined.model.has_scaler:
        return None
    off = [feature for feature in examined.layer.features if _FITS_WITHIN < feature.off_norm < math.inf]
    if not off:
        return None
    if examined.model.scaler_from == "identity":
        return _raw_by_repair(examined)
    worst = max(off, key=lambda feature: feature.off_norm)
    words = (
        f"the scaler does not fit these candles: scaled, {_feature(worst)}, has mean {wording.number(worst.mean)} and "
        f"deviation {wording.number(worst.std)}, not 0 and 1 ({wording.plural(len(off), 'feature')} off by more than "
        f"{_FITS_WITHIN:g}); it was fitted in other units or other years"
    )
    return Cause(name="scaler_of_other_candles", words=words, mend="repair")


def _raw_by_repair(examined: Examined) -> Cause:
    """The repair kept the inputs raw, because the network knows no others."""
    worst = _worst(examined)
    words = (
        f"raw inputs, kept by its repair: {_feature(worst)}, reaches {wording.number(worst.largest_input)} and layer 1 "
        f"answers with {wording.number(worst.largest_activation)}; a network that learned on them answers worse without"
    )
    return Cause(name="raw_by_repair", words=words, mend="train")


def _not_finite(examined: Examined) -> Cause | None:
    answers = examined.answers
    if answers.non_finite_rows == 0:
        return None
    words = f"{answers.non_finite_rows:,} of {answers.rows:,} rows are answered with NaN or infinity"
    return Cause(name="not_finite", words=words, mend="train")


def _clamped(examined: Examined) -> Cause | None:
    share = examined.clamped_share
    if share is None or share <= examined.limits.clamped_share:
        return None
    words = (
        f"the clamp at {examined.model.clamp:g} acts on {wording.percent(share)} of the rows "
        f"(at most {wording.percent(examined.limits.clamped_share)}): what is beyond it has lost its order"
    )
    return Cause(name="clamped", words=words, mend="train")


def _constant(examined: Examined) -> Cause | None:
    answers = examined.answers
    if answers.alike_share is None or answers.rows < 2 or answers.alike_share <= _NEARLY_ALL:
        return None
    words = (
        f"it answers {wording.percent(answers.alike_share)} of the rows alike, whatever their features are: its units "
        f"are dead"
    )
    return Cause(name="constant", words=words, mend="train")


def _too_sure(examined: Examined) -> Cause | None:
    answers, skill = examined.answers, examined.skill
    if answers.mean_confidence is None or answers.share_over_99 is None:
        return None
    if skill is None or skill.accuracy is None:
        if answers.share_over_99 < examined.limits.over_99:
            return None
        sure = f"{wording.percent(answers.share_over_99)} of the predictions are more than 99 % sure"
        return _temperature_cause(examined, "low", f"{_temperature(examined)}: {sure}")
    if answers.mean_confidence - skill.accuracy <= examined.limits.ece or _not_the_temperature(examined, "lower"):
        return None
    low = "" if examined.model.temperature is None else f" is {_much(examined)}too low"
    return _temperature_cause(examined, "low", f"{_temperature(examined)}{low}: {_mismatch(examined, skill)}")


def _too_timid(examined: Examined) -> Cause | None:
    answers, skill = examined.answers, examined.skill
    if answers.mean_confidence is None or skill is None or skill.accuracy is None:
        return None
    if skill.accuracy - answers.mean_confidence <= examined.limits.ece or _not_the_temperature(examined, "higher"):
        return None
    high = "" if examined.model.temperature is None else f" is {_much(examined)}too high"
    return _temperature_cause(
        examined, "high", f"{_temperature(examined)}{high}: too timid, {_mismatch(examined, skill)}"
    )


def _miscalibrated(examined: Examined) -> Cause | None:
    """A calibration error that is no matter of the temperature."""
    skill = examined.skill
    if skill is None or skill.ece is None or skill.ece < examined.limits.ece or skill.best is None:
        return None
    if _too_sure(examined) is not None or _too_timid(examined) is not None:
        return None
    best = skill.best
    at_best = f"{wording.percent(best.row.ece)} at the best temperature, {wording.number(best.row.temperature)}"
    helps = f"the lowest NLL is at the end of what was searched: {at_best}" if best.at_bound else at_best
    words = f"confidence does not follow accuracy: ECE {wording.percent(skill.ece)}, and {helps}"
    return Cause(name="miscalibrated", words=words, mend="train")


def _one_class(examined: Examined) -> Cause | None:
    shares = examined.answers.class_shares
    if shares is None or _constant(examined) is not None:
        return None
    said = ", ".join(f"{name} {wording.percent(share)}" for name, share in zip(CLASS_NAMES, shares, strict=True))
    if max(shares) > _NEARLY_ALL:
        name = CLASS_NAMES[shares.index(max(shares))]
        return Cause(name="one_class", words=f"{name} takes nearly all predictions: {said}", mend="train")
    if min(shares) < _HARDLY_ANY:
        name = CLASS_NAMES[shares.index(min(shares))]
        return Cause(name="missing_class", words=f"{name} is hardly ever predicted: {said}", mend="train")
    return None


def _no_skill(examined: Examined) -> Cause | None:
    skill = examined.skill
    if skill is None or skill.accuracy is None or skill.rule_accuracy is None:
        return None
    if skill.accuracy - skill.rule_accuracy >= examined.limits.min_lift:
        return None
    words = (
        f"no skill: accuracy {wording.percent(skill.accuracy)}, where a one-line rule has "
        f"{wording.percent(skill.rule_accuracy)}"
    )
    return Cause(name="no_skill", words=words, mend="train")


_RULES: tuple[Callable[[Examined], Cause | None], ...] = (
    _zero_scale,
    _no_scaler,
    _scaler_of_other_candles,
    _not_finite,
    _constant,
    _clamped,
    _too_sure,
    _too_timid,
    _miscalibrated,
    _one_class,
    _no_skill,
)


def _worst(examined: Examined) -> FeatureFigures:
    return examined.layer.worst()[0]


def _feature(feature: FeatureFigures) -> str:
    return f"feature {feature.number}, {feature.name}"


def _temperature_cause(examined: Examined, end: str, words: str) -> Cause:
    name = "no_temperature" if examined.model.temperature is None else f"temperature_too_{end}"
    return Cause(name=name, words=words, mend="repair")


def _temperature(examined: Examined) -> str:
    temperature = examined.model.temperature
    return "no temperature" if temperature is None else f"T = {wording.number(temperature)}"


def _not_the_temperature(examined: Examined, side: Literal["lower", "higher"]) -> bool:
    """Whether T is not to blame: the one of the lowest NLL lies on that side of the model's own, or none helps."""
    best = examined.skill.best if examined.skill else None
    if best is None:
        return False
    ratio = best.row.temperature / (examined.model.temperature or 1.0)
    return best.at_bound or (ratio < 1.0 if side == "lower" else ratio > 1.0)


def _much(examined: Examined) -> str:
    """`far ` when the best temperature is at least three times away."""
    own, best = examined.model.temperature, examined.skill.best if examined.skill else None
    if own is None or best is None:
        return ""
    return "far " if max(own / best.row.temperature, best.row.temperature / own) >= _FAR else ""


def _mismatch(examined: Examined, skill: SkillFigures) -> str:
    """Confidence against what comes true, and what the best temperature would make of it."""
    confidence, best = wording.percent(examined.answers.mean_confidence), skill.best
    gap = f"mean confidence {confidence} where accuracy is {wording.percent(skill.accuracy)}"
    if best is None or skill.ece is None:
        return gap
    return (
        f"{gap}; at T = {wording.number(best.row.temperature)} ECE would be {wording.percent(best.row.ece)} instead of "
        f"{wording.percent(skill.ece)} on these rows"
    )


def remedy_for(
    model: ModelFacts, causes: tuple[Cause, ...], *, failed: tuple[str, ...], candles: Path | None
) -> Remedy:
    """What to do about the causes.

    Args:
        model: what was examined.
        causes: as `likely_causes` gave them.
        failed: names of the blocking gates that failed.
        candles: the folder of candles that it was held against; None on the simulated market.
    """
    if not failed:
        return Remedy(words="Nothing to mend: every blocking gate was measured and passed.")
    train = _train_command(model.symbol, candles)
    repairable = model.source == "file" and model.family in REPAIRED_FAMILIES
    if repairable and any(cause.mend == "repair" for cause in causes):
        if any(cause.name == "constant" for cause in causes):
            words = "Train a new model: a repair (scaler, clamp, fitted temperature) seldom wakes dead units."
            return Remedy(words=words, commands=(train, _repair_command(model, candles)))
        words = "A repair (scaler, clamp, fitted temperature) trains nothing: it calibrates, and shows what a lost scaler hid."
        return Remedy(words=words, commands=(_repair_command(model, candles), train))
    if not causes:
        words = f"No known fault explains {', '.join(failed)}. Train a new model and compare."
        return Remedy(words=words, commands=(train,))
    if model.source == "bundle" and all(cause.name.startswith("temperature_too") for cause in causes):
        words = "See what other temperatures would do; the bundle keeps its own, so train it again on newer candles."
        return Remedy(words=words, commands=(_temperature_command(model, candles), train))
    return Remedy(words="Train a new model: what is wrong lies in the weights.", commands=(train,))


def _repair_command(model: ModelFacts, candles: Path | None) -> str:
    out = f"repaired-{model.symbol}"
    return f"crpbot repair {_quoted(model.reference)} --symbol {model.symbol} --candles {_folder(candles)} --out {out}"


def _temperature_command(model: ModelFacts, candles: Path | None) -> str:
    return f"crpbot temperature {_quoted(model.reference)} --candles {_folder(candles)}"


def _train_command(symbol: str, candles: Path | None) -> str:
    data = "" if candles is None else f" --set data.source=parquet --set data.path={_folder(candles)}"
    return f"crpbot run --symbols {symbol}{data}"


def _folder(candles: Path | None) -> str:
    return "CANDLES" if candles is None else _quoted(str(candles))


def _quoted(text: str) -> str:
    return shlex.quote(text)
