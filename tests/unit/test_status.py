"""Where a symbol stands: days to expiry, nights held since the last promotion, and what is said of damaged files."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from models_lib.deployment import FolderTarget
from models_lib.deployment.look import Look
from models_lib.errors import BundleError, TransientError
from models_lib.holds import place_hold
from models_lib.registry import LocalStore, Registry, open_registry
from models_lib.run_history import RUNS_LOOKED_AT
from models_lib.running import marked_as_running
from models_lib.status import ExpiryWarning, SymbolStatus, expiring, read_status, valid_until
from models_lib.steps.admission import sole_retrain
from tests.judged import judged
from tests.old_homes import NOW, ago, entry, names, write_run


@pytest.fixture(scope="module")
def first_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    bundle = judged("A", folder / "a", judged_at=ago(6))
    registry = open_registry(folder / "home")
    registry.store.put(folder / "a")
    registry.promote("BTC-USD", bundle, expected_champion=None, who="me", why="first", now=ago(6))
    return folder / "home"


@pytest.fixture
def home(first_home: Path, tmp_path: Path) -> Path:
    """A is champion of BTC-USD for six days; it was judged then, and may be used for seven."""
    return Path(shutil.copytree(first_home, tmp_path / "home"))


def champion(home: Path) -> str:
    found = open_registry(home).champion("BTC-USD")
    assert found is not None
    assert found.bundle is not None
    return found.bundle


def status(home: Path, symbol: str = "BTC-USD") -> SymbolStatus:
    (row,) = read_status(home, [symbol], registry=Registry(LocalStore(home)), now=NOW).symbols
    return row


def warning(home: Path) -> ExpiryWarning:
    (found,) = expiring(home, ["BTC-USD", "ETH-USD"], registry=Registry(LocalStore(home)), now=NOW)
    return found


# expiry


def test_champion_is_valid_for_its_days_after_it_was_judged(home: Path) -> None:
    row = status(home)
    assert row.champion is not None
    assert row.champion.bundle == champion(home)
    assert row.age_days == 6.0
    assert row.expires_at == ago(-1)
    assert row.days_left == 1.0
    assert row.faults == ()


def test_verdict_that_a_gate_opposed_renews_nothing_and_a_good_one_does(home: Path, tmp_path: Path) -> None:
    bundle = champion(home)
    bad = {"run_id": "run-2", "champion": bundle, "judged_at": ago(3), "failed": {"accuracy": "blocking"}}
    judged("A", tmp_path / "bad", **bad)
    open_registry(home).store.put(tmp_path / "bad")
    assert valid_until(LocalStore(home), bundle) == ago(-1)
    judged("A", tmp_path / "good", run_id="run-3", champion=bundle, judged_at=ago(2))
    open_registry(home).store.put(tmp_path / "good")
    assert valid_until(LocalStore(home), bundle) == ago(-5)


@pytest.mark.parametrize(
    ("days_later", "said"),
    [
        (-1.1, None),
        (-1.0, "expires in 2.0 days (2026-06-02T12:00Z); then the runtime refuses it"),
        (0.9, "expires in 0.1 days (2026-06-02T12:00Z); then the runtime refuses it"),
        (1.0, "expired 0.0 days ago (2026-06-02T12:00Z) and is refused by the runtime"),
        (4.0, "expired 3.0 days ago (2026-06-02T12:00Z) and is refused by the runtime"),
    ],
)
def test_warning_comes_two_days_before_the_end_and_stays(home: Path, days_later: float, said: str | None) -> None:
    found = expiring(
        home, ["BTC-USD", "ETH-USD"], registry=Registry(LocalStore(home)), now=NOW + timedelta(days=days_later)
    )
    assert len(found) == (said is not None)
    for one in found:
        assert one.sentence().startswith(f"BTC-USD: champion {champion(home)[:12]} {said}; ")


def test_warning_tells_the_nights_and_the_gates_that_held_them(home: Path) -> None:
    for days, failed in ((5, ["accuracy"]), (4, ["accuracy", "finite"]), (3, [])):
        write_run(home, days, {"BTC-USD": entry("held", *failed, report=f"report-{days}")})
    found = warning(home)
    assert (found.nights_held, found.gates) == (3, {"accuracy": 2, "finite": 1})
    assert found.sentence().endswith(
        "candidates were held on 3 nights since the last promotion by accuracy (2), finite (1). Look at report-3."
    )


def test_warning_without_a_held_night_asks_for_the_nightly(home: Path) -> None:
    assert "see whether the nightly run works" in warning(home).sentence()


def test_symbol_without_a_champion_has_nothing_to_expire(tmp_path: Path) -> None:
    row = status(tmp_path)
    assert (row.champion, row.age_days, row.days_left, row.last, row.warning()) == (None, None, None, None, None)
    assert expiring(tmp_path, ["BTC-USD"], registry=Registry(LocalStore(tmp_path)), now=NOW) == ()
    assert list(tmp_path.iterdir()) == []


# nights


def nights(home: Path) -> tuple[int, dict[str, int]]:
    row = status(home)
    return len(row.runs.held), row.runs.gates()


def test_several_runs_of_a_day_are_one_night(home: Path) -> None:
    for hours, suffix in ((25, "a"), (26, "b"), (27, "c")):
        write_run(home, hours / 24, {"BTC-USD": entry("held", "accuracy")}, suffix=suffix)
    assert nights(home) == (1, {"accuracy": 1})


def test_a_failed_night_neither_counts_nor_ends_the_row(home: Path) -> None:
    for days, outcome in ((4, "held"), (3, "failed"), (2, "held")):
        write_run(home, days, {"BTC-USD": entry(outcome, reason="why")})
    assert nights(home) == (2, {})
    write_run(home, 1, {"BTC-USD": entry("failed", reason="no candles")})
    last = status(home).last
    assert last is not None
    assert (last.outcome, last.reason, last.at) == ("failed", "no candles", ago(1))
    assert nights(home)[0] == 2


@pytest.mark.parametrize("ending", ["promoted by a run", "changed by hand"])
def test_nights_before_the_last_promotion_do_not_count(home: Path, ending: str) -> None:
    write_run(home, 4, {"BTC-USD": entry("held", "accuracy")})
    write_run(home, 7, {"BTC-USD": entry("held", "finite")})
    if ending == "promoted by a run":
        write_run(home, 2, {"BTC-USD": entry("promoted", reason="already champion")})
    assert nights(home) == ((0, {}) if ending == "promoted by a run" else (1, {"accuracy": 1}))
    last = status(home).last
    assert last is not None
    assert last.outcome == ("promoted" if ending == "promoted by a run" else "held")


def test_run_before_the_champion_is_still_the_last_one(home: Path) -> None:
    write_run(home, 7, {"BTC-USD": entry("held", "finite")})
    assert nights(home) == (0, {})
    last = status(home).last
    assert last is not None
    assert last.outcome == "held"


def test_killed_run_counts_for_the_symbols_that_it_decided(home: Path) -> None:
    run = write_run(home, 1, {"BTC-USD": entry("held", "accuracy"), "ETH-USD": entry("held")})
    (run / "summary.json").unlink()
    (run / "BTC-USD" / "outcome.json").write_text(json.dumps({"symbol": "BTC-USD", **entry("held", "accuracy")}))
    assert nights(home) == (1, {"accuracy": 1})
    assert status(home, "ETH-USD").last is None


def test_only_the_newest_runs_are_read(tmp_path: Path) -> None:
    for days in range(RUNS_LOOKED_AT + 5):
        write_run(tmp_path, days, {"BTC-USD": entry("held")})
    assert nights(tmp_path)[0] == RUNS_LOOKED_AT


# seams


class Target(FolderTarget):
    """A target that runs x, or does not answer."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__(Path("/nowhere"), keep=2)
        self._failure = failure

    def look(self) -> Look:
        if self._failure is not None:
            raise self._failure
        return Look({symbol: f"x of {symbol}" for symbol in ("BTC-USD", "ETH-USD")}, {}, None)


def test_releases_waiting_holds_runs_and_notices_are_shown(home: Path) -> None:
    place_hold(home, "BTC-USD", placed_by="me@host", reason="odd", now=ago(1))
    for name in ("pending/a", "pending/b", "undelivered/c"):
        (home / "outbox" / f"{name}.json").parent.mkdir(parents=True, exist_ok=True)
        (home / "outbox" / f"{name}.json").touch()
    with marked_as_running(home / "runs" / "20260601T020000Z-a"), sole_retrain(home, "train-all-x", wait=False):
        found = read_status(
            home,
            ["BTC-USD"],
            registry=Registry(LocalStore(home)),
            now=NOW,
            targets=[Target()],
            waiting={"BTC-USD": "an approval"},
        )
    (row,) = found.symbols
    document = json.loads(json.dumps(row.to_json()))
    assert document["releases"] == {"folder": "x of BTC-USD"}
    assert document["waiting"] == "an approval"
    assert document["hold"] == {"placed_by": "me@host", "reason": "odd", "since": "2026-05-31T12:00:00Z"}
    assert document["expires_at"] == "2026-06-02T12:00:00Z"
    assert document["warning"].startswith("BTC-USD: champion ")
    assert (found.running, found.retrain) == (("20260601T020000Z-a",), "train-all-x")
    assert (found.notices, found.undelivered) == (2, 1)
    assert found.damage == ()
    quiet = read_status(home, ["BTC-USD"], registry=Registry(LocalStore(home)), now=NOW)
    assert (quiet.running, quiet.retrain, quiet.symbols[0].waiting) == ((), None, "")


def test_promotion_under_way_is_what_the_symbol_waits_for(home: Path) -> None:
    (home / "journal").mkdir()
    (home / "journal" / "BTC-USD.json").touch()
    assert status(home).waiting == "a promotion under way, or the next run to settle a killed one"


def test_target_that_does_not_answer_is_told_in_the_row(home: Path) -> None:
    found = read_status(
        home, ["BTC-USD"], registry=Registry(LocalStore(home)), now=NOW, targets=[Target(TransientError("no route"))]
    )
    assert found.symbols[0].releases == {}
    assert found.symbols[0].faults == ("target folder: no route",)


# damage


def damage_verdict(home: Path) -> None:
    next((home / "store" / "verdicts").rglob("*.json")).write_text("{}")


def damage_manifest(home: Path) -> None:
    (home / "store" / "bundles" / champion(home) / "manifest.json").write_text('{"valid_days": true}')


def remove_bundle(home: Path) -> None:
    (home / "store" / "bundles" / champion(home)).rename(home / "gone")


def remove_verdicts(home: Path) -> None:
    (home / "store" / "verdicts" / champion(home)).rename(home / "gone")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (damage_verdict, "this verdict was changed"),
        (damage_manifest, "valid_days must be a whole number above 0, was True"),
        (remove_bundle, "is not in the store"),
        (remove_verdicts, "has no verdict that allows it"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_end_that_nobody_can_tell_is_told_and_warned_of(home: Path, damage: object, told: str) -> None:
    assert callable(damage)
    damage(home)
    row = status(home)
    assert row.champion is not None
    assert row.expires_at is None
    assert told in row.faults[0]
    assert "nobody can tell when it expires: " in warning(home).sentence()
    assert told in warning(home).sentence()
    with pytest.raises(BundleError, match=told):
        valid_until(LocalStore(home), champion(home))


def test_damaged_pointer_is_told_in_the_row_and_the_ledger_answers(home: Path) -> None:
    bundle = champion(home)
    (home / "promoted" / "BTC-USD.json").write_bytes(b"{}")
    found = read_status(home, ["BTC-USD", "ETH-USD"], registry=Registry(LocalStore(home)), now=NOW)
    row, other = found.symbols
    assert row.champion is not None
    assert row.champion.bundle == bundle
    assert row.faults[0].startswith("the pointer of BTC-USD is damaged")
    assert other.faults == ()
    assert found.damage == ()


def test_damaged_ledger_is_told_and_the_pointer_answers(home: Path) -> None:
    bundle = champion(home)
    (home / "ledger.jsonl").write_bytes(b"garbage\n")
    found = read_status(home, ["BTC-USD"], registry=Registry(LocalStore(home)), now=NOW)
    assert found.symbols[0].champion is not None
    assert found.symbols[0].champion.bundle == bundle
    assert found.damage[0].startswith("ledger line 1: not readable")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"symbols": []}', b'{"symbols": {"BTC-USD": {}}}', b'{"symbols": {"BTC-USD": 3}}'],
)
def test_damaged_summary_is_told_and_older_runs_still_count(home: Path, content: bytes) -> None:
    write_run(home, 2, {"BTC-USD": entry("held", "accuracy")})
    broken = write_run(home, 1, {"BTC-USD": entry("held", "accuracy")})
    (broken / "summary.json").write_bytes(content)
    row = status(home)
    assert len(row.runs.held) == 1
    assert len(row.faults) == 1
    assert broken.name in row.faults[0]
    assert row.last is not None


def test_looking_writes_nothing(home: Path) -> None:
    write_run(home, 2, {"BTC-USD": entry("held", "accuracy")})
    (home / "promoted" / "BTC-USD.json").unlink()  # a crash came between ledger and pointer
    before = names(home)
    assert status(home).champion is not None
    assert names(home) == before
