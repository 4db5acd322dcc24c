"""Races lost on purpose: another process gets in between reading and writing."""

from pathlib import Path

import pytest

from models_lib.errors import PromotionError, RecordError
from models_lib.registry import Registry
from tests.contracts.memory_store import MemoryStore
from tests.judged import at, judged


def test_two_deployers_against_one_champion_only_the_first_succeeds(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    store = MemoryStore(tmp_path / "home")
    a, b = judged("A", tmp_path / "a"), judged("B", tmp_path / "b")
    for name in ("a", "b"):
        store.put(tmp_path / name)
    first = Registry(store)

    def second_gets_in(key: str) -> None:
        store.before_write = lambda key: None
        first.promote("BTC-USD", b, expected_champion=None, who="second", why="race", now=at(1))

    store.before_write = second_gets_in
    with pytest.raises(PromotionError, match=f"the champion is {b[:12]}, not no champion: it changed in between"):
        first.promote("BTC-USD", a, expected_champion=None, who="first", why="race", now=at(1))
    assert [entry.who for entry in first.history().entries] == ["second"]
    assert first.champion("BTC-USD").bundle == b  # type: ignore[union-attr]


def test_a_line_taken_by_another_symbol_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    store = MemoryStore(tmp_path / "home")
    a, e = judged("A", tmp_path / "a"), judged("E", tmp_path / "e")
    for name in ("a", "e"):
        store.put(tmp_path / name)
    registry = Registry(store)

    def other_symbol_gets_in(key: str) -> None:
        store.before_write = lambda key: None
        registry.promote("ETH-USD", e, expected_champion=None, who="other", why="race", now=at(1))

    store.before_write = other_symbol_gets_in
    assert registry.promote("BTC-USD", a, expected_champion=None, who="first", why="race", now=at(1)).changed
    assert [entry.symbol for entry in registry.history().entries] == ["ETH-USD", "BTC-USD"]
    assert registry.history().damage == ()


def test_pointer_never_goes_back_behind_a_later_promotion(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    store = MemoryStore(tmp_path / "home")
    registry = Registry(store)
    a = judged("A", tmp_path / "a")
    b = judged("B", tmp_path / "b", champion=a)
    for name in ("a", "b"):
        store.put(tmp_path / name)

    def second_passes_before_the_pointer(key: str) -> None:
        if key == "promoted/BTC-USD":
            store.before_write = lambda key: None
            registry.promote("BTC-USD", b, expected_champion=a, who="second", why="race", now=at(2))

    store.before_write = second_passes_before_the_pointer
    assert registry.promote("BTC-USD", a, expected_champion=None, who="first", why="race", now=at(1)).changed
    assert registry.champion("BTC-USD").bundle == b  # type: ignore[union-attr]
    assert registry.history().damage == ()


def test_promotion_between_two_reads_is_no_damage(tmp_path: Path) -> None:
    """Another symbol is promoted while this one reads: whatever was read first, the record is sound."""
    (tmp_path / "home").mkdir()
    store = MemoryStore(tmp_path / "home")
    a, e = judged("A", tmp_path / "a"), judged("E", tmp_path / "e")
    for name in ("a", "e"):
        store.put(tmp_path / name)
    other = Registry(store)
    reads: list[str] = []

    def other_symbol_gets_in(key: str) -> None:
        reads.append(key)
        if len(reads) == 2:  # between the first and the second thing that is read
            store.before_read = lambda key: None
            other.promote("ETH-USD", e, expected_champion=None, who="other", why="race", now=at(1))

    other.promote("BTC-USD", a, expected_champion=None, who="first", why="race", now=at(1))
    store.before_read = other_symbol_gets_in
    assert Registry(store).history().damage == ()
    assert [entry.symbol for entry in other.history().entries] == ["BTC-USD", "ETH-USD"], "it did get in"


def test_second_verdict_of_one_run_is_refused(tmp_path: Path) -> None:
    """Bundle and run id are the same, the judgement is another one: somebody wrote one of them."""
    (tmp_path / "home").mkdir()
    store = MemoryStore(tmp_path / "home")
    bundle = judged("A", tmp_path / "held", failed={"accuracy": "blocking"})
    judged("A", tmp_path / "forged", judged_at=at(5))
    for name in ("held", "forged"):
        store.put(tmp_path / name)
    with pytest.raises(RecordError, match="two different verdicts of run run-1; a run judges once"):
        Registry(store).promote("BTC-USD", bundle, expected_champion=None, who="me", why="test", now=at(6))
