"""What every store must do, and what the registry must do on every store."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from models_lib.bundle import verify_hashes
from models_lib.errors import BundleError, ConfigError, PromotionError
from models_lib.registry import LocalStore, PromotionOutcome, Registry, Store
from tasks.adapters.s3.store import S3Store
from tests.contracts.memory_store import MemoryStore
from tests.contracts.s3_stores import damage_in_s3, s3_store
from tests.judged import at, judged, unjudged

Damage = Callable[[str, str, bytes], None]
STORES = ("local", "conditional-puts", "s3")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    home = tmp_path / "home"
    home.mkdir()
    match request.param:
        case "local":
            return LocalStore(home)
        case "conditional-puts":
            return MemoryStore(home)
        case _:
            return s3_store(request.getfixturevalue("bucket"), home)


@pytest.fixture
def damage(request: pytest.FixtureRequest, store: Store) -> Damage:
    """Writes other content over a file of a kept bundle, where the store keeps it."""
    if isinstance(store, S3Store):
        client, bucket = request.getfixturevalue("weed").client(), request.getfixturevalue("bucket")
        return lambda bundle, path, content: damage_in_s3(client, bucket, bundle, path, content)

    def write(bundle: str, path: str, content: bytes) -> None:
        (store.bundle(bundle) / path).write_bytes(content)

    return write


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store)


def keep(registry: Registry, name: str, tmp_path: Path, **facts: object) -> str:
    folder = tmp_path / f"candidate-{name}-{len(list(tmp_path.iterdir()))}"
    judged(name, folder, **facts)
    return registry.store.put(folder)


def promote(registry: Registry, symbol: str, bundle: str, expected: str | None, minute: int = 0) -> PromotionOutcome:
    return registry.promote(
        symbol, bundle, expected_champion=expected, who="me@here", why="test", now=at(minute), cost_usd=0.5
    )


def promoted_line(registry: Registry, tmp_path: Path) -> tuple[str, str, str]:
    """A then B then C champions of BTC-USD, each judged against the one before."""
    a = keep(registry, "A", tmp_path)
    promote(registry, "BTC-USD", a, None, 1)
    b = keep(registry, "B", tmp_path, champion=a)
    promote(registry, "BTC-USD", b, a, 2)
    c = keep(registry, "C", tmp_path, champion=b)
    promote(registry, "BTC-USD", c, b, 3)
    return a, b, c


# the store


def test_put_keeps_a_bundle_under_its_hash(store: Store, tmp_path: Path) -> None:
    bundle = judged("A", tmp_path / "candidate")
    assert store.put(tmp_path / "candidate") == bundle
    assert verify_hashes(store.bundle(bundle)) == bundle
    assert store.bundle(bundle).name == bundle
    assert store.find(bundle[:8]) == (bundle,)
    assert [facts.run_id for facts in store.verdicts(bundle)] == ["run-1"]


def test_putting_again_writes_no_bundle_and_keeps_the_new_verdict(store: Store, tmp_path: Path) -> None:
    bundle = judged("A", tmp_path / "one", run_id="one", judged_at=at(1))
    store.put(tmp_path / "one")
    before = {path: path.stat().st_mtime_ns for path in store.bundle(bundle).rglob("*")}
    judged("A", tmp_path / "two", run_id="two", judged_at=at(2))
    for _ in range(2):
        assert store.put(tmp_path / "two") == bundle
    assert {path: path.stat().st_mtime_ns for path in store.bundle(bundle).rglob("*")} == before
    assert [facts.run_id for facts in store.verdicts(bundle)] == ["one", "two"]


def test_renewed_bundle_is_what_it_was_and_an_unknown_one_is_refused(store: Store, tmp_path: Path) -> None:
    bundle = judged("A", tmp_path / "candidate")
    store.put(tmp_path / "candidate")
    store.renew(bundle)
    assert verify_hashes(store.bundle(bundle)) == bundle
    with pytest.raises(BundleError, match="is not in the store"):
        store.renew("0" * 64)


def test_damaged_candidate_is_not_kept(store: Store, tmp_path: Path) -> None:
    bundle = judged("A", tmp_path / "candidate")
    (tmp_path / "candidate" / "manifest.json").write_text("{}")
    with pytest.raises(BundleError):
        store.put(tmp_path / "candidate")
    assert store.find("") == ()
    with pytest.raises(BundleError, match="is not in the store"):
        store.bundle(bundle)


def test_damaged_copy_in_the_store_is_not_called_kept(store: Store, tmp_path: Path, damage: Damage) -> None:
    bundle = judged("A", tmp_path / "candidate")
    store.put(tmp_path / "candidate")
    damage(bundle, "model.safetensors", b"")
    with pytest.raises(BundleError, match=r"model\.safetensors changed"):
        store.put(tmp_path / "candidate")


def test_pointer_is_created_only_when_there_is_none_and_replaced_only_when_unchanged(store: Store) -> None:
    assert store.pointer("BTC-USD") is None
    assert not store.replace_pointer("BTC-USD", b"x", expected="some-version")
    assert store.replace_pointer("BTC-USD", b"one", expected=None)
    assert not store.replace_pointer("BTC-USD", b"two", expected=None)
    first = store.pointer("BTC-USD")
    assert first is not None
    assert store.replace_pointer("BTC-USD", b"three", expected=first.version)
    assert not store.replace_pointer("BTC-USD", b"four", expected=first.version)
    now = store.pointer("BTC-USD")
    assert now is not None
    assert now.content == b"three"
    assert store.pointed_symbols() == ("BTC-USD",)


def test_ledger_line_is_written_once(store: Store) -> None:
    assert store.ledger().lines == ()
    assert not store.append(b"gap", index=1)
    assert store.append(b"zero", index=0)
    assert not store.append(b"other", index=0)
    assert store.append(b"one", index=1)
    assert store.ledger().lines == (b"zero", b"one")
    assert not store.ledger().unfinished


@pytest.fixture
def crowd(store: Store) -> tuple[int, int]:
    """How many rounds of how many writers: SeaweedFS looks once a second whether a name is free again."""
    return (2, 4) if isinstance(store, S3Store) else (5, 8)


def test_of_many_writers_of_one_line_one_wins(store: Store, crowd: tuple[int, int]) -> None:
    rounds, writers = crowd
    for index in range(rounds):
        barrier, wins = threading.Barrier(writers), []

        def write(
            number: int, index: int = index, barrier: threading.Barrier = barrier, wins: list[int] = wins
        ) -> None:
            barrier.wait()
            if store.append(f"{index}-{number}".encode(), index=index):
                wins.append(number)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(wins) == 1
        assert store.ledger().lines[index] == f"{index}-{wins[0]}".encode()


def test_of_many_writers_of_one_pointer_version_one_wins(store: Store, crowd: tuple[int, int]) -> None:
    rounds, writers = crowd
    version = None
    for turn in range(rounds):
        barrier, wins = threading.Barrier(writers), []

        def write(
            number: int,
            turn: int = turn,
            version: str | None = version,
            barrier: threading.Barrier = barrier,
            wins: list[int] = wins,
        ) -> None:
            barrier.wait()
            if store.replace_pointer("BTC-USD", f"{turn}-{number}".encode(), expected=version):
                wins.append(number)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(wins) == 1
        stored = store.pointer("BTC-USD")
        assert stored is not None
        assert stored.content == f"{turn}-{wins[0]}".encode()
        version = stored.version


# the registry on that store


def test_first_promotion_points_at_the_bundle_and_is_recorded(registry: Registry, tmp_path: Path) -> None:
    a = keep(registry, "A", tmp_path, failed={"edge_after_costs": "advisory"})
    outcome = promote(registry, "BTC-USD", a, None, 7)
    assert outcome == PromotionOutcome("BTC-USD", True, a, None, f"BTC-USD: {a[:12]} promoted")
    champion = registry.champion("BTC-USD")
    assert champion is not None
    assert (champion.bundle, champion.previous, champion.since) == (a, None, at(7))
    (entry,) = registry.history().entries
    assert entry.to_json() == {
        "index": 0,
        "time": "2026-01-01T00:07:00Z",
        "who": "me@here",
        "symbol": "BTC-USD",
        "action": "promote",
        "from": None,
        "to": a,
        "why": "test",
        "cost_usd": 0.5,
        "run_id": "run-1",
        "gates": {"passed": 13 - 1, "failed_advisory": ["edge_after_costs"]},
        "previous_hash": "0" * 64,
        "hash": entry.hash,
    }


def test_symbols_do_not_touch_each_other(registry: Registry, tmp_path: Path) -> None:
    a, e = keep(registry, "A", tmp_path), keep(registry, "E", tmp_path)
    promote(registry, "BTC-USD", a, None)
    promote(registry, "ETH-USD", e, None)
    assert [registry.champion(symbol).bundle for symbol in ("BTC-USD", "ETH-USD")] == [a, e]  # type: ignore[union-attr]
    assert registry.champion("SOL-USD") is None
    assert [entry.symbol for entry in registry.history("ETH-USD").entries] == ["ETH-USD"]
    assert registry.history().damage == ()


def test_candidate_equal_to_the_champion_writes_nothing(registry: Registry, tmp_path: Path) -> None:
    a = keep(registry, "A", tmp_path)
    promote(registry, "BTC-USD", a, None)
    before = registry.store.ledger(), registry.store.pointer("BTC-USD")
    for expected in (None, a):
        outcome = promote(registry, "BTC-USD", a, expected)
        assert (outcome.changed, outcome.champion) == (False, a)
        assert outcome.message.endswith("already champion")
    assert (registry.store.ledger(), registry.store.pointer("BTC-USD")) == before


def test_promotion_against_another_champion_is_refused(registry: Registry, tmp_path: Path) -> None:
    a = keep(registry, "A", tmp_path)
    promote(registry, "BTC-USD", a, None)
    b = keep(registry, "B", tmp_path)
    with pytest.raises(PromotionError, match=f"the champion is {a[:12]}, not no champion"):
        promote(registry, "BTC-USD", b, None)
    with pytest.raises(PromotionError, match=f"was judged against no champion in run run-1, not against {a[:12]}"):
        promote(registry, "BTC-USD", b, a)
    assert registry.champion("BTC-USD").bundle == a  # type: ignore[union-attr]
    assert len(registry.history().entries) == 1


def test_bundle_that_failed_a_blocking_gate_is_never_promoted(registry: Registry, tmp_path: Path) -> None:
    a = keep(
        registry, "A", tmp_path, failed={"accuracy": "blocking", "logit_range": "blocking", "feature_drift": "advisory"}
    )
    with pytest.raises(PromotionError, match="failed logit_range, accuracy in run run-1 and is never promoted"):
        promote(registry, "BTC-USD", a, None)
    assert registry.champion("BTC-USD") is None
    assert registry.store.ledger().lines == ()


def test_bundle_that_nobody_judged_is_not_promoted(registry: Registry, tmp_path: Path) -> None:
    unjudged("A", tmp_path / "candidate")
    a = registry.store.put(tmp_path / "candidate")
    with pytest.raises(PromotionError, match="was not judged: there is no gate report"):
        promote(registry, "BTC-USD", a, None)


def test_newest_verdict_counts_and_a_named_run_counts_over_it(registry: Registry, tmp_path: Path) -> None:
    a = keep(registry, "A", tmp_path, run_id="strict", failed={"accuracy": "blocking"}, judged_at=at(1))
    keep(registry, "A", tmp_path, run_id="default", judged_at=at(2))
    with pytest.raises(PromotionError, match="failed accuracy in run strict"):
        registry.promote("BTC-USD", a, expected_champion=None, who="me", why="test", now=at(3), run_id="strict")
    with pytest.raises(PromotionError, match="was not judged by run third"):
        registry.promote("BTC-USD", a, expected_champion=None, who="me", why="test", now=at(3), run_id="third")
    assert promote(registry, "BTC-USD", a, None).changed


def test_bundle_of_another_symbol_is_refused(registry: Registry, tmp_path: Path) -> None:
    e = keep(registry, "E", tmp_path)
    with pytest.raises(BundleError, match="a bundle of ETH-USD, not of BTC-USD"):
        promote(registry, "BTC-USD", e, None)


def test_damaged_bundle_is_not_promoted(registry: Registry, tmp_path: Path, damage: Damage) -> None:
    a = keep(registry, "A", tmp_path)
    damage(a, "golden/golden.safetensors", b"")
    with pytest.raises(BundleError, match="changed since the bundle was written"):
        promote(registry, "BTC-USD", a, None)
    assert registry.champion("BTC-USD") is None


def test_rollback_goes_back_one_champion_at_a_time(registry: Registry, tmp_path: Path) -> None:
    a, b, c = promoted_line(registry, tmp_path)
    assert registry.champion("BTC-USD").previous == b  # type: ignore[union-attr]
    first = registry.rollback("BTC-USD", who="me", why="worse live", now=at(10))
    assert (first.champion, first.previous) == (b, a)
    second = registry.rollback("BTC-USD", who="me", why="still", now=at(11))
    assert (second.champion, second.previous) == (a, None)
    with pytest.raises(PromotionError, match="no earlier champion"):
        registry.rollback("BTC-USD", who="me", why="more", now=at(12))
    assert [(e.action, e.from_bundle, e.to_bundle) for e in registry.history().entries[3:]] == [
        ("rollback", c, b),
        ("rollback", b, a),
    ]
    assert registry.history().damage == ()


def test_rollback_without_any_champion_is_refused(registry: Registry) -> None:
    with pytest.raises(PromotionError, match="BTC-USD: there is no earlier champion"):
        registry.rollback("BTC-USD", who="me", why="test", now=at(1))
    assert registry.store.ledger().lines == ()


def test_rollback_to_a_damaged_bundle_is_refused(registry: Registry, tmp_path: Path, damage: Damage) -> None:
    _, b, c = promoted_line(registry, tmp_path)
    damage(b, "model.safetensors", b"zero")
    with pytest.raises(BundleError, match=r"model\.safetensors changed"):
        registry.rollback("BTC-USD", who="me", why="test", now=at(9))
    assert registry.champion("BTC-USD").bundle == c  # type: ignore[union-attr]


def test_rollback_of_another_champion_than_expected_is_refused(registry: Registry, tmp_path: Path) -> None:
    _, b, c = promoted_line(registry, tmp_path)
    with pytest.raises(PromotionError, match=f"the champion is {c[:12]}, not {b[:12]}"):
        registry.rollback("BTC-USD", who="me", why="test", now=at(9), expected_champion=b)


def test_undo_takes_back_even_a_first_promotion_and_it_can_be_promoted_again(
    registry: Registry, tmp_path: Path
) -> None:
    a = keep(registry, "A", tmp_path)
    promote(registry, "BTC-USD", a, None)
    undone = registry.undo_promotion("BTC-USD", a, who="flow", why="deployment failed", now=at(2))
    assert (undone.champion, undone.changed) == (None, True)
    assert registry.champion("BTC-USD") is None
    with pytest.raises(PromotionError):
        registry.undo_promotion("BTC-USD", a, who="flow", why="again", now=at(3))
    assert promote(registry, "BTC-USD", a, None).changed
    assert registry.champion("BTC-USD").bundle == a  # type: ignore[union-attr]
    assert registry.history().damage == ()


def test_undo_of_a_later_promotion_restores_the_champion_before(registry: Registry, tmp_path: Path) -> None:
    _, b, c = promoted_line(registry, tmp_path)
    assert registry.undo_promotion("BTC-USD", c, who="flow", why="deployment failed", now=at(9)).champion == b
    assert promote(registry, "BTC-USD", c, b).changed


def test_pointer_that_lags_behind_is_carried_forward(registry: Registry, tmp_path: Path) -> None:
    a = keep(registry, "A", tmp_path)
    promote(registry, "BTC-USD", a, None)
    old = registry.store.pointer("BTC-USD")
    b = keep(registry, "B", tmp_path, champion=a)
    promote(registry, "BTC-USD", b, a)
    new = registry.store.pointer("BTC-USD")
    assert old is not None
    assert new is not None
    assert registry.store.replace_pointer("BTC-USD", old.content, expected=new.version)
    assert registry.champion("BTC-USD").bundle == b  # type: ignore[union-attr]
    assert registry.recover() == ("BTC-USD",)
    assert registry.store.pointer("BTC-USD") == new
    assert registry.recover() == ()


def test_reference_is_a_folder_or_the_start_of_one_hash(registry: Registry, tmp_path: Path) -> None:
    a = judged("A", tmp_path / "candidate")
    for unknown in (a, a[:8], "no/such", "", "zz"):
        with pytest.raises(ConfigError, match="neither a bundle folder nor the start"):
            registry.resolve(unknown)
    assert registry.resolve(str(tmp_path / "candidate")) == a
    assert registry.resolve(a) == registry.resolve(a[:8]) == a
    with pytest.raises(ConfigError):
        registry.resolve(a[:7])
