"""The page as a whole: self-contained, whole, escaped, and honest about what nobody measured."""

import dataclasses
import re
from datetime import datetime, timedelta
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest

from models_lib.config import EvaluationSection, GatesSection, LimitGate
from models_lib.reports.inputs import Hole, PaidTraining
from models_lib.reports.writer import render_report
from tests.unit.reports.conftest import NO_DIRECTION, START

NAMES = ("good", "held", "broken", "unmeasured")
VOID = {"meta", "br", "img", "input", "link", "hr"}


class Reader(HTMLParser):
    """Collects tags, attributes and visible text, and notices tags that do not close in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.text, self.disorder = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.disorder.append((tag, self.getpos()))

    def handle_data(self, data):
        if "style" not in self.open and data.strip():
            self.text.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def words(page):
    return re.sub(r"\s+", " ", " ".join(Reader(page).text))


@pytest.mark.parametrize("name", NAMES)
def test_page_asks_for_nothing_outside_itself(pages, name):
    page, reader = pages[name], Reader(pages[name])
    policy = [tag for tag in reader.of("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0]["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    references = [
        value
        for _, attributes in reader.tags
        for key, value in attributes.items()
        if key in {"src", "href", "xlink:href", "srcset", "action", "poster", "data"}
    ]
    assert all(value.startswith("#") for value in references)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert "://" not in page
    assert "@import" not in page


@pytest.mark.parametrize("name", NAMES)
def test_page_is_well_formed_and_its_anchors_are_distinct(pages, name):
    reader = Reader(pages[name])
    assert reader.disorder == []
    assert reader.open == []
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {value[1:] for _, attributes in reader.tags for key, value in attributes.items() if key == "href"}
    assert wanted <= set(ids)


@pytest.mark.parametrize("name", NAMES)
def test_page_can_be_read_without_eyes(pages, name):
    reader = Reader(pages[name])
    assert reader.of("html")[0]["lang"] == "en"
    assert all(attributes.get("aria-label") and attributes["role"] == "img" for attributes in reader.of("svg"))
    assert all("scope" in attributes for attributes in reader.of("th"))
    assert len([tag for tag, _ in reader.tags if tag == "h1"]) == 1


@pytest.mark.parametrize("name", NAMES)
def test_page_never_shows_the_words_of_a_programming_language(pages, name):
    shown = words(pages[name])
    assert not re.search(r"\b(None|True|False|nan %|Undefined)\b", shown)
    assert "{{" not in shown
    assert "{%" not in shown


@pytest.mark.parametrize("name", NAMES)
def test_charts_follow_the_theme_and_the_page_has_no_marker_colour_left(pages, name):
    assert not re.search(r"#0[1-6]0[1-6]0[1-6]", pages[name])


def test_page_of_two_years_with_thousands_of_holes_stays_below_600_kb(samples):
    random = np.random.default_rng(0)
    rows = 157_000
    logits = random.normal(0, 3, (rows, 3)).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    data = samples["good"].data
    holes = tuple(
        Hole(
            start=data.first + timedelta(minutes=70 * i),
            end=data.first + timedelta(minutes=70 * i + 6),
            minutes=6,
        )
        for i in range(15_000)
    )
    last = data.first + timedelta(days=730)
    report = dataclasses.replace(
        samples["good"],
        logits=logits,
        probabilities=probabilities,
        data=dataclasses.replace(data, last=last, holes=holes),
    )
    assert len(render_report(report).encode()) < 600_000


def test_page_puts_the_rules_beside_the_accuracy_and_carries_the_words_of_the_verdict(pages):
    shown = words(pages["good"])
    for told in (
        "BTC-USD PROMOTED",
        "Majority class",
        "35.1 %",
        "One-line rule",
        "73.6 %",
        "Driftless rule",
        "0.585",
        "This model",
        "74.1 %",
        "calibrated volatility; no directional skill shown",
        "no edge after costs measured",
        "43 blocks of 240 bars",
        "the 10,400 test rows carry as much as 1,840 independent ones",
    ):
        assert told in shown


def test_page_says_not_measured_wherever_nothing_was_measured(pages):
    shown = words(pages["unmeasured"])
    assert "No intervals: 12 blocks of 240 bars, at least 30 are needed. Effective rows: not measured." in shown
    for title in ("Reliability", "Confusion", "Logits", "Seconds per step"):
        assert f"{title} not measured" in shown
    assert "NLL gained on the driftless rule above 0 it knows more than volatility not measured not measured" in shown


def test_page_shows_how_far_every_feature_went_beside_its_own_limit(pages):
    shown = words(pages["good"])
    assert "1 of 72 features are further from their training rows in the newest week than their limit" in shown
    assert "their own 6 weeks before it, and at least 0.25" in shown
    assert "feature_00 0.36 0.25 no feature_01 0.18 0.25 yes" in shown
    assert "feature_09" in shown
    assert "feature_10" not in shown
    assert "Drift not measured: it needs a day of the newest week" in words(pages["unmeasured"])


def test_page_of_fetched_candles_shows_what_the_exchange_said(samples, pages):
    shown = words(pages["good"])
    assert "Fetched from coinbase as BTC/USD, volume in BTC; 3 bars that the exchange had corrected" in shown
    assert "Its clock is -41 ms from this machine's." in shown
    assert "no trades 198 minutes in 13 holes, outage 1,940 minutes in 2 holes." in shown
    assert "jump 1,200 1,000 yes 100 to 112 at 2026-01-01T09:01Z" in shown
    assert "median deviation not measured 10 no closes: not measured, nobody asked" in shown
    plain = dataclasses.replace(samples["good"], data=dataclasses.replace(samples["good"].data, fetched=None))
    assert "Fetched from" not in words(render_report(plain))


def test_page_names_data_alarms_beside_the_verdict(samples, pages):
    shown = words(pages["good"])
    assert shown.index("data alarm: jump") < shown.index("Is it sound?")
    fetched = samples["good"].data.fetched
    calm = dataclasses.replace(fetched, checks=tuple(dataclasses.replace(one, alarm=False) for one in fetched.checks))
    data = dataclasses.replace(samples["good"].data, fetched=calm)
    assert "data alarm" not in words(render_report(dataclasses.replace(samples["good"], data=data)))


def test_page_of_a_simulated_market_warns_first(samples, pages):
    shown = words(pages["broken"])
    assert shown.index("nothing on this page says anything about real prices") < shown.index("SOL-USD HELD")
    assert "real prices" not in words(pages["good"])


def test_page_of_the_planted_market_shows_the_best_possible_accuracy(samples):
    shown = words(render_report(dataclasses.replace(samples["good"], best_possible_accuracy=0.752)))
    assert "Best possible" in shown
    assert "the model reaches 98.5 % of it" in shown  # 0.741 / 0.752 = 0.98537


def test_a_moved_limit_is_pointed_out(samples):
    section = GatesSection(accuracy=LimitGate(limit=0.4))
    shown = words(render_report(dataclasses.replace(samples["good"], gates_section=section)))
    assert "Changed by the configuration: limit 0.4, shipped 0.68." in shown
    assert "Judged otherwise than shipped: gates.accuracy.limit 0.4, shipped 0.68." in shown
    assert not re.search("Changed by|Judged otherwise", words(render_report(samples["good"])))


def test_figures_that_were_measured_otherwise_are_pointed_out(samples):
    section = EvaluationSection(costs_bp=0.5, ece_bins=1)
    shown = words(render_report(dataclasses.replace(samples["good"], evaluation_section=section)))
    assert (
        "Judged otherwise than shipped: evaluation.costs_bp 0.5, shipped 10; evaluation.ece_bins 1, shipped 15."
    ) in shown
    assert "after 0.5 bp of costs" in shown


def test_foreign_text_is_shown_and_never_obeyed(samples):
    hostile = "<script>alert(1)</script> & \"quoted\" <img src=x onerror='y'>"
    report = dataclasses.replace(
        samples["held"],
        reason=hostile,
        label_meaning=hostile,
        provenance={hostile: hostile},
        gates=(dataclasses.replace(samples["held"].gates[0], name=hostile, note=hostile), *samples["held"].gates[1:]),
    )
    reader = Reader(render_report(report))
    assert not {tag for tag, _ in reader.tags} & {"script", "img"}
    assert hostile in "".join(reader.text)


def test_same_inputs_give_the_same_bytes(samples, pages):
    assert render_report(samples["good"]) == pages["good"]


def test_template_is_a_part_of_the_package():
    assert resources.files("models_lib.reports").joinpath("templates/report.html.j2").is_file()


@pytest.mark.parametrize("outcome", ["promoted", "passed"])
def test_a_good_verdict_over_a_failed_blocking_gate_is_refused(samples, outcome):
    with pytest.raises(
        ValueError, match=r"must not say .* with failed blocking gates: accuracy, beats_mechanical_rule"
    ):
        dataclasses.replace(samples["held"], outcome=outcome)


def test_a_good_verdict_without_any_gate_is_refused(samples):
    with pytest.raises(ValueError, match="without a blocking gate measured"):
        dataclasses.replace(samples["good"], gates=())


def test_a_naive_time_is_refused(samples):
    with pytest.raises(ValueError, match="aware"):
        dataclasses.replace(samples["good"], written_at=datetime(2026, 11, 21))  # noqa: DTZ001 - the subject of the test


@pytest.mark.parametrize(
    ("stop", "stopped_by", "told"),
    [
        ("max_epochs", (), "all epochs done."),
        ("patience", (), "no better epoch for too long."),
        (
            "gates",
            ("logit_range", "overconfidence"),
            "a blocking gate failed in each of 3 consecutive epochs: logit_range, overconfidence.",
        ),
    ],
)
def test_page_says_why_the_training_ended(samples, stop, stopped_by, told):
    history = dataclasses.replace(samples["held"].history, stop=stop, stopped_by=stopped_by)
    shown = words(render_report(dataclasses.replace(samples["held"], history=history)))
    assert f"Training ended after epoch 8: {told} Trained on cpu." in shown


def test_page_of_a_model_held_for_its_calibration_calls_no_probability_of_its_own_calibrated(samples):
    gates = tuple(
        dataclasses.replace(gate, value=0.21, passed=False) if gate.name == "calibration_error" else gate
        for gate in samples["good"].gates
    )
    held = dataclasses.replace(samples["good"], gates=gates, outcome="held", reason="held by calibration_error")
    shown = words(render_report(held))
    assert "Its probabilities of trend(60, 15) were not shown to be calibrated." in shown
    assert shown.count(NO_DIRECTION) == 1, "the words of the verdict stay as they are"
    plain = shown.replace(NO_DIRECTION, "").replace("not shown to be calibrated", "")
    assert set(re.findall(r"\w+ calibrated \S+(?: \S+)?", plain)) == {
        "the calibrated one-line rule;",
        "the calibrated rule nats",
        "perfectly calibrated this model",  # the key of the reliability diagram: its diagonal, and the model's line
    }


def test_logits_that_are_not_finite_leave_a_page_without_their_chart(samples):
    logits = np.full((10, 3), np.nan, dtype=np.float32)
    shown = words(render_report(dataclasses.replace(samples["held"], logits=logits)))
    assert "Logits not measured" in shown


def test_reliability_chart_is_never_cut_where_the_model_is_worst(samples):
    """A model that is always sure and mostly wrong: its only point lies low at the right edge and must be drawn."""
    page = render_report(samples["broken"])
    chart = page[page.index("Reliability diagram") :]
    points = re.findall(
        r'<use href="#m\w+" x="([\d.]+)" y="([\d.]+)" style="fill: var\(--blue\)', chart[: chart.index("</svg>")]
    )
    box = [float(number) for number in re.search(r'viewBox="([^"]*)"', page).group(1).split()]
    assert points
    assert all(0 < float(x) < box[2] and 0 < float(y) < box[3] for x, y in points)


def test_numbers_keep_their_units_on_the_same_line(pages):
    assert "74.1\N{NO-BREAK SPACE}%" in pages["good"]
    assert not re.search(r"\d (%|bp)", pages["good"])


def test_costs_are_drawn_only_where_something_was_paid(samples, pages):
    assert "rented machine" not in pages["good"]
    paid = tuple(PaidTraining(ended_at=START + timedelta(days=day), usd=0.5 + 0.1 * day) for day in range(3))
    page = render_report(dataclasses.replace(samples["good"], paid=paid))
    assert "What each paid training was billed, by day" in page
    assert "on a rented machine, at the price of its day; together 1.80 USD." in page
    one = render_report(dataclasses.replace(samples["good"], paid=paid[:1]))
    assert "together 0.50 USD" in one
