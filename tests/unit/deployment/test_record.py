"""Every attempt to deploy is kept with what it came to; a host's hold holds at home, too."""

from pathlib import Path

import pytest

from models_lib.deployment.record import DeploymentRecord, deployment_records, outcome_of, record_deployment, recorded
from models_lib.errors import (
    BusyError,
    ConfigError,
    CrpbotError,
    DeployError,
    RolledBackError,
    TransientError,
    UnhealthyError,
)
from models_lib.holds import BY_THE_SYSTEM, held

A, B = "a" * 64, "b" * 64
BTC = "BTC-USD"


def attempt(home: Path, error: CrpbotError | None = None, *, symbol: str = BTC, run_id: str | None = "run-1") -> None:
    record_deployment(home, symbol, A, target="tokyo", who="me@here", run_id=run_id, error=error)


def on_hold(error: DeployError, reason: str = "1 answers are not finite") -> DeployError:
    error.hold_reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (None, "deployed"),
        (RolledBackError("x"), "rolled_back"),
        (UnhealthyError("x"), "unhealthy"),
        (DeployError("x"), "failed"),
        (TransientError("x"), "failed"),
        (BusyError("x"), "failed"),
        (ConfigError("x"), "failed"),
    ],
)
def test_error_has_its_word(tmp_path: Path, error: CrpbotError | None, word: str) -> None:
    assert outcome_of(error) == word
    attempt(tmp_path, error)
    (record,) = deployment_records(tmp_path)
    assert (record.outcome, record.reason) == (word, "x" if error else "")
    assert (record.symbol, record.bundle, record.target, record.who, record.run_id) == (
        BTC,
        A,
        "tokyo",
        "me@here",
        "run-1",
    )
    assert held(tmp_path, BTC) is None


@pytest.mark.parametrize("kind", [RolledBackError, UnhealthyError, DeployError])
def test_hold_of_the_host_is_placed_at_home(tmp_path: Path, kind: type[DeployError]) -> None:
    attempt(tmp_path, on_hold(kind("x")))
    hold = held(tmp_path, BTC)
    assert hold is not None
    assert (hold.placed_by, hold.reason) == (BY_THE_SYSTEM, "target tokyo: 1 answers are not finite")


def test_longest_reason_of_a_host_still_holds(tmp_path: Path) -> None:
    attempt(tmp_path, on_hold(DeployError("x"), "y" * 5_000))
    hold = held(tmp_path, BTC)
    assert hold is not None
    assert hold.reason.startswith("target tokyo: yyy")


def test_body_is_recorded_by_what_it_raises(tmp_path: Path) -> None:
    with recorded(tmp_path, BTC, A, target="tokyo", who="me@here", run_id="run-1"):
        pass
    with (
        pytest.raises(RolledBackError, match="it went back"),
        recorded(tmp_path, BTC, B, target="tokyo", who="me@here", run_id=None),
    ):
        raise on_hold(RolledBackError("it went back"))
    assert [(one.bundle, one.outcome, one.reason, one.run_id) for one in deployment_records(tmp_path)] == [
        (A, "deployed", "", "run-1"),
        (B, "rolled_back", "it went back", None),
    ]
    assert held(tmp_path, BTC) is not None


def test_records_are_read_back_by_symbol_oldest_first(tmp_path: Path) -> None:
    assert deployment_records(tmp_path) == ()
    for symbol in (BTC, "ETH-USD", BTC):
        attempt(tmp_path, symbol=symbol)
    assert [one.symbol for one in deployment_records(tmp_path)] == [BTC, "ETH-USD", BTC]
    times = [one.time for one in deployment_records(tmp_path, BTC)]
    assert times == sorted(times)
    assert len(times) == 2
    assert deployment_records(tmp_path, "SOL-USD") == ()


@pytest.mark.parametrize("torn", [b'{"bundle":"aa', b"null", b'{"colour":"blue"}', b"\xff\xfe"])
def test_line_that_is_no_record_is_left_out(tmp_path: Path, torn: bytes) -> None:
    attempt(tmp_path)
    with (tmp_path / "deployments.jsonl").open("ab") as record:
        record.write(torn)
    assert len(deployment_records(tmp_path)) == 1
    attempt(tmp_path)
    assert len(deployment_records(tmp_path)) == 2, "what is written after it counts"


@pytest.mark.parametrize(
    ("outcome", "reason", "sentence"),
    [
        ("deployed", "", "deployed aaaaaaaaaaaa at 2026-01-01T00:00"),
        ("rolled_back", "why", "rolled back aaaaaaaaaaaa at 2026-01-01T00:00: why"),
    ],
)
def test_record_is_told_for_people(outcome: str, reason: str, sentence: str) -> None:
    record = DeploymentRecord("2026-01-01T00:00:00+00:00", BTC, A, "tokyo", outcome, reason, "me@here", None)
    assert record.sentence() == sentence
