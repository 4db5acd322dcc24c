"""The four answers and the headline: a word that never says more than the interval does."""

import dataclasses

import pytest

from models_lib.reports.answers import four_answers, headline
from models_lib.reports.comparison import differences, ladder
from models_lib.reports.inputs import Figure, Figures


def answer_of(report, place, **changes):
    figures = dataclasses.replace(report.figures, **changes)
    return four_answers(dataclasses.replace(report, figures=figures))[place]


@pytest.mark.parametrize(
    ("improvement", "lift", "word", "tone"),
    [
        (Figure(value=0.03, interval=(0.02, 0.04)), Figure(value=0.02, interval=(0.01, 0.03)), "Yes", "good"),
        (
            Figure(value=0.03, interval=(0.02, 0.04)),
            Figure(value=0.0, interval=(-0.01, 0.01)),
            "Yes, in its probabilities",
            "good",
        ),
        (
            Figure(value=0.03, interval=(0.02, 0.04)),
            Figure(value=-0.02, interval=(-0.03, -0.01)),
            "In probabilities only",
            "weak",
        ),
        (Figure(value=0.01, interval=(-0.01, 0.03)), Figure(value=0.02), "Not shown", "weak"),
        (Figure(value=-0.03, interval=(-0.04, -0.02)), Figure(value=0.02), "No, worse", "bad"),
        (Figure(value=0.03), Figure(value=0.02), "Not measured", "unknown"),
        (Figure(value=float("nan"), interval=(0.01, 0.02)), Figure(), "Not measured", "unknown"),
        (Figure(), Figure(), "Not measured", "unknown"),
    ],
)
def test_answer_to_the_one_line_rule_follows_the_interval(samples, improvement, lift, word, tone):
    answer = answer_of(samples["good"], 1, nll_improvement=improvement, lift=lift)
    assert (answer.word, answer.tone) == (word, tone)


@pytest.mark.parametrize(
    ("driftless", "calls", "word"),
    [
        (Figure(value=0.01, interval=(0.005, 0.02)), Figure(value=0.53, interval=(0.51, 0.55)), "Yes, some"),
        (Figure(value=0.01, interval=(0.005, 0.02)), Figure(value=0.51, interval=(0.49, 0.53)), "Not shown"),
        (
            Figure(value=0.01, interval=(0.005, 0.02)),
            Figure(value=0.46, interval=(0.45, 0.47)),
            "No, worse than a coin",
        ),
        (Figure(value=0.01, interval=(-0.005, 0.02)), Figure(value=0.53, interval=(0.51, 0.55)), "No skill shown"),
        (Figure(value=-0.01, interval=(-0.02, -0.005)), Figure(value=0.53, interval=(0.51, 0.55)), "No skill shown"),
        (Figure(value=0.01), Figure(value=0.53, interval=(0.51, 0.55)), "Not measured"),
        (Figure(value=0.01, interval=(0.005, 0.02)), Figure(), "Not measured"),
    ],
)
def test_direction_is_only_claimed_above_the_driftless_rule_and_above_a_coin(samples, driftless, calls, word):
    answer = answer_of(samples["good"], 2, driftless_improvement=driftless, directional_accuracy=calls)
    assert answer.word == word


@pytest.mark.parametrize(
    ("edge", "word"),
    [
        (Figure(value=2.0, interval=(0.5, 3.5)), "Yes, on these rows"),
        (Figure(value=2.0, interval=(-0.5, 4.5)), "Not shown"),
        (Figure(value=2.0), "Not shown"),
        (Figure(value=0.0, interval=(-1.0, 1.0)), "No"),
        (Figure(value=-9.8, interval=(-11.0, -8.6)), "No"),
        (Figure(value=float("nan"), interval=None), "No"),
        (Figure(), "Not measured"),
    ],
)
def test_profit_is_only_claimed_where_the_interval_lies_above_zero(samples, edge, word):
    answer = answer_of(samples["good"], 3, edge_after_costs_bp=edge)
    assert answer.word == word
    assert answer.word.startswith("Yes") or answer.tone != "good"


def test_soundness_names_every_failed_blocking_gate_and_says_which_were_not_measured(samples):
    good, held, unmeasured = (four_answers(samples[name])[0] for name in ("good", "held", "unmeasured"))
    assert good.word == "Yes"
    assert good.why.startswith("All 9 blocking gates were measured and passed.")
    assert held.why.startswith("Failed: accuracy, beats_mechanical_rule.")
    assert "beats_mechanical_rule (not measured)" in unmeasured.why


def test_headline_of_a_good_model_without_direction_warns_against_reading_one_into_it(samples):
    told = headline(samples["good"])
    assert told.verdict == "PROMOTED"
    assert told.sentences[0] == (
        "Its probabilities of trend(60, 15) are calibrated. Do not read a direction or a profit into them: neither was shown."
    )


def test_headline_of_a_lucky_model_does_not_call_the_profit_skill(samples):
    figures = dataclasses.replace(samples["good"].figures, edge_after_costs_bp=Figure(value=3.0, interval=(1.0, 5.0)))
    assert "treat the profit as luck" in headline(dataclasses.replace(samples["good"], figures=figures)).sentences[0]


def test_headline_never_says_calibrated_when_the_calibration_gate_failed(samples):
    gates = tuple(
        dataclasses.replace(gate, severity="advisory", passed=False) if gate.name == "calibration_error" else gate
        for gate in samples["good"].gates
    )
    told = headline(dataclasses.replace(samples["good"], gates=gates)).sentences[0]
    assert "were not shown to be calibrated" in told


def test_headline_of_a_model_held_for_its_calibration_says_that_it_is_not_calibrated(samples):
    broken, held = headline(samples["broken"]), headline(samples["held"])
    assert broken.sentences[-1] == "Its probabilities of trend(60, 15) were not shown to be calibrated."
    assert "calibrated" not in " ".join(held.sentences)


def test_headline_of_the_champion_itself_says_so(samples):
    told = headline(dataclasses.replace(samples["good"], reason="already champion"))
    assert (told.verdict, told.sentences[-1]) == ("PROMOTED", "Already champion.")
    assert headline(dataclasses.replace(samples["good"], reason="")).sentences[-1] == ""


def test_headline_before_the_promotion_says_where_to_look(samples):
    told = headline(dataclasses.replace(samples["good"], outcome="passed", reason=""))
    assert told.verdict == "PASSED"
    assert "Promotion is decided after this page is written" in told.sentences[-1]


def test_headline_of_a_held_model_says_do_not_use_it(samples):
    told = headline(samples["held"])
    assert told.verdict == "HELD"
    assert told.sentences[0] == "Do not use this model: 2 of 9 blocking gates failed."


def test_headline_of_a_model_held_for_another_reason_does_not_blame_the_gates(samples):
    told = headline(dataclasses.replace(samples["good"], outcome="held", reason="The deployment was rolled back."))
    assert told.sentences == (
        "Do not use this model. Its blocking gates did not stop it; something else did:",
        "The deployment was rolled back.",
    )


def test_ladder_holds_what_needs_no_model_in_order(samples):
    rungs = ladder(samples["good"].figures, None)
    assert [rung.name for rung in rungs] == [
        "Equal guess",
        "Majority class",
        "One-line rule",
        "Driftless rule",
        "This model",
    ]
    assert rungs[0].nll == pytest.approx(1.0986, abs=1e-4)  # ln 3
    assert [rung.accuracy for rung in rungs[1:]] == [0.351, 0.736, 0.742, 0.741]


def test_whisker_lies_on_the_side_of_the_neutral_line_that_the_numbers_say(samples):
    by_name = {line.name: line for line in differences(samples["good"].figures, 10.0)}
    gained = by_name["NLL gained on the calibrated rule"]
    assert gained.tone == "good"
    assert 50 < gained.whisker.low < gained.whisker.value < gained.whisker.high <= 100
    coin = by_name["Directional accuracy"]  # 0.478 to 0.528 around one half: (0.503 - 0.5) / (1.15 * 0.028) * 50 + 50
    assert coin.tone == "weak"
    assert coin.whisker.value == pytest.approx(54.66, abs=0.01)
    assert by_name["Return of its calls after costs"].whisker.high < 50


def test_a_difference_without_an_interval_has_no_whisker_and_no_colour_of_success(samples):
    figures = dataclasses.replace(samples["good"].figures, lift=Figure(value=0.2))
    line = differences(figures, 10.0)[0]
    assert (line.whisker, line.tone, line.interval) == (None, "unknown", "not measured")


METRICS = {
    "accuracy": 0.741,
    "ece": 0.017,
    "nll": 0.588,
    "mean_confidence": 0.73,
    "share_over_90": 0.23,
    "share_over_99": 0.07,
    "share_50_90": 0.73,
    "max_abs_logit": 8.4,
    "class_shares": [0.34, 0.31, 0.35],
    "mechanical_rule_accuracy": 0.736,
    "mechanical_rule_nll": 0.622,
    "majority_accuracy": 0.351,
    "lift": 0.005,
    "lift_interval": [-0.003, 0.012],
    "nll_improvement": 0.034,
    "nll_improvement_interval": None,
    "driftless_rule_nll": 0.585,
    "directional_accuracy": 0.503,
    "edge_bp": 0.4,
    "edge_after_costs_bp": -9.8,
    "effective_rows": 1840.0,
}


def test_figures_come_from_the_summary_s_metrics():
    figures = Figures.from_metrics(METRICS)
    assert figures.lift == Figure(value=0.005, interval=(-0.003, 0.012))
    assert figures.nll_improvement == Figure(value=0.034, interval=None)
    assert figures.driftless_improvement.value == pytest.approx(-0.003)  # .585 - .588
    assert figures.class_shares == (0.34, 0.31, 0.35)


@pytest.mark.parametrize("key", ["accuracy", "lift", "driftless_rule_nll", "class_shares", "effective_rows"])
def test_a_missing_key_is_an_error_and_never_reads_as_not_measured(key):
    with pytest.raises(ValueError, match=f"must hold {key}"):
        Figures.from_metrics({name: value for name, value in METRICS.items() if name != key})
