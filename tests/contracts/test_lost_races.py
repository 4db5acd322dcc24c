"""Races lost on purpose: another process gets in between reading and writing."""

from pathlib import Path

import pytest

from models_lib.errors import PromotionError
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
