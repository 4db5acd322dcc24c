"""What a finished run tells: one or two notices a symbol and one for the run, or one digest for many symbols."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models_lib.config import load_config
from models_lib.errors import DataError
from models_lib.notifications import Notice
from models_lib.notifications.verdicts import FIRST_IN_A_DIGEST, LONGEST_NOTE, notices_of
from models_lib.steps.outcome import NOT_CONFIGURED, Deployment, SymbolOutcome, failed_outcome
from models_lib.steps.plan import RunPlan, plan_run

NOW = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
LINK = "http://127.0.0.1:4200/runs/flow-run/1"
METRICS: dict[str, Any] = {
    "accuracy": 0.61,
    "mechanical_rule_accuracy": 0.60,
    "nll": 0.9,
    "mechanical_rule_nll": 0.91,
    "driftless_rule_nll": 0.95,
}


def plan(tmp_path: Path, *settings: str) -> RunPlan:
    return plan_run(load_config(None, settings), home=tmp_path, symbols=None, who="test", now=NOW)


def gate(name: str, value: Any, limit: Any, **changes: Any) -> dict[str, Any]:
    base = {
        "name": name,
        "split": "test",
        "value": value,
        "limit": limit,
        "severity": "blocking",
        "passed": False,
        "note": "",
    }
    return base | changes


def outcome(symbol: str, verdict: str, reason: str = "", **changes: Any) -> SymbolOutcome:
    base: dict[str, Any] = {
        "symbol": symbol,
        "outcome": verdict,
        "bundle": "ab" * 32,
        "reason": reason,
        "gates": [],
        "metrics": {"test": METRICS},
        "words": [],
        "temperature": 1.0,
        "rows": None,
        "champion": None,
        "deployment": NOT_CONFIGURED,
        "report": f"/home/{symbol}/report.html",
        "seconds": {},
    }
    return SymbolOutcome.model_validate(base | changes)


def told(
    tmp_path: Path, *outcomes: SymbolOutcome, link: str | None = LINK, settings: tuple[str, ...] = ()
) -> list[Notice]:
    return notices_of(plan(tmp_path, *settings), {one.symbol: one for one in outcomes}, link, now=NOW)


def events(notices: list[Notice]) -> list[tuple[str | None, str]]:
    return [(notice.symbol, notice.event) for notice in notices]


def test_held_is_told_with_its_gates_and_the_words_of_the_verdict(tmp_path: Path) -> None:
    gates = [
        gate("accuracy", 0.61, 0.68),
        gate("class_balance", [0.1, 0.7], [0.15, 0.6], note="DOWN 10 %"),
        gate("finite", 0.0, 0.0, passed=True),
        gate("edge_after_costs", -9.1, 0.0, severity="advisory"),
        gate("calibration_error", None, 0.05, note="not measured"),
    ]
    words = ["no edge after costs measured"]
    held, completed = told(
        tmp_path,
        outcome("BTC-USD", "held", "held by accuracy, class_balance, calibration_error", gates=gates, words=words),
    )
    assert [(figure.name, figure.value, figure.limit) for figure in held.figures] == [
        ("accuracy", 0.61, 0.68),
        ("class_balance", (0.1, 0.7), (0.15, 0.6)),
        ("calibration_error", None, 0.05),
    ]
    assert held.title().startswith(
        "BTC-USD held: by accuracy, class_balance, calibration_error; accuracy 61.0 % (rule 60.0 %)"
    )
    assert "no edge after costs measured" in held.reason
    assert (held.link, held.time) == (LINK, NOW)
    assert completed.title() == "run completed: 0 of 1 promoted; held: BTC-USD"


def test_promoted_and_deployed_are_two_notices(tmp_path: Path) -> None:
    deployed = Deployment(target="folder", outcome="deployed", release="7")
    notices = told(tmp_path, outcome("BTC-USD", "promoted", deployment=deployed))
    assert events(notices) == [("BTC-USD", "promoted"), ("BTC-USD", "deployed"), (None, "completed")]
    assert notices[1].reason == "folder runs release 7"
    assert len({notice.id for notice in notices}) == 3


@pytest.mark.parametrize(("answer", "event"), [("rolled_back", "rolled_back"), ("failed", "failed")])
def test_deployment_that_did_not_work_is_told_beside_the_verdict(answer: str, event: str, tmp_path: Path) -> None:
    deployment = Deployment.model_validate({"target": "folder", "outcome": answer, "release": "6"})
    notices = told(tmp_path, outcome("BTC-USD", "held", "deployment: no answer", deployment=deployment))
    assert events(notices) == [("BTC-USD", "held"), ("BTC-USD", event), (None, "completed")]
    assert notices[1].stage == "deploy"
    assert "no answer" in notices[1].reason


def test_host_that_does_not_answer_for_what_it_runs_is_told_the_loudest(tmp_path: Path) -> None:
    deployment = Deployment(target="tokyo", outcome="failed", release=None, unhealthy=True)
    notices = told(tmp_path, outcome("BTC-USD", "held", "deployment: no health", deployment=deployment))
    assert events(notices)[1] == ("BTC-USD", "failed")
    assert notices[1].reason.startswith("LOOK AT tokyo NOW: ")
    assert notices[1].title().startswith("BTC-USD failed")


JUMP = {"name": "jump", "value": 1_200.0, "limit": 1_000.0, "alarm": True, "words": "the largest change is 1,200 bp."}
STUCK = {"name": "stuck_price", "value": 44.0, "limit": 29.0, "alarm": True, "words": "44 minutes have one price."}


def test_alarms_about_the_candles_are_told_beside_the_verdict(tmp_path: Path) -> None:
    notices = told(tmp_path, outcome("BTC-USD", "promoted", data={"alarms": [JUMP, STUCK]}))
    assert events(notices) == [("BTC-USD", "promoted"), ("BTC-USD", "data_alarm"), (None, "completed")]
    alarm = notices[1]
    assert alarm.title() == "BTC-USD data alarm: the largest change is 1,200 bp."
    assert alarm.reason.splitlines() == ["the largest change is 1,200 bp.", "44 minutes have one price."]
    assert alarm.figure_lines() == ["jump: 1,200 (limit 1,000)", "stuck_price: 44 (limit 29)"]
    assert alarm.stage == "candles"
    quiet = told(tmp_path, outcome("BTC-USD", "promoted", data={"alarms": []}))
    assert events(quiet) == [("BTC-USD", "promoted"), (None, "completed")]


def test_alarms_about_the_candles_are_told_although_the_champion_stays(tmp_path: Path) -> None:
    notices = told(tmp_path, outcome("BTC-USD", "promoted", "already champion", data={"alarms": [JUMP]}))
    assert events(notices) == [("BTC-USD", "data_alarm"), (None, "completed")]


def test_alarms_about_many_symbols_are_counted_in_the_digest(tmp_path: Path) -> None:
    outcomes = [outcome(f"S{i:03d}-USD", "promoted", data={"alarms": [JUMP]}) for i in range(9)]
    (digest,) = told(tmp_path, *outcomes)
    assert digest.event == "data_alarm"
    assert digest.reason.splitlines()[:2] == [
        "9 symbols: 9 data alarm, 9 promoted",
        "- S000-USD data alarm: the largest change is 1,200 bp.",
    ]


def test_notes_of_any_length_and_lines_are_told(tmp_path: Path) -> None:
    gates = [gate("not_worse_than_champion", None, 0.0, note="the champion cannot be loaded:\n" + "x" * 5_000)]
    held, _ = told(tmp_path, outcome("BTC-USD", "held", "held\nby\x00 all", gates=gates))
    assert held.figures[0].note.startswith("the champion cannot be loaded: xxx")
    assert len(held.figures[0].note) == LONGEST_NOTE


def test_failed_is_told_with_its_reason(tmp_path: Path) -> None:
    failed, completed = told(tmp_path, failed_outcome("ETH-USD", DataError("ETH-USD: 3 minutes are missing")))
    assert (failed.event, failed.figures) == ("failed", ())
    assert failed.reason == "ETH-USD: 3 minutes are missing"
    assert completed.reason == "0 of 1 promoted; failed: ETH-USD"


def test_champion_that_stays_is_named_by_the_run_alone(tmp_path: Path) -> None:
    (completed,) = told(tmp_path, outcome("BTC-USD", "promoted", "already champion"))
    assert completed.reason == "1 of 1 promoted\nalready champion: BTC-USD"


def test_without_a_page_in_the_ui_the_report_is_linked(tmp_path: Path) -> None:
    held, completed = told(tmp_path, outcome("BTC-USD", "held", "held by accuracy"), link=None)
    assert (held.link, completed.link) == ("/home/BTC-USD/report.html", None)


def test_unwanted_events_are_left_out(tmp_path: Path) -> None:
    settings = ("notifications.events=[failed]",)
    outcomes = [outcome("BTC-USD", "held"), failed_outcome("ETH-USD", DataError("bad"))]
    assert events(told(tmp_path, *outcomes, settings=settings)) == [("ETH-USD", "failed")]
    assert told(tmp_path, outcomes[0], settings=settings) == []


def many(count: int) -> list[SymbolOutcome]:
    made: list[SymbolOutcome] = []
    for number in range(count):
        symbol = f"C{number:03d}-USD"
        kinds = (
            failed_outcome(symbol, DataError(f"{symbol}: bad")),
            outcome(symbol, "held", "held by accuracy", gates=[gate("accuracy", 0.61, 0.68)]),
            outcome(symbol, "promoted", deployment=Deployment(target="folder", outcome="deployed", release="7")),
        )
        made.append(kinds[number % 3])
    return made


def test_many_symbols_are_one_digest_with_counts_and_the_gravest_first(tmp_path: Path) -> None:
    (digest,) = told(tmp_path, *many(300))
    assert (digest.event, digest.symbol, digest.stage, digest.link) == ("failed", None, "digest", LINK)
    lines = digest.reason.splitlines()
    assert lines[0] == "300 symbols: 100 failed, 100 held, 100 promoted, 100 deployed"
    assert lines[1] == "- C000-USD failed: C000-USD: bad"
    assert len(lines) == 1 + FIRST_IN_A_DIGEST + 1
    assert lines[-1] == f"and {200 - FIRST_IN_A_DIGEST} more; the summary has them all"


def test_digest_begins_above_the_configured_number(tmp_path: Path) -> None:
    settings = ("notifications.digest_symbols=3",)
    assert len(told(tmp_path, *many(3), settings=settings)) == 5
    assert len(told(tmp_path, *many(4), settings=settings)) == 1


def test_digest_tells_only_what_is_wanted(tmp_path: Path) -> None:
    (digest,) = told(tmp_path, *many(9), settings=("notifications.events=[held, completed]",))
    assert digest.event == "held"
    assert digest.reason.splitlines()[0] == "9 symbols: 3 held"
    assert told(tmp_path, *many(9), settings=("notifications.events=[crashed]",)) == []


def test_digest_of_a_quiet_night_is_a_completed_run(tmp_path: Path) -> None:
    unchanged = [outcome(f"C{number:03d}-USD", "promoted", "already champion") for number in range(9)]
    (digest,) = told(tmp_path, *unchanged, link=None)
    assert (digest.event, digest.reason) == ("completed", "9 symbols: no news")
    assert digest.link is not None
    assert digest.link.endswith("summary.md")


LEAK = {"name": "directional_accuracy", "value": 0.52, "limit": 0.5, "words": "control signflip: coin tosses."}


def a_control(alarm: dict[str, Any] | None) -> dict[str, Any]:
    return {"name": "signflip", "metrics": METRICS, "alarm": alarm, "device": "cpu", "seconds": 3.0, "reason": ""}


def test_controls_are_told_with_the_verdict_and_their_alarms_beside_it(tmp_path: Path) -> None:
    notices = told(tmp_path, outcome("BTC-USD", "held", "by accuracy", controls=[a_control(LEAK)]))
    assert events(notices) == [("BTC-USD", "held"), ("BTC-USD", "control_alarm"), (None, "completed")]
    lines = notices[0].reason.splitlines()
    assert [line.partition(":")[0] for line in lines[1:]] == ["model", "flipped signs"]
    assert "accuracy 61.0 %, one-line rule 60.0 %" in lines[2]
    alarm = notices[1]
    assert (alarm.stage, alarm.reason) == ("controls", LEAK["words"])
    assert alarm.figure_lines() == ["directional_accuracy: 0.52 (limit 0.5)"]


def test_control_that_found_nothing_is_no_alarm(tmp_path: Path) -> None:
    notices = told(tmp_path, outcome("BTC-USD", "promoted", controls=[a_control(None)]))
    assert events(notices) == [("BTC-USD", "promoted"), (None, "completed")]


def test_control_alarms_of_many_symbols_are_counted_in_the_digest(tmp_path: Path) -> None:
    (digest,) = told(tmp_path, *(outcome(f"S{i:03d}-USD", "promoted", controls=[a_control(LEAK)]) for i in range(9)))
    assert digest.event == "control_alarm"
    assert digest.reason.splitlines()[0] == "9 symbols: 9 control alarm, 9 promoted"
