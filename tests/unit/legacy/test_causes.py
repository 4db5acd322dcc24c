"""Each fault is named in words with its numbers, and nothing is named where there is none."""

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models_lib.calibration import SweepRow
from models_lib.legacy.causes import (
    Cause,
    Examined,
    Limits,
    ModelFacts,
    SkillFigures,
    likely_causes,
    remedy_for,
)
from models_lib.legacy.diagnosis import AnswerFigures, BestTemperature, FeatureFigures, LayerFigures

CLOSE = FeatureFigures(
    number=4,
    name="close",
    scale=None,
    largest_input=79_568.0,
    mean=79_000.0,
    std=300.0,
    largest_weight=0.16,
    largest_activation=12_730.88,
)
QUIET = FeatureFigures(
    number=1,
    name="ret_1",
    scale=1.0,
    largest_input=4.0,
    mean=0.02,
    std=1.01,
    largest_weight=0.2,
    largest_activation=0.8,
)


def facts(**changes: Any) -> ModelFacts:
    sound: dict[str, Any] = {
        "reference": "models/old v8.pt",
        "source": "file",
        "family": "v8",
        "symbol": "BTC-USD",
        "identity": "ab" * 32,
        "feature_set": "current",
        "has_batch_norm": True,
        "has_scaler": True,
        "temperature": 1.2,
    }
    return ModelFacts(**(sound | changes))


def skill(accuracy: float, *, best: float = 1.2, at_bound: bool = False) -> SkillFigures:
    row = SweepRow(
        temperature=best, mean_confidence=accuracy, share_over_90=0.1, share_over_99=0.01, ece=0.013, nll=0.6
    )
    return SkillFigures(
        accuracy=accuracy, ece=0.36, nll=0.7, rule_accuracy=0.72, best=BestTemperature(row=row, at_bound=at_bound)
    )


def examined(**changes: Any) -> Examined:
    """A sound model, but for `changes`."""
    answers = AnswerFigures(
        rows=10_000,
        non_finite_rows=0,
        logit_min=(-6.0, -3.0, -6.0),
        logit_mean=(0.0, 0.1, 0.0),
        logit_max=(6.0, 3.0, 6.0),
        class_shares=(0.35, 0.3, 0.35),
        mean_confidence=0.72,
        share_over_90=0.2,
        share_over_99=0.03,
        share_50_90=0.7,
        alike_share=0.0001,
    )
    sound: dict[str, Any] = {
        "model": facts(),
        "layer": LayerFigures(features=(QUIET,), largest=3.0, median=0.5),
        "answers": answers,
        "skill": replace(skill(0.73), ece=0.02),
        "clamped_share": None,
        "limits": Limits(ece=0.05, over_99=0.10, min_lift=-0.01, clamped_share=0.01),
    }
    return Examined(**(sound | changes))


def answers(**changes: Any) -> AnswerFigures:
    return replace(examined().answers, **changes)


def names(found: Examined) -> list[str]:
    return [cause.name for cause in likely_causes(found)]


def words(found: Examined) -> str:
    return likely_causes(found)[0].words


def test_nothing_is_found_in_a_sound_model() -> None:
    assert likely_causes(examined()) == ()


def test_raw_prices_without_a_scaler_are_the_cause() -> None:
    v6 = examined(
        model=facts(family="v6", has_scaler=False, has_batch_norm=False, temperature=None),
        layer=LayerFigures(features=(QUIET, CLOSE), largest=15_000.0, median=4_000.0),
        answers=answers(mean_confidence=0.999, share_over_99=0.998, class_shares=(0.98, 0.0, 0.02)),
        skill=skill(0.41, best=8_200.0),
    )
    causes = likely_causes(v6)
    assert causes[0].words == (
        "no scaler: feature 4, close, reaches 79,568 and layer 1 answers with 12,731; 1 of 2 features reach more than 10"
    )
    assert [cause.name for cause in causes] == ["no_scaler", "no_temperature", "one_class", "no_skill"]
    assert causes[1].words == (
        "no temperature: mean confidence 99.9 % where accuracy is 41.0 %; at T = 8,200 ECE would be 1.3 % instead of "
        "36.0 % on these rows"
    )
    assert causes[2].words == "DOWN takes nearly all predictions: DOWN 98.0 %, NEUTRAL 0.0 %, UP 2.0 %"
    assert causes[3].words == "no skill: accuracy 41.0 %, where a one-line rule has 72.0 %"


def test_batch_norm_without_a_scaler_is_named_as_such() -> None:
    v7 = examined(
        model=facts(family="v7", has_scaler=False), layer=LayerFigures(features=(CLOSE,), largest=1.0, median=1.0)
    )
    assert words(v7).startswith("no scaler, but BatchNorm: feature 4, close, reaches 79,568 and layer 1 answers with")
    assert names(v7) == ["no_scaler_but_batch_norm"]


def test_small_inputs_without_a_scaler_are_not_said_to_blow_up() -> None:
    small = replace(QUIET, mean=0.0, std=0.001, scale=None, largest_input=0.01)
    found = examined(model=facts(has_scaler=False), layer=LayerFigures(features=(small,), largest=1.0, median=1.0))
    assert words(found) == "no scaler: feature 1, ret_1, has mean 0 and deviation 0.001, not 0 and 1"


def test_raw_inputs_that_a_repair_kept_are_no_scaler_of_other_candles() -> None:
    found = examined(
        model=facts(source="bundle", family="v6-repaired", scaler_from="identity"),
        layer=LayerFigures(features=(replace(CLOSE, scale=1.0), QUIET), largest=12_730.0, median=5_000.0),
    )
    assert names(found) == ["raw_by_repair"]
    assert words(found) == (
        "raw inputs, kept by its repair: feature 4, close, reaches 79,568 and layer 1 answers with 12,731; a network that "
        "learned on them answers worse without"
    )


def test_a_scaler_of_other_candles_is_recognised() -> None:
    off = replace(CLOSE, scale=100.0, mean=766.0, std=3.0)
    found = examined(layer=LayerFigures(features=(QUIET, off), largest=100.0, median=1.0))
    assert words(found) == (
        "the scaler does not fit these candles: scaled, feature 4, close, has mean 766 and deviation 3, not 0 and 1 "
        "(1 feature off by more than 5); it was fitted in other units or other years"
    )


def test_a_scale_of_zero_is_named_before_what_it_causes() -> None:
    flat = replace(QUIET, scale=0.0, mean=np.nan, std=np.nan, largest_input=np.inf, largest_activation=np.inf)
    found = examined(
        layer=LayerFigures(features=(flat,), largest=np.inf, median=np.nan),
        answers=AnswerFigures(rows=10, non_finite_rows=10),
        skill=None,
    )
    assert names(found) == ["zero_scale", "not_finite"]
    assert words(found) == "the scaler's scale of feature 1, ret_1, is 0: it divides by that"


def test_answers_that_are_not_finite_are_counted() -> None:
    assert words(examined(answers=answers(non_finite_rows=3))) == "3 of 10,000 rows are answered with NaN or infinity"


@pytest.mark.parametrize(
    ("temperature", "confidence", "accuracy", "best", "said"),
    [
        (10.0, 0.36, 0.72, 1.2, "T = 10 is far too high: too timid, mean confidence 36.0 % where accuracy is 72.0 %"),
        (2.0, 0.60, 0.72, 1.2, "T = 2 is too high: too timid, mean confidence 60.0 % where accuracy is 72.0 %"),
        (0.3, 0.95, 0.73, 1.2, "T = 0.3 is far too low: mean confidence 95.0 % where accuracy is 73.0 %"),
        (None, 0.55, 0.72, 0.4, "no temperature: too timid, mean confidence 55.0 % where accuracy is 72.0 %"),
    ],
)
def test_a_wrong_temperature_is_named_with_the_one_that_fits(
    temperature: float | None, confidence: float, accuracy: float, best: float, said: str
) -> None:
    found = examined(
        model=facts(temperature=temperature),
        answers=answers(mean_confidence=confidence),
        skill=skill(accuracy, best=best),
    )
    assert words(found) == f"{said}; at T = {best:g} ECE would be 1.3 % instead of 36.0 % on these rows"


def test_a_confidence_within_the_limit_of_the_accuracy_is_no_fault_of_the_temperature() -> None:
    calibrated = replace(skill(0.73, best=2.0), ece=0.049)
    assert names(examined(answers=answers(mean_confidence=0.779), skill=calibrated)) == []
    assert names(examined(answers=answers(mean_confidence=0.781), skill=calibrated)) == ["temperature_too_low"]


@pytest.mark.parametrize(("confidence", "best"), [(0.60, 1.3), (0.90, 1.1)])
def test_a_gap_that_the_best_temperature_would_widen_is_no_fault_of_the_temperature(
    confidence: float, best: float
) -> None:
    found = examined(answers=answers(mean_confidence=confidence), skill=skill(0.73, best=best))
    assert names(found) == ["miscalibrated"]
    assert words(found) == (
        f"confidence does not follow accuracy: ECE 36.0 %, and 1.3 % at the best temperature, {best:g}"
    )


def test_a_best_temperature_at_the_end_of_the_search_is_said_with_its_ece() -> None:
    found = examined(answers=answers(mean_confidence=0.95), skill=skill(0.72, at_bound=True))
    assert names(found) == ["miscalibrated"]
    assert words(found).endswith(
        "ECE 36.0 %, and the lowest NLL is at the end of what was searched: 1.3 % at the best temperature, 1.2"
    )


def test_sureness_is_judged_without_labels_too() -> None:
    found = examined(answers=answers(share_over_99=0.99), skill=None)
    assert words(found) == "T = 1.2: 99.0 % of the predictions are more than 99 % sure"
    assert names(examined(skill=None)) == []


def test_a_clamp_that_acts_often_is_named() -> None:
    at_work = examined(model=facts(clamp=15.0, family="v6-repaired"), clamped_share=0.34)
    assert words(at_work).startswith("the clamp at 15 acts on 34.0 % of the rows (at most 1.0 %)")
    assert names(examined(clamped_share=0.01)) == []


def test_constant_answers_are_named_rather_than_their_class() -> None:
    found = examined(answers=answers(alike_share=0.998, class_shares=(1.0, 0.0, 0.0)))
    assert names(found) == ["constant"]
    assert words(found).startswith("it answers 99.8 % of the rows alike, whatever their features are")


def test_answers_that_only_look_alike_as_probabilities_are_not_constant() -> None:
    sure = answers(logit_min=(15_684.0, 0.0, -20_000.0), logit_max=(52_011.0, 10.0, 0.0), class_shares=(1.0, 0.0, 0.0))
    assert names(examined(answers=sure)) == ["one_class"]


def test_a_class_that_is_never_predicted_is_named() -> None:
    found = examined(answers=answers(class_shares=(0.39, 0.0, 0.61)))
    assert words(found) == "NEUTRAL is hardly ever predicted: DOWN 39.0 %, NEUTRAL 0.0 %, UP 61.0 %"


def mended(model: ModelFacts, *mends: str, candles: Path | None = Path("my candles")) -> list[list[str]]:
    """The commands of the remedy, as a shell would split them."""
    causes = tuple(Cause(name=name, words="", mend="repair" if name != "no_skill" else "train") for name in mends)
    remedy = remedy_for(model, causes, failed=("accuracy",), candles=candles)
    return [shlex.split(command) for command in remedy.commands]


def test_an_old_file_is_repaired_first() -> None:
    repair, train = mended(facts(family="v6", reference="old models/V6.pt"), "no_scaler", "no_skill")
    options = ["--symbol", "BTC-USD", "--candles", "my candles", "--out", "repaired-BTC-USD"]
    assert repair == ["crpbot", "repair", "old models/V6.pt", *options]
    assert train[:4] == ["crpbot", "run", "--symbols", "BTC-USD"]
    assert train[-1] == "data.path=my candles"


def test_what_lies_in_the_weights_needs_training() -> None:
    assert mended(facts(family="v6"), "no_skill", candles=None) == [["crpbot", "run", "--symbols", "BTC-USD"]]
    assert [command[1] for command in mended(facts(family="v8"), "no_temperature")] == ["run"]


def test_a_dead_network_is_trained_anew_before_a_repair_is_tried() -> None:
    assert [command[1] for command in mended(facts(family="v6"), "no_scaler", "constant")] == ["run", "repair"]


def test_a_bundle_with_a_wrong_temperature_is_sent_to_the_sweep() -> None:
    bundle = facts(source="bundle", reference="0a1b2c3d")
    assert mended(bundle, "temperature_too_high")[0] == ["crpbot", "temperature", "0a1b2c3d", "--candles", "my candles"]


def test_a_model_that_passed_needs_no_remedy() -> None:
    remedy = remedy_for(facts(), (), failed=(), candles=None)
    assert remedy.commands == ()
    assert re.match("Nothing to mend", remedy.words)


def test_a_failure_without_a_known_fault_says_so() -> None:
    remedy = remedy_for(facts(), (), failed=("accuracy", "finite"), candles=None)
    assert remedy.words.startswith("No known fault explains accuracy, finite.")
