"""kill -9 between any two steps, with real processes: pointer and ledger agree after the next start."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.forked import ON_ONE_WORKER, printed
from tests.unit.registry.kill_at_every_step import run

pytestmark = ON_ONE_WORKER


def kill_at_every_step(scratch: Path, what: str, every: int) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in printed(run, scratch, what, every)]
    assert [state["killed"] for state in found] == [True] * (len(found) - 1) + [False]
    return found


EVERY_STEP = pytest.param(1, marks=pytest.mark.long)


@pytest.mark.parametrize("every", [5, EVERY_STEP])
@pytest.mark.parametrize("what", ["promote", "rollback"])
def test_killed_change_of_champion_is_done_or_not_done(tmp_path: Path, what: str, every: int) -> None:
    states = kill_at_every_step(tmp_path, what, every)
    assert len(states) * every >= 60
    first, last = states[0], states[-1]
    assert first["champion"] != last["champion"]
    assert last["entries"] == first["entries"] + 1
    done = [state["champion"] == last["champion"] for state in states]
    assert done == sorted(done), "once it is done it stays done"
    for state in states:
        assert state["damage"] == state["damage_after"] == []
        assert state["pointer_follows_ledger"]
        assert (state["champion"], state["entries"]) in [(s["champion"], s["entries"]) for s in (first, last)]
        assert (state["champion_after"], state["entries_after"]) == (last["champion"], last["entries"])


@pytest.mark.parametrize("every", [32, EVERY_STEP])
@pytest.mark.parametrize("what", ["put", "write"])
def test_killed_write_leaves_a_whole_bundle_or_none(tmp_path: Path, what: str, every: int) -> None:
    states = kill_at_every_step(tmp_path, what, every)
    assert len(states) * every >= 100
    assert (states[0]["found"], states[-1]["found"]) == (0, 1)
    for state in states:
        assert state["sound"]
        assert state["kept_after"]
        assert state.get("verdicts_after", 1) == 1
        assert state.get("left_after", []) == []


@pytest.mark.parametrize("every", [32, EVERY_STEP])
def test_killed_cleaning_leaves_no_half_of_anything(tmp_path: Path, every: int) -> None:
    states = kill_at_every_step(tmp_path, "clean", every)
    assert len(states) * every >= 60
    assert (states[0]["found"], states[-1]["found"]) == (3, 2)
    for state in states:
        assert state["half"] == [], "what stands under its name is whole"
        assert state["needed"], "champion and the one before are there with their verdicts, ledger and pointer"
        assert state["damage_after"] == []
        assert state["clean_after"], "the next cleaning ends the work"
