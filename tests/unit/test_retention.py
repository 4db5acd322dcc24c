"""What a cleaning removes and what it leaves alone: ages, roles, runs and steps at work, damage, kills."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_lib.bundle import RunFacts, verify_hashes
from models_lib.config import RunConfig
from models_lib.config.sections import RetentionSection
from models_lib.deployment.folder import FolderTarget
from models_lib.errors import BundleError
from models_lib.registry import LocalStore, Registry, open_registry
from models_lib.retention import Cleaned, clean_home, deployed_bundles
from models_lib.running import is_running, marked_as_running, running_runs
from models_lib.steps.finished import done_once
from models_lib.steps.plan import plan_run
from models_lib.steps.refs import FileRef
from models_lib.steps.shared_results import NotShared
from tests.judged import judged
from tests.old_homes import NOW, aged, ago, entry, names, write_bundle, write_change, write_run, write_step

SECTION = RetentionSection(cache_days=2.0, runs_days=90, held_bundles_days=30)
A, B, C, D, E = (letter * 64 for letter in "abcde")


def clean(home: Path, **options: object) -> Cleaned:
    return clean_home(home, SECTION, store=LocalStore(home), now=NOW, **options)  # type: ignore[arg-type]


def removed(cleaned: Cleaned) -> dict[str, str]:
    return {Path(item.path).name: item.kind for item in cleaned.removed}


def why_kept(cleaned: Cleaned) -> dict[str, str]:
    return {Path(item.path).name: item.why for item in cleaned.kept}


@contextmanager
def another_process_holds(path: Path) -> Iterator[None]:
    """The lock on `path`, held by a process of its own until the body is left."""
    code = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.kill()


# ages


def test_each_kind_goes_after_its_own_days_and_says_what_it_freed(tmp_path: Path) -> None:
    for days in (89, 91):
        write_run(tmp_path, days, {"BTC-USD": entry("held")})
    for days in (1.9, 2.1):
        write_step(tmp_path, f"features-{days}", days)
        write_step(tmp_path, f"killed-{days}", days, finished=False)
    for bundle, days in ((A, 29), (B, 31)):
        write_bundle(tmp_path, bundle, days)
    cleaned = clean(tmp_path)
    gone = f"{ago(91):%Y%m%dT%H%M%SZ}-a"
    assert removed(cleaned) == {
        gone: "run",
        "features-2.1": "step result",
        "killed-2.1": "step result",
        B: "bundle",
    }
    assert set(why_kept(cleaned)) == {f"{ago(89):%Y%m%dT%H%M%SZ}-a", "features-1.9", "killed-1.9", A}
    assert why_kept(cleaned)["features-1.9"] == "used 1.9 days ago, kept for 2"
    assert not (tmp_path / "store" / "verdicts" / B).exists()
    sizes = {Path(item.path).name: item.size_bytes for item in cleaned.removed}
    assert sizes["features-2.1"] == 1002
    assert sizes[B] == 8
    assert cleaned.freed_bytes == sum(sizes.values())
    assert cleaned.faults == ()


@pytest.mark.parametrize("place", ["diagnoses", "temperature", "comparisons"])
def test_pages_of_a_command_go_with_the_runs(tmp_path: Path, place: str) -> None:
    for name, days in (("old", 91), ("young", 89)):
        page = tmp_path / place / name / "page.html"
        page.parent.mkdir(parents=True)
        page.write_text("page")
        aged(page, days)
        aged(page.parent, days)
    cleaned = clean(tmp_path)
    assert removed(cleaned) == {"old": "study"}
    assert names(tmp_path / place) == {"young", "young/page.html"}


def test_dry_run_tells_the_same_and_touches_nothing(tmp_path: Path) -> None:
    write_run(tmp_path, 100, {"BTC-USD": entry("held")})
    write_step(tmp_path, "features-x", 10)
    write_bundle(tmp_path, A, 100)
    (tmp_path / ".ledger.partial").touch()
    aged(tmp_path / ".ledger.partial", 3)
    before = names(tmp_path)
    told = clean(tmp_path, dry_run=True)
    assert told.dry_run
    assert names(tmp_path) == before
    done = clean(tmp_path)
    assert removed(done) == removed(told)
    assert len(done.removed) == 4


def test_other_caches_go_by_the_newest_thing_in_them(tmp_path: Path) -> None:
    for name, days in (("old", 5), ("new", 1)):
        folder = tmp_path / "cache" / "candles" / name
        folder.mkdir(parents=True)
        (folder / "part").touch()
        aged(folder, 10)
        aged(folder / "part", days)
    assert removed(clean(tmp_path)) == {"old": "cache"}


def test_use_of_a_result_counts_and_not_the_age_of_its_files(tmp_path: Path) -> None:
    step = write_step(tmp_path, "features-x", 10)
    os.utime(step / "result.json", (NOW.timestamp(),) * 2)
    assert removed(clean(tmp_path)) == {}


def test_home_that_does_not_exist_stays_so(tmp_path: Path) -> None:
    cleaned = clean(tmp_path / "home")
    assert (cleaned.removed, cleaned.kept, cleaned.faults) == ((), (), ())
    assert not (tmp_path / "home").exists()


def test_links_are_not_followed(tmp_path: Path) -> None:
    step = write_step(tmp_path, "features-x", 0.5)
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / ".x.partial").touch()
    aged(outside, 10)
    run = write_run(tmp_path, 100, {"BTC-USD": entry("held")})
    (run / "BTC-USD" / "features").symlink_to(step)
    (tmp_path / "elsewhere").symlink_to(outside)
    aged(run, 100)
    assert removed(clean(tmp_path)) == {run.name: "run"}
    assert (step / "features.npy").exists()
    assert (outside / ".x.partial").exists()


# what something needs


def test_champion_previous_and_deployed_stay_however_old(tmp_path: Path) -> None:
    for bundle in (A, B, C, D, E):
        write_bundle(tmp_path, bundle, 300)
    for bundle, days in ((A, 200), (B, 190), (C, 180)):
        write_change(tmp_path, "BTC-USD", bundle, days)
    cleaned = clean(tmp_path, deployed=frozenset({D}))
    assert set(removed(cleaned)) == {A, E}
    assert why_kept(cleaned) == {
        C: "champion of BTC-USD",
        B: "a rollback of BTC-USD goes to it",
        D: "deployed",
    }


def test_former_champion_stays_for_its_days_after_the_ledger_named_it(tmp_path: Path) -> None:
    for bundle in (A, B, C):
        write_bundle(tmp_path, bundle, 300)
    for bundle, days in ((A, 200), (B, 29), (C, 1)):
        write_change(tmp_path, "BTC-USD", bundle, days)
    assert removed(clean(tmp_path)) == {}


def test_champion_that_one_symbol_lost_stays_for_another(tmp_path: Path) -> None:
    for bundle in (A, B, C):
        write_bundle(tmp_path, bundle, 300)
    for bundle, days in ((A, 200), (B, 190), (C, 180)):
        write_change(tmp_path, "BTC-USD", bundle, days)
    write_change(tmp_path, "ETH-USD", A, 170)
    assert removed(clean(tmp_path)) == {}


def test_rollback_to_a_bundle_that_was_cleaned_is_refused_and_says_why(tmp_path: Path) -> None:
    for bundle in (A, B, C):
        write_bundle(tmp_path, bundle, 300)
    for bundle, days in ((A, 200), (B, 190), (C, 180)):
        write_change(tmp_path, "BTC-USD", bundle, days)
    write_change(tmp_path, "BTC-USD", None, 100)  # C is taken back: B is champion, A the one before
    shutil.rmtree(tmp_path / "store" / "bundles" / A)
    registry, before = open_registry(tmp_path), (tmp_path / "ledger.jsonl").read_bytes()
    with pytest.raises(BundleError, match=r"is not in the store .*`crpbot clean` removes old ones"):
        registry.rollback("BTC-USD", who="test", why="test", now=NOW)
    assert (tmp_path / "ledger.jsonl").read_bytes() == before
    assert removed(clean(tmp_path)) == {C: "bundle"}
    assert registry.history().damage == ()


def test_bundle_that_somebody_promotes_is_young_again(tmp_path: Path) -> None:
    write_bundle(tmp_path, A, 300)
    LocalStore(tmp_path).renew(A)
    assert removed(clean(tmp_path)) == {}
    with pytest.raises(BundleError, match="is not in the store"):
        LocalStore(tmp_path).renew(B)


class CleanedInBetween(LocalStore):
    """A store whose home is cleaned while a promotion looks at the verdicts."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.home = home

    def verdicts(self, bundle_hash: str) -> tuple[RunFacts, ...]:
        assert clean(self.home).faults == ()
        return super().verdicts(bundle_hash)


def test_cleaning_in_the_middle_of_a_promotion_takes_nothing_from_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    bundle = judged("A", tmp_path / "a")
    store = CleanedInBetween(home)
    store.put(tmp_path / "a")
    aged(home, 300)
    Registry(store).promote("BTC-USD", bundle, expected_champion=None, who="test", why="test", now=NOW)
    assert verify_hashes(store.bundle(bundle)) == bundle
    assert why_kept(clean(home)) == {bundle: "champion of BTC-USD"}


def test_bundle_that_is_put_again_is_young_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    bundle = judged("A", tmp_path / "a")
    store = LocalStore(home)
    store.put(tmp_path / "a")
    aged(home, 300)
    store.put(tmp_path / "a")
    assert removed(clean(home)) == {}
    aged(home, 300)
    assert removed(clean(home)) == {bundle: "bundle"}


def test_verdicts_without_their_bundle_go(tmp_path: Path) -> None:
    shutil.rmtree(write_bundle(tmp_path, A, 300))
    assert removed(clean(tmp_path)) == {A: "bundle"}
    assert not list((tmp_path / "store" / "verdicts").iterdir())


def test_running_run_stays_with_what_it_used(tmp_path: Path) -> None:
    run = write_run(tmp_path, 100, {"BTC-USD": entry("held")})
    (run / "run.lock").touch()
    aged(run, 100)
    write_step(tmp_path, "features-mine", 99)
    write_step(tmp_path, "features-older", 101)
    with another_process_holds(run / "run.lock"):
        assert is_running(run)
        assert running_runs(tmp_path) == (run,)
        cleaned = clean(tmp_path)
    assert removed(cleaned) == {"features-older": "step result"}
    assert why_kept(cleaned) == {
        run.name: "it is running",
        "features-mine": "used since a run began that is still running",
    }
    assert not is_running(run)
    assert removed(clean(tmp_path)) == {run.name: "run", "features-mine": "step result"}


def test_run_beside_cleanings_loses_nothing_that_it_took_over(tmp_path: Path) -> None:
    """Forty old results, from which a run takes over what a cleaning has not removed yet; both go on at once."""
    plan = plan_run(RunConfig(), home=tmp_path, symbols=["BTC-USD"], who="test", now=datetime.now(UTC))
    made: list[int] = []

    def step(number: int) -> FileRef:
        def work(folder: Path) -> FileRef:
            made.append(number)
            (folder / "file").write_text(str(number))
            return FileRef.of(folder / "file")

        return done_once(plan, "BTC-USD", "step", FileRef, work, shared=NotShared(), number=number)

    for number in range(40):
        result = step(number).path.parent / "result.json"
        os.utime(result, (time.time() - 10 * 86_400,) * 2)
    made.clear()
    stop = threading.Event()
    cleaned: list[Cleaned] = []

    def keep_cleaning() -> None:
        while not stop.is_set():
            cleaned.append(clean_home(tmp_path, SECTION, store=LocalStore(tmp_path), now=datetime.now(UTC)))

    with marked_as_running(plan.folder):
        cleaner = threading.Thread(target=keep_cleaning)
        cleaner.start()
        answers = [step(number) for number in reversed(range(40))]
        stop.set()
        cleaner.join()
    for answer in answers:
        answer.check_files()
    assert [fault for one in cleaned for fault in one.faults] == []
    gone = [item for one in cleaned for item in one.removed if item.kind == "step result"]
    assert len(gone) == len(made), "what was removed was made again, and nothing else"


def test_run_is_marked_while_it_works(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "r"
    assert not is_running(folder)
    with marked_as_running(folder):
        assert running_runs(tmp_path) == (folder,)
    assert running_runs(tmp_path) == ()


@pytest.mark.parametrize("finished", [True, False])
def test_folder_of_a_step_at_work_stays(tmp_path: Path, finished: bool) -> None:
    step = write_step(tmp_path, "training-x", 100, finished=finished)
    with another_process_holds(step / ".lock"):
        cleaned = clean(tmp_path)
    assert why_kept(cleaned) == {"training-x": "a step is at work in it"}
    assert removed(clean(tmp_path)) == {"training-x": "step result"}


# leftovers


def test_leftovers_of_writers_go_after_a_day_and_those_of_cleanings_at_once(tmp_path: Path) -> None:
    for folder in ("promoted", "runs/r/BTC-USD", "cache/steps/BTC-USD/x", "holds", "prefect"):
        (tmp_path / folder).mkdir(parents=True)
        for name, days in ((".old.json.1-abcd.partial", 1.1), (".new.json.1-abcd.partial", 0.9)):
            (tmp_path / folder / name).touch()
            aged(tmp_path / folder / name, days)
    unfinished = tmp_path / "runs" / "r" / ".bundle.1-abcd.partial"
    (unfinished / "golden").mkdir(parents=True)
    aged(unfinished, 5)
    (tmp_path / "runs" / ".trash-0123456789abcdef").mkdir()
    (tmp_path / "store" / "incoming" / "half").mkdir(parents=True)
    cleaned = clean(tmp_path)
    assert cleaned.faults == ()
    left = {name for name in names(tmp_path) if ".partial" in name or ".trash" in name or "half" in name}
    fresh = ".new.json.1-abcd.partial"
    assert left == {
        *(
            f"{folder}/{fresh}"
            for folder in ("promoted", "runs/r/BTC-USD", "cache/steps/BTC-USD/x", "holds", "prefect")
        ),
        "prefect/.old.json.1-abcd.partial",  # Prefect's own
    }


# what goes wrong


@pytest.mark.parametrize("file", ["ledger.jsonl", "promoted/BTC-USD.json"])
def test_damaged_record_keeps_every_bundle_and_the_rest_goes_on(tmp_path: Path, file: str) -> None:
    for bundle in (A, B):
        write_bundle(tmp_path, bundle, 300)
    write_change(tmp_path, "BTC-USD", A, 200)
    write_step(tmp_path, "features-x", 10)
    (tmp_path / file).write_bytes(b"{}\n")
    cleaned = clean(tmp_path)
    assert removed(cleaned) == {"features-x": "step result"}
    assert len(cleaned.faults) == 1
    assert cleaned.faults[0].startswith("no bundle was removed: nobody can tell which bundles are needed")
    assert "crpbot history" in cleaned.faults[0]
    assert {A, B} == {path.name for path in (tmp_path / "store" / "bundles").iterdir()}


def test_target_that_does_not_tell_what_it_runs_keeps_every_bundle(tmp_path: Path) -> None:
    target = FolderTarget(tmp_path / "releases", keep=2)
    assert deployed_bundles([target]) == frozenset()
    (tmp_path / "releases" / "current").mkdir(parents=True)
    (tmp_path / "releases" / "current" / "BTC-USD").symlink_to(Path("..") / "releases" / "BTC-USD" / A)
    assert deployed_bundles([target]) == frozenset({A})
    (tmp_path / "releases" / "current" / "ETH-USD").touch()
    unknown = deployed_bundles([target])
    assert unknown is None

    home = tmp_path / "home"
    write_bundle(home, A, 300)
    write_step(home, "features-x", 10)
    cleaned = clean(home, deployed=unknown)
    assert removed(cleaned) == {"features-x": "step result"}
    assert cleaned.faults[0].startswith("no bundle was removed: a deployment target does not tell")


def test_second_cleaning_beside_the_first_does_nothing(tmp_path: Path) -> None:
    write_step(tmp_path, "features-x", 10)
    with (tmp_path / "clean.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cleaned = clean(tmp_path)
    assert cleaned.removed == ()
    assert "another cleaning is at work" in cleaned.faults[0]
    assert removed(clean(tmp_path)) == {"features-x": "step result"}


def test_what_cannot_be_removed_is_a_fault_and_the_rest_goes_on(tmp_path: Path) -> None:
    """Run as nobody, because no folder refuses root; the home lies where nobody may look."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        blocked = write_run(home, 100, {"BTC-USD": entry("held")})
        write_step(home, "features-x", 10)
        (blocked / "BTC-USD").chmod(0o555)
        aged(blocked, 100)
        if os.getuid() == 0:
            hand_over(home, 65534)
        cleaned = as_user(65534, home)
    assert [item["kind"] for item in cleaned["removed"]] == ["run", "step result"]
    assert len(cleaned["faults"]) == 1
    assert "report.html: cannot be removed (Permission denied). Remove it by hand." in cleaned["faults"][0]


def hand_over(home: Path, user: int) -> None:
    for path in (home, *home.rglob("*")):
        os.chown(path, user, user)


def as_user(user: int, home: Path) -> dict[str, Any]:
    """What a cleaning by that user comes to, in a fork: the modules are loaded already."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        if os.getuid() == 0:
            os.setgid(user)
            os.setuid(user)
        os.write(writing, json.dumps(clean(home).to_json()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        answer: dict[str, Any] = json.loads(stream.read())
    assert os.waitpid(pid, 0)[1] == 0
    return answer


def test_answer_is_plain_json(tmp_path: Path) -> None:
    write_step(tmp_path, "features-x", 10)
    write_bundle(tmp_path, A, 1)
    document = json.loads(json.dumps(clean(tmp_path).to_json()))
    assert document["removed"] == [
        {
            "kind": "step result",
            "path": "cache/steps/BTC-USD/features-x",
            "why": "not used for 10.0 days",
            "bytes": 1002,
        }
    ]
    assert document["kept"][0]["path"] == f"store/bundles/{A}"
    assert (document["freed_bytes"], document["faults"], document["dry_run"]) == (1002, [], False)


# laws over any home

AGES = st.sampled_from([0.0, 1.5, 2.5, 29.0, 31.0, 89.0, 91.0])
HASHES = st.sampled_from([letter * 64 for letter in "0123456789"])


@settings(max_examples=25, deadline=None)
@given(
    runs=st.lists(AGES, max_size=4, unique=True),
    steps=st.lists(st.tuples(AGES, st.booleans()), max_size=4, unique=True),
    bundles=st.dictionaries(HASHES, AGES, max_size=6),
    changes=st.lists(st.tuples(st.sampled_from(["BTC-USD", "ETH-USD"]), st.none() | HASHES, AGES), max_size=6),
    deployed=st.frozensets(HASHES, max_size=2),
)
def test_what_is_old_and_needed_by_nobody_goes_and_nothing_else(
    runs: list[float],
    steps: list[tuple[float, bool]],
    bundles: dict[str, float],
    changes: list[tuple[str, str | None, float]],
    deployed: frozenset[str],
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        for days in runs:
            write_run(home, days, {"BTC-USD": entry("held")})
        for days, finished in steps:
            write_step(home, f"step-{days}-{finished}", days, finished=finished)
        for bundle, days in bundles.items():
            write_bundle(home, bundle, days)
        named = dict(bundles)
        for symbol, bundle, days in sorted(changes, key=lambda change: -change[2]):
            champions = Registry(LocalStore(home))._chain().standing(symbol).champions
            if bundle is not None or len(champions) > 1:
                write_change(home, symbol, bundle, days)
                mentioned = champions[-2:] if bundle is None else (*champions[-1:], bundle)
                named |= {one: min(named.get(one, days), days) for one in mentioned}
        chain = Registry(LocalStore(home))._chain()
        needed = {one for standing in chain.standings().values() for one in standing.champions[-2:]} | deployed
        ledger = LocalStore(home).ledger()
        before = names(home)

        told = clean(home, deployed=deployed, dry_run=True)
        assert names(home) == before
        done = clean(home, deployed=deployed)

        assert done.faults == ()
        assert [(item.kind, item.path) for item in done.removed] == [(item.kind, item.path) for item in told.removed]
        assert {item.path for item in done.kept} == {item.path for item in told.kept}
        gone = {
            *(f"{ago(days):%Y%m%dT%H%M%SZ}-a" for days in runs if days > 90),
            *(f"step-{days}-{finished}" for days, finished in steps if days > 2),
            *(one for one in bundles if named[one] > 30 and one not in needed),
        }
        assert set(removed(done)) == gone
        assert {name.split("/")[2] for name in names(home) if name.startswith("store/verdicts/")} == set(bundles) - gone
        assert not [name for name in names(home) if ".trash" in name]
        assert LocalStore(home).ledger() == ledger
        assert clean(home, deployed=deployed).removed == ()


def test_clock_that_jumped_back_removes_nothing(tmp_path: Path) -> None:
    write_step(tmp_path, "features-x", 0)
    write_bundle(tmp_path, A, 0)
    cleaned = clean_home(tmp_path, SECTION, store=LocalStore(tmp_path), now=NOW - timedelta(days=400))
    assert cleaned.removed == ()
    assert cleaned.faults == ()
