"""Damage to the ledger is found at its line; the local folder survives full disks, torn lines and busy locks."""

import fcntl
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from models_lib.bundle import load_bundle
from models_lib.errors import BundleError, ConfigError, PromotionError, TransientError
from models_lib.files import canonical_json, sha256_bytes
from models_lib.registry import LocalStore, history, open_registry, promote, rollback
from tests.forked import ON_ONE_WORKER, Forked, barrier, printed
from tests.judged import at, judged

Edit = Callable[[list[bytes]], list[bytes]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A is promoted for BTC-USD, E for ETH-USD, then B for BTC-USD."""
    home = tmp_path / "home"
    registry = open_registry(home)
    a = judged("A", tmp_path / "a")
    e = judged("E", tmp_path / "e")
    b = judged("B", tmp_path / "b", champion=a)
    for name in "aeb":
        registry.store.put(tmp_path / name)
    registry.promote("BTC-USD", a, expected_champion=None, who="me", why="first", now=at(1))
    registry.promote("ETH-USD", e, expected_champion=None, who="me", why="first", now=at(2))
    registry.promote("BTC-USD", b, expected_champion=a, who="me", why="better", now=at(3))
    return home


def change_line(number: int, **fields: object) -> Edit:
    def edit(lines: list[bytes]) -> list[bytes]:
        tree = {**json.loads(lines[number - 1]), **fields}
        return [*lines[: number - 1], canonical_json(tree), *lines[number:]]

    return edit


def forge_line(number: int, **fields: object) -> Edit:
    """As `change_line`, with the line's own hash made right again."""

    def edit(lines: list[bytes]) -> list[bytes]:
        tree = {**json.loads(lines[number - 1]), **fields}
        tree.pop("hash")
        tree["hash"] = sha256_bytes(canonical_json(tree))
        return [*lines[: number - 1], canonical_json(tree), *lines[number:]]

    return edit


EDITS: dict[str, tuple[Edit, str]] = {
    "who": (change_line(1, who="nobody"), "ledger line 1: its content is not what its hash says"),
    "why": (change_line(2, why=""), "ledger line 2: its content is not what its hash says"),
    "time": (change_line(3, time="2020-01-01T00:00:00Z"), "ledger line 3: its content is not what its hash says"),
    "cost": (change_line(2, cost_usd=9.0), "ledger line 2: its content is not what its hash says"),
    "to": (change_line(1, to="0" * 64), "ledger line 1: its content is not what its hash says"),
    "spaces": (lambda lines: [lines[0].replace(b",", b", "), *lines[1:]], "ledger line 1: its content is not"),
    "not JSON": (lambda lines: [lines[0], b"{", lines[2]], "ledger line 2: not readable"),
    "empty line": (lambda lines: [lines[0], b"", *lines[1:]], "ledger line 2: not readable"),
    "unknown field": (change_line(2, extra=1), "ledger line 2: not readable"),
    "forged in the middle": (forge_line(1, who="nobody"), "ledger line 2: it does not continue the line before it"),
    "forged at the end": (forge_line(3, why="x"), "ledger line 3: the pointer of BTC-USD does not agree with it"),
    "first removed": (lambda lines: lines[1:], "ledger line 1: it is entry 1, expected was 0"),
    "middle removed": (lambda lines: [lines[0], lines[2]], "ledger line 2: it is entry 2, expected was 1"),
    "last removed": (
        lambda lines: lines[:2],
        "ledger line 3: the pointer of BTC-USD does not agree with it, or the line is gone",
    ),
    "all removed": (lambda _: [], "ledger line 3: the pointer of BTC-USD does not agree with it, or the line is gone"),
    "swapped": (lambda lines: [lines[1], lines[0], lines[2]], "ledger line 1: it is entry 1, expected was 0"),
    "repeated": (lambda lines: [*lines, lines[2]], "ledger line 4: it is entry 2, expected was 3"),
}


@pytest.mark.parametrize("name", EDITS)
def test_edited_ledger_is_told_by_history_and_stops_every_change(home: Path, name: str) -> None:
    edit, message = EDITS[name]
    ledger = home / "ledger.jsonl"
    ledger.write_bytes(b"".join(line + b"\n" for line in edit(ledger.read_bytes().split(b"\n")[:-1])))
    before = {path: path.read_bytes() for path in home.rglob("*.json*")}
    assert message in [str(damage)[: len(message)] for damage in history(home, registry=open_registry(home)).damage]
    registry = open_registry(home)
    champion = registry.champion("BTC-USD")
    assert champion is not None, "the pointer still speaks"
    with pytest.raises(PromotionError, match="while the record is damaged: ledger line"):
        rollback(home, "BTC-USD", registry=open_registry(home), who="me", why="test", now=at(9))
    with pytest.raises(PromotionError, match="while the record is damaged"):
        registry.promote("BTC-USD", "0" * 64, expected_champion=None, who="me", why="test", now=at(9))
    assert {path: path.read_bytes() for path in home.rglob("*.json*")} == before


def test_sound_history_names_every_change(home: Path) -> None:
    told = history(home, registry=open_registry(home))
    assert told.damage == ()
    assert not told.unfinished
    assert [entry.index for entry in told.entries] == [0, 1, 2]
    assert told.entries[1].sentence().startswith("2026-01-01T00:02:00Z ETH-USD promote none -> ")
    assert told.entries[1].sentence().endswith(" by me: first")
    assert [entry.symbol for entry in history(home, "BTC-USD", registry=open_registry(home)).entries] == [
        "BTC-USD",
        "BTC-USD",
    ]
    assert history(home, registry=open_registry(home / "nothing")).entries == ()


def test_edited_pointer_is_told(home: Path) -> None:
    pointer = home / "promoted" / "BTC-USD.json"
    tree = json.loads(pointer.read_text())
    pointer.write_text(json.dumps({**tree, "bundle": tree["previous"]}))
    assert "ledger line 3: the pointer of BTC-USD does not agree" in str(
        history(home, registry=open_registry(home)).damage[0]
    )
    pointer.write_text("{")
    assert "the pointer of BTC-USD is damaged. Restore it from a backup, or remove it" in str(
        history(home, registry=open_registry(home)).damage[0]
    )
    pointer.unlink()
    assert history(home, registry=open_registry(home)).damage == ()
    assert json.loads(pointer.read_text()) == tree


def test_line_torn_anywhere_was_never_done(home: Path) -> None:
    ledger = home / "ledger.jsonl"
    whole = ledger.read_bytes()
    third = whole.rindex(b"\n", 0, -1) + 1
    pointer = home / "promoted" / "BTC-USD.json"
    pointer.unlink()
    b = json.loads(whole[third:])["to"]
    a = json.loads(whole[third:])["from"]
    for end in range(third + 1, len(whole)):
        ledger.write_bytes(whole[:end])
        pointer.unlink(missing_ok=True)
        told = history(home, registry=open_registry(home))
        assert told.unfinished
        assert told.damage == ()
        assert len(told.entries) == 2
        assert json.loads(pointer.read_text())["bundle"] == a
    registry = open_registry(home)
    assert registry.promote("BTC-USD", b, expected_champion=a, who="me", why="better", now=at(3)).changed
    assert ledger.read_bytes() == whole


def _promote_with_room_for(limit: int, home: Path, bundle: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        promote(home, "BTC-USD", bundle, registry=open_registry(home), who="me", why="test", now=at(5))
    except ConfigError as error:
        print(error)


@ON_ONE_WORKER
@pytest.mark.parametrize("room", [0, 200])
def test_disk_that_fills_up_while_promoting_changes_nothing(home: Path, tmp_path: Path, room: int) -> None:
    b = open_registry(home).champion("BTC-USD").bundle  # type: ignore[union-attr]
    c = judged("C", tmp_path / "c", champion=b)
    open_registry(home).store.put(tmp_path / "c")
    size = (home / "ledger.jsonl").stat().st_size + room
    (said,) = printed(_promote_with_room_for, size, home, c)
    assert "the store cannot be written (File too large); nothing was changed. Free space" in said
    told = history(home, registry=open_registry(home))
    assert told.damage == ()
    assert len(told.entries) == 3
    assert told.unfinished == (room > 0)
    assert promote(home, "BTC-USD", c, registry=open_registry(home), who="me", why="test", now=at(5)).changed
    assert not history(home, registry=open_registry(home)).unfinished


def test_home_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    judged("A", tmp_path / "a")
    (tmp_path / "home").write_text("a file")
    with pytest.raises(ConfigError, match="the store cannot be written"):
        LocalStore(tmp_path / "home").put(tmp_path / "a")


def test_busy_lock_asks_to_try_again(home: Path) -> None:
    store = LocalStore(home, lock_timeout_seconds=0.05)
    with (home / "registry.lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(TransientError, match=r"held registry\.lock for 0\.05 s"):
            store.append(b"x", index=3)
    assert len(store.ledger().lines) == 3


def test_what_a_crash_left_on_its_way_in_is_removed_by_the_next_put(home: Path, tmp_path: Path) -> None:
    left = home / "store" / "incoming" / "half"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    judged("C", tmp_path / "c")
    LocalStore(home).put(tmp_path / "c")
    assert not left.exists()


def test_changed_verdict_is_refused(home: Path) -> None:
    b = open_registry(home).champion("BTC-USD").bundle  # type: ignore[union-attr]
    assert b is not None
    (verdict,) = (home / "store" / "verdicts" / b).iterdir()
    verdict.write_text(verdict.read_text().replace('"passed": true', '"passed": false'))
    with pytest.raises(BundleError, match="this verdict was changed"):
        LocalStore(home).verdicts(b)


def test_promotion_by_hand_takes_a_folder_or_a_hash(tmp_path: Path) -> None:
    home = tmp_path / "home"
    a = judged("A", tmp_path / "a")
    done = promote(
        home, "BTC-USD", str(tmp_path / "a"), registry=open_registry(home), who="me", why="by hand", now=at(1)
    )
    assert (done.changed, done.champion, done.message) == (True, a, f"BTC-USD: {a[:12]} promoted")
    again = promote(home, "BTC-USD", a[:12], registry=open_registry(home), who="me", why="by hand", now=at(2))
    assert (again.changed, again.message) == (False, f"BTC-USD: {a[:12]} already champion")
    b = judged("B", tmp_path / "b")
    with pytest.raises(PromotionError, match=f"the champion is {a[:12]}, not no champion"):
        promote(home, "BTC-USD", str(tmp_path / "b"), registry=open_registry(home), who="me", why="stale", now=at(3))
    assert open_registry(home).store.find(b[:8]) == (b,)
    with pytest.raises(ConfigError, match="neither a bundle folder nor"):
        promote(home, "BTC-USD", "nothing", registry=open_registry(home), who="me", why="x", now=at(4))
    assert len(history(home, registry=open_registry(home)).entries) == 1


def test_rollback_needs_no_model_code(home: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from datetime import datetime, UTC; from models_lib.registry import open_registry, rollback;"
        "home = Path(sys.argv[1]); registry = open_registry(home);"
        "done = rollback(home, 'BTC-USD', registry=registry, who='me', why='test', now=datetime(2026, 1, 2, tzinfo=UTC));"
        "print(done.changed, [name for name in ('torch', 'numba', 'pandas', 'numpy') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "True []"


def _promote_when_all_are_ready(ready: Barrier, home: Path, folder: Path) -> None:
    load_bundle(folder)
    ready.wait()
    try:
        done = promote(home, "BTC-USD", str(folder), registry=open_registry(home), who="me", why="race", now=at(5))
        print(done.changed)
    except PromotionError:
        print("refused")


@ON_ONE_WORKER
def test_of_many_processes_promoting_against_one_champion_one_wins(home: Path, tmp_path: Path) -> None:
    b = open_registry(home).champion("BTC-USD").bundle  # type: ignore[union-attr]
    names = {"A": tmp_path / "again-a", "C": tmp_path / "again-c"}
    for name, folder in names.items():
        judged(name, folder, champion=b, run_id="second")
    ready = barrier(len(names))
    racers = [Forked(_promote_when_all_are_ready, ready, home, folder) for folder in names.values()]
    answers = [line for racer in racers for line in racer.answer()]
    assert sorted(answers) == ["True", "refused"]
    told = history(home, registry=open_registry(home))
    assert told.damage == ()
    assert len(told.entries) == 4
