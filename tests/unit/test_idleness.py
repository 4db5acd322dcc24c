"""When a rented machine leaves: by a clock that the test turns."""

import pytest

from models_lib.idleness import Stay, StayLimits, joined_at

LIMITS = StayLimits(idle_seconds=600.0, hard_limit_seconds=7_200.0, restart_seconds=5.0)


def stay(joined: float = 1_000.0, now: float | None = None) -> Stay:
    return Stay(LIMITS, joined_at=joined, now=joined if now is None else now)


def test_idle_machine_leaves_at_its_limit_and_not_before() -> None:
    here = stay()
    for now in (1_000.0, 1_300.0, 1_599.9):
        here.see(now, busy=False)
        assert here.reason_to_leave(now) is None
    here.see(1_600.0, busy=False)
    assert here.reason_to_leave(1_600.0) == "no flow run was at work for 10 minutes"


def test_work_starts_the_idle_time_anew() -> None:
    here = stay()
    here.see(1_590.0, busy=True)
    assert here.reason_to_leave(1_590.0) is None
    here.see(5_000.0, busy=True)
    assert here.reason_to_leave(5_000.0) is None, "however long it works"
    here.see(5_599.9, busy=False)
    assert here.reason_to_leave(5_599.9) is None
    here.see(5_600.0, busy=False)
    assert here.reason_to_leave(5_600.0) is not None


@pytest.mark.parametrize(("busy", "told"), [(True, "a flow run is at work"), (False, "2 hours is reached")])
def test_hard_limit_holds_busy_or_not(busy: bool, told: str) -> None:
    here = stay()
    here.see(8_199.9, busy=True)
    assert here.reason_to_leave(8_199.9) is None
    here.see(8_200.0, busy=busy)
    reason = here.reason_to_leave(8_200.0)
    assert reason is not None
    assert "the hard limit of 2 hours is reached" in reason
    assert told in reason


def test_restarted_watcher_does_not_prolong_the_stay() -> None:
    here = stay(joined=1_000.0, now=8_000.0)
    here.see(8_200.0, busy=True)
    assert here.reason_to_leave(8_200.0) is not None
    here = stay(joined=1_000.0, now=2_000.0)
    here.see(2_000.0, busy=False)
    assert here.reason_to_leave(2_000.0) is None, "what it did before nobody knows: the idle time begins anew"


def test_worker_that_cannot_live_is_a_reason_after_five_deaths_with_growing_pauses() -> None:
    here, now, pauses = stay(), 1_000.0, []
    for _ in range(5):
        assert here.reason_to_leave(now) is None
        pauses.append(here.worker_died(now, by_itself=True))
        here.see(now, busy=False)
        now += pauses[-1]
    assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0]
    assert here.reason_to_leave(now) == "the worker ended by itself 5 times within an hour"
    here.see(now, busy=True)
    assert here.reason_to_leave(now) is None, "a flow run that it left behind may end first"


def test_deaths_are_forgotten_after_an_hour_and_do_not_count_while_the_server_is_away() -> None:
    here = stay()
    for number in range(20):
        now = 1_000.0 + 900.0 * number
        here.worker_died(now, by_itself=True)
        here.see(now, busy=True)
        here.see(now, busy=False)
        if now < 8_200.0:
            assert here.reason_to_leave(now) is None
    here = stay()
    for _ in range(20):
        assert here.worker_died(1_100.0, by_itself=False) == 30.0
    assert here.reason_to_leave(1_100.0) is None


@pytest.mark.parametrize(
    ("kept", "joined"),
    [(None, 500.0), ("120.5\n", 120.5), ("500", 500.0), ("501", 500.0), ("-1", 500.0), ("", 500.0), ("nan", 500.0)],
)
def test_joining_is_remembered_unless_the_record_cannot_be_true(kept: str | None, joined: float) -> None:
    assert joined_at(kept, 500.0) == joined


@pytest.mark.parametrize(("idle", "hard"), [(0.0, 60.0), (61.0, 60.0), (-1.0, 60.0), (60.0, float("inf"))])
def test_limits_that_would_never_or_always_hold_are_refused(idle: float, hard: float) -> None:
    with pytest.raises(ValueError, match="at most the hard limit"):
        StayLimits(idle_seconds=idle, hard_limit_seconds=hard)


def test_second_line_comes_after_the_orderly_way() -> None:
    assert LIMITS.second_line_minutes == 135
