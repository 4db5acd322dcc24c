"""A finished step is taken over by whoever needs the same, and nothing else ever is."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models_lib.config import LabelSection, RunConfig
from models_lib.errors import DataError
from models_lib.files import sha256_bytes, write_json, write_text
from models_lib.steps.finished import RESULT_NAME, done_once
from models_lib.steps.plan import RunPlan, plan_run
from models_lib.steps.refs import FileRef, Reference
from models_lib.steps.shared_results import NotShared
from tests.unit.steps import needs_the_same

NOW = datetime(2026, 1, 15, 2, tzinfo=UTC)


class NoteRef(Reference):
    """An answer of the tests: one file and a number."""

    note: FileRef
    number: int


@dataclass
class Work:
    """A step that counts how often it worked."""

    text: str = "whole"
    folders: list[Path] = field(default_factory=list)

    def __call__(self, folder: Path) -> NoteRef:
        self.folders.append(folder)
        write_text(folder / "note.txt", self.text)
        return NoteRef(note=FileRef.of(folder / "note.txt"), number=len(self.folders))


def plan_at(home: Path, now: datetime = NOW) -> RunPlan:
    return plan_run(RunConfig(), home=home, symbols=("BTC-USD",), who="test", now=now)


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    return plan_at(tmp_path / "home")


@pytest.fixture
def work() -> Work:
    return Work()


def done(plan: RunPlan, work: Callable[[Path], NoteRef], **made_from: Any) -> NoteRef:
    return done_once(plan, "BTC-USD", "note", NoteRef, work, shared=NotShared(), **made_from)


def test_finished_step_is_taken_over_by_another_run_of_a_later_hour(plan: RunPlan, work: Work) -> None:
    first = done(plan, work, label=LabelSection(), rows=3)
    later = plan_at(plan.home, NOW.replace(hour=23))
    assert later.run_id != plan.run_id
    assert done(later, work, label=LabelSection(), rows=3) == first
    assert len(work.folders) == 1
    for run in (plan, later):
        link = run.symbol_folder("BTC-USD") / "note"
        assert link.is_symlink()
        assert link.resolve() == work.folders[0].resolve()


def test_key_knows_content_and_no_path(plan: RunPlan, work: Work, tmp_path: Path) -> None:
    for name in ("here", "there"):
        write_text(tmp_path / name / "data", "the same")
        done(plan, work, data=FileRef.of(tmp_path / name / "data"))
    assert len(work.folders) == 1
    write_text(tmp_path / "there" / "data", "another")
    done(plan, work, data=FileRef.of(tmp_path / "there" / "data"))
    assert len(work.folders) == 2


@pytest.mark.parametrize(
    "made_from",
    [
        {"label": LabelSection(horizon_minutes=16), "rows": 3},
        {"label": LabelSection(), "rows": 4},
        {"label": LabelSection(), "rows": "3"},
        {"label": LabelSection(), "rows": (3,)},
        {"label": LabelSection()},
    ],
)
def test_another_input_is_another_result(plan: RunPlan, work: Work, made_from: dict[str, Any]) -> None:
    done(plan, work, label=LabelSection(), rows=3)
    done(plan, work, **made_from)
    assert len({*work.folders}) == 2


def test_another_step_and_another_symbol_are_other_results(plan: RunPlan, work: Work) -> None:
    for symbol, step in (("BTC-USD", "note"), ("ETH-USD", "note"), ("BTC-USD", "remark")):
        done_once(plan, symbol, step, NoteRef, work, shared=NotShared(), rows=3)
    assert len({*work.folders}) == 3


def test_other_code_is_another_version(tmp_path: Path) -> None:
    """The version is read from the files, in a process of its own: this one has it already."""
    library = Path(__file__).parents[3] / "models_lib"
    copy = Path(shutil.copytree(library, tmp_path / "models_lib", ignore=shutil.ignore_patterns("__pycache__")))

    def version() -> str:
        said = subprocess.run(
            [sys.executable, "-c", "from models_lib.steps.code_version import code_version; print(code_version())"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        return said.stdout.strip()

    before = version()
    assert version() == before
    with (copy / "labels.py").open("a") as stream:
        stream.write("# one more line\n")
    assert version() != before


@dataclass(frozen=True)
class Kept:
    """The files of a finished step."""

    folder: Path

    @property
    def result(self) -> Path:
        return self.folder / RESULT_NAME

    def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        tree = json.loads(self.result.read_text())
        change(tree)
        write_json(self.result, tree)


DAMAGES: dict[str, Callable[[Kept], object]] = {
    "result cut off": lambda kept: kept.result.write_bytes(kept.result.read_bytes()[:-20]),
    "result empty": lambda kept: kept.result.write_bytes(b""),
    "result no object": lambda kept: kept.result.write_text("[1]"),
    "result without answer": lambda kept: kept.edit(lambda tree: tree.pop("answer")),
    "answer of another form": lambda kept: kept.edit(lambda tree: tree["answer"].update(unknown=1)),
    "result of another key": lambda kept: kept.edit(lambda tree: tree.update(key=sha256_bytes(b"another"))),
    "file changed": lambda kept: (kept.folder / "note.txt").write_text("other"),
    "file gone": lambda kept: (kept.folder / "note.txt").unlink(),
    "file is a folder": lambda kept: [(kept.folder / "note.txt").unlink(), (kept.folder / "note.txt").mkdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_result_is_made_again_with_a_warning(
    plan: RunPlan, work: Work, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = done(plan, work, rows=3)
    DAMAGES[damage](Kept(work.folders[0]))
    with caplog.at_level(logging.WARNING, "models_lib"):
        again = done(plan, work, rows=3)
    assert (again.note, again.number) == (first.note, 2)
    again.check_files()
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "is damaged and is made again" in warning
    assert done(plan, work, rows=3) == again


def test_candidate_whose_folder_is_gone_is_made_again(plan: RunPlan) -> None:
    from models_lib.steps.refs import CandidateRef
    from tests.judged import unjudged

    def build(folder: Path) -> CandidateRef:
        return CandidateRef(bundle=unjudged("A", folder / "candidate"), folder=folder / "candidate")

    first = done_once(plan, "BTC-USD", "candidate", CandidateRef, build, shared=NotShared())
    shutil.rmtree(first.folder)
    assert done_once(plan, "BTC-USD", "candidate", CandidateRef, build, shared=NotShared()) == first
    first.check_files()


@pytest.mark.parametrize("moment", ["before its first file", "within a file", "after its last file"])
def test_step_that_raises_leaves_nothing_that_counts(plan: RunPlan, work: Work, moment: str) -> None:
    def raising(folder: Path) -> NoteRef:
        if moment == "within a file":
            (folder / "note.txt").write_text("who")
            (folder / "deep").mkdir()
            (folder / "deep" / "file").write_text("half")
        elif moment == "after its last file":
            work(folder)
        raise DataError(moment)

    with pytest.raises(DataError, match=moment):
        done(plan, raising, rows=3)
    assert list(plan.home.rglob(RESULT_NAME)) == []
    kept = done(plan, work, rows=3)
    assert {path.name for path in work.folders[-1].iterdir()} == {"note.txt", RESULT_NAME, ".lock"}
    kept.check_files()


def test_result_is_removed_before_the_work_begins_again(plan: RunPlan, work: Work) -> None:
    """Otherwise the old result and new files would stand together when the second try is killed."""
    done(plan, work, rows=3)
    (work.folders[0] / "note.txt").write_text("other")

    def looks(folder: Path) -> NoteRef:
        assert {path.name for path in folder.iterdir()} == {".lock"}
        return work(folder)

    done(plan, looks, rows=3)


def test_moved_home_still_resumes(plan: RunPlan, work: Work, tmp_path: Path) -> None:
    done(plan, work, rows=3)
    moved = tmp_path / "elsewhere" / "home"
    moved.parent.mkdir()
    plan.home.rename(moved)
    answer = done(plan_at(moved), work, rows=3)
    assert len(work.folders) == 1
    assert answer.note.path.is_relative_to(moved)
    answer.check_files()


def started(what: str, home: Path, *words: str) -> "subprocess.Popen[str]":
    """A process that needs the same result as `needs_the_same` does everywhere."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.steps.needs_the_same", what, str(home), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def finish(process: "subprocess.Popen[str]") -> str:
    """Lets a waiting process go on; what it said until its end."""
    rest, _ = process.communicate("go on\n", timeout=60)
    assert process.returncode == 0
    return rest.strip()


def test_of_two_processes_one_works_one_waits_and_both_get_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with started("slow", home) as worker:
        assert said(worker) == "working"
        with started("quick", home) as waiter:
            assert said(waiter) == "asking"
            needs_the_same.until_it_waits(waiter.pid)
            assert finish(worker) == "answer 1"
            assert finish(waiter) == "answer 1", "it did not work itself"


def test_cache_cleaned_away_while_another_waits_is_made_anew(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with started("slow", home) as worker:
        assert said(worker) == "working"
        with started("quick", home) as waiter:
            assert said(waiter) == "asking"
            needs_the_same.until_it_waits(waiter.pid)
            shutil.rmtree(home / "cache")
            worker.kill()
            assert finish(waiter).endswith("answer 1")
    (result,) = home.rglob(RESULT_NAME)
    NoteRef.model_validate(needs_the_same.answer_in(result)).check_files()


def test_killed_at_any_moment_it_is_whole_or_not_there(tmp_path: Path) -> None:
    """Kill -9 at every third call into the operating system that changes something, in real processes."""
    answer = subprocess.run(
        [sys.executable, "-m", "tests.unit.steps.needs_the_same", "kill", str(tmp_path), "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    states = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [state["killed"] for state in states] == [True] * (len(states) - 1) + [False]
    assert len(states) > 8
    finished = [state["finished"] for state in states]
    assert finished == sorted(finished), "once it is done it stays done"
    assert (finished[0], finished[-1]) == (False, True)
    for state in states:
        assert state["sound"]
        assert state["worked_again"] is not state["finished"]


def test_lock_goes_with_its_process(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with started("slow", home) as worker:
        assert said(worker) == "working"
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    with started("quick", home) as next_one:
        assert finish(next_one).endswith("answer 1")
