"""The four questions that decide about trust, answered in plain words from the measured figures.

Sound? Better than a one-line rule? Does it know direction? Does it pay? A person should have read the answers in ten
seconds; so each has one word first, then the numbers that it rests on.

What does not belong here: markup (the template) and measuring.
"""

from dataclasses import dataclass
from typing import Literal

from models_lib.reports import wording
from models_lib.reports.inputs import Figure, Figures, GateRow, ReportInputs
from models_lib.reports.wording import Say

Tone = Literal["good", "bad", "weak", "unknown"]


@dataclass(frozen=True)
class Answer:
    """One question, its answer in a word or two, and why."""

    question: str
    word: str
    tone: Tone
    why: str


@dataclass(frozen=True)
class Headline:
    """The verdict, and what may be done with the model, in one or two sentences."""

    verdict: str
    tone: Tone
    sentences: tuple[str, ...]


def four_answers(inputs: ReportInputs) -> tuple[Answer, ...]:
    """The answers in the order in which they matter."""
    return _sound(inputs), _beats_the_rule(inputs.figures), _knows_direction(inputs.figures), _pays(inputs)


def headline(inputs: ReportInputs) -> Headline:
    """The verdict and its meaning."""
    match inputs.outcome:
        case "held":
            return Headline("HELD", "bad", _held(inputs))
        case "promoted":
            return Headline("PROMOTED", "good", (_trust(inputs), _sentence(inputs.reason)))
        case "passed":
            later = "Promotion is decided after this page is written; the history of the symbol says what became of it."
            return Headline("PASSED", "good", (_trust(inputs), later))


def failed_gates(gates: tuple[GateRow, ...], severity: str) -> tuple[str, ...]:
    """Names of the gates of that severity that did not pass."""
    return tuple(gate.name for gate in gates if gate.severity == severity and not gate.passed)


def _sentence(reason: str) -> str:
    """`Already champion.` of `already champion`; nothing of nothing."""
    return f"{reason[:1].upper()}{reason[1:].removesuffix('.')}." if reason else ""


def _held(inputs: ReportInputs) -> tuple[str, ...]:
    failed = failed_gates(inputs.gates, "blocking")
    if not failed:
        return "Do not use this model. Its blocking gates did not stop it; something else did:", inputs.reason
    count = sum(gate.severity == "blocking" for gate in inputs.gates)
    told = f"Do not use this model: {len(failed)} of {wording.plural(count, 'blocking gate')} failed."
    # The words of the verdict may say "calibrated volatility": what the model knows at most, not that it is calibrated.
    return told, inputs.reason, "" if _calibrated(inputs.gates) else f"{_probabilities(inputs)}."


def _calibrated(gates: tuple[GateRow, ...]) -> bool:
    return any(gate.name == "calibration_error" and gate.passed for gate in gates)


def _probabilities(inputs: ReportInputs) -> str:
    told = "are calibrated" if _calibrated(inputs.gates) else "were not shown to be calibrated"
    return f"Its probabilities of {inputs.label} {told}"


def _trust(inputs: ReportInputs) -> str:
    """What may be read into the model's answers; only said of a model that passed every blocking gate."""
    direction, money = _knows_direction(inputs.figures).tone, _pays(inputs).tone
    start = _probabilities(inputs)
    if direction == "good" and money == "good":
        return f"{start}, and on these test rows its calls had the right direction more often than not and paid their costs."
    if direction == "good":
        return f"{start} and carry some direction, but do not trade on it alone: no profit after costs was shown."
    if money == "good":
        return (
            f"{start}. Its calls paid on these test rows, but no directional skill was shown: treat the profit as luck."
        )
    return f"{start}. Do not read a direction or a profit into them: neither was shown."


def _sound(inputs: ReportInputs) -> Answer:
    question = "Is it sound?"
    blocking = [gate for gate in inputs.gates if gate.severity == "blocking"]
    failed = failed_gates(inputs.gates, "blocking")
    advisory = failed_gates(inputs.gates, "advisory")
    beside = f" Advisory, not met: {', '.join(advisory)}." if advisory else ""
    if not blocking:
        return Answer(question, "Not measured", "unknown", "No blocking gate was judged.")
    if failed:
        unmeasured = {gate.name for gate in blocking if gate.value is None}
        names = (f"{name} (not measured)" if name in unmeasured else name for name in failed)
        return Answer(question, "No", "bad", f"Failed: {', '.join(names)}.{beside}")
    return Answer(question, "Yes", "good", f"All {len(blocking)} blocking gates were measured and passed.{beside}")


def _beats_the_rule(figures: Figures) -> Answer:
    question = "Better than a one-line rule?"
    if figures.nll_improvement.value is None:
        return Answer(question, "Not measured", "unknown", "The model was not compared with the rule.")
    accuracy = (
        f"Accuracy {wording.percent(figures.accuracy)}, the rule's {wording.percent(figures.mechanical_rule_accuracy)}: "
        f"{_with_range(figures.lift, wording.signed_points)}. "
    )
    improvement = figures.nll_improvement
    nll = f"NLL gained on it: {_with_range(improvement)}."
    match improvement.above:
        case "yes":
            word, tone = _rule_word(figures.lift)
            return Answer(question, word, tone, accuracy + nll)
        case "no":
            return Answer(question, "No, worse", "bad", accuracy + nll)
        case "unclear":
            return Answer(question, "Not shown", "weak", accuracy + nll + " The interval holds zero.")
        case None:
            return Answer(question, "Not measured", "unknown", accuracy + nll)


def _rule_word(lift: Figure) -> tuple[str, Tone]:
    """Better probabilities are a yes; the word says so when the calls themselves are no better than the rule's."""
    match lift.above:
        case "yes":
            return "Yes", "good"
        case "no":
            return "In probabilities only", "weak"
        case _:
            return "Yes, in its probabilities", "good"


def _knows_direction(figures: Figures) -> Answer:
    question = "Does it know direction?"
    driftless, calls = figures.driftless_improvement, figures.directional_accuracy
    numbers = (
        f"Its calls have the right direction: {_with_range(calls, wording.percent)}; a coin's: 50 %. "
        f"NLL gained on volatility alone: {_with_range(driftless)}."
    )
    if driftless.above is None or calls.against(0.5) is None:
        return Answer(question, "Not measured", "unknown", numbers)
    if driftless.above != "yes":
        return Answer(question, "No skill shown", "weak", f"What it knows is volatility at most. {numbers}")
    if calls.against(0.5) == "no":
        return Answer(question, "No, worse than a coin", "bad", f"The price tends to go the other way. {numbers}")
    if calls.against(0.5) != "yes":
        return Answer(question, "Not shown", "weak", f"Its calls are not told apart from a coin's. {numbers}")
    return Answer(question, "Yes, some", "good", numbers)


def _pays(inputs: ReportInputs) -> Answer:
    question = "Does it pay after costs?"
    edge = inputs.figures.edge_after_costs_bp
    if edge.value is None:
        return Answer(question, "Not measured", "unknown", "No edge after costs measured.")
    numbers = (
        f"{_with_range(edge, wording.basis_points)} a call, after {inputs.evaluation_section.costs_bp:g} bp of costs."
    )
    if not edge.value > 0:
        return Answer(question, "No", "bad", f"No edge after costs measured: {numbers}")
    if edge.above is None:
        return Answer(question, "Not shown", "weak", f"Positive, but without an interval nobody can tell: {numbers}")
    if edge.above == "yes":
        return Answer(question, "Yes, on these rows", "good", numbers)
    return Answer(question, "Not shown", "weak", f"Positive, but the interval holds zero: {numbers}")


def _with_range(figure: Figure, say: Say = wording.signed) -> str:
    if figure.value is None:
        return wording.NOT_MEASURED
    bounds = "interval not measured" if figure.interval is None else wording.interval(figure.interval, say)
    return f"{say(figure.value)} ({bounds})"
