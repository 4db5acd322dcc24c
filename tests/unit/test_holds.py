"""A symbol on hold: placed and released once, recorded each time, and on hold when nobody can tell."""

import json
from pathlib import Path
from typing import Any

import pytest

from models_lib.errors import ConfigError, PromotionError
from models_lib.holds import BY_THE_SYSTEM, held, held_symbols, place_hold, release_hold
from models_lib.registry import open_registry, promote
from tests.judged import at, judged


def record(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / "holds.jsonl").read_text().splitlines()]


def place(home: Path, reason: str = "odd prices", *, minute: int = 1, symbol: str = "BTC-USD") -> str:
    return place_hold(home, symbol, placed_by="me@host", reason=reason, now=at(minute)).message


def test_hold_is_placed_told_and_released(tmp_path: Path) -> None:
    assert held(tmp_path, "BTC-USD") is None
    assert place(tmp_path, " odd \n prices ") == ("BTC-USD: on hold since 2026-01-01T00:01:00Z by me@host: odd prices")
    hold = held(tmp_path, "BTC-USD")
    assert hold is not None
    assert (hold.symbol, hold.since, hold.placed_by, hold.reason) == ("BTC-USD", at(1), "me@host", "odd prices")
    assert held(tmp_path, "ETH-USD") is None
    change = release_hold(tmp_path, "BTC-USD", who="you@host", now=at(2))
    assert change.changed
    assert change.message == f"BTC-USD: released; it was {hold.sentence()}"
    assert held(tmp_path, "BTC-USD") is None


def test_every_hold_and_release_is_recorded_with_time_and_who(tmp_path: Path) -> None:
    place(tmp_path)
    release_hold(tmp_path, "BTC-USD", who="you@host", now=at(2))
    place_hold(tmp_path, "BTC-USD", placed_by=BY_THE_SYSTEM, reason="rolled back", now=at(3))
    assert [(line["time"], line["action"], line["who"], line["hold"]["reason"]) for line in record(tmp_path)] == [
        ("2026-01-01T00:01:00+00:00", "hold", "me@host", "odd prices"),
        ("2026-01-01T00:02:00+00:00", "release", "you@host", "odd prices"),
        ("2026-01-01T00:03:00+00:00", "hold", "crpbot", "rolled back"),
    ]


def test_doing_it_twice_is_doing_it_once_and_the_first_reason_stays(tmp_path: Path) -> None:
    place(tmp_path)
    before = (tmp_path / "holds" / "BTC-USD.json").read_bytes()
    again = place_hold(tmp_path, "BTC-USD", placed_by="you@host", reason="another", now=at(5))
    assert not again.changed
    assert again.message == "BTC-USD: already on hold since 2026-01-01T00:01:00Z by me@host: odd prices"
    assert (tmp_path / "holds" / "BTC-USD.json").read_bytes() == before
    release_hold(tmp_path, "BTC-USD", who="me@host", now=at(6))
    assert not release_hold(tmp_path, "BTC-USD", who="me@host", now=at(7)).changed
    assert len(record(tmp_path)) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"null", b'{"symbol":"ETH-USD"}'])
def test_hold_that_cannot_be_read_is_a_hold_until_it_is_released(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "holds" / "BTC-USD.json"
    path.parent.mkdir()
    path.write_bytes(content)
    hold = held(tmp_path, "BTC-USD")
    assert hold is not None
    assert hold.reason == "holds/BTC-USD.json is damaged, and what cannot be read counts as a hold"
    assert not place_hold(tmp_path, "BTC-USD", placed_by="me@host", reason="x", now=at(1)).changed
    assert release_hold(tmp_path, "BTC-USD", who="me@host", now=at(2)).changed
    assert held(tmp_path, "BTC-USD") is None


def test_hold_copied_to_another_symbol_holds_that_one_as_damaged(tmp_path: Path) -> None:
    place(tmp_path)
    (tmp_path / "holds" / "ETH-USD.json").write_bytes((tmp_path / "holds" / "BTC-USD.json").read_bytes())
    hold = held(tmp_path, "ETH-USD")
    assert hold is not None
    assert "is damaged" in hold.reason
    (tmp_path / "holds" / "notes.json").touch()
    assert held_symbols(tmp_path) == ("BTC-USD", "ETH-USD")


def test_line_that_a_crash_cut_off_does_not_swallow_the_next(tmp_path: Path) -> None:
    place(tmp_path)
    with (tmp_path / "holds.jsonl").open("ab") as stream:
        stream.write(b'{"time":"2026')
    release_hold(tmp_path, "BTC-USD", who="me@host", now=at(2))
    lines = (tmp_path / "holds.jsonl").read_text().splitlines()
    assert [line[:9] for line in lines] == ['{"action"', '{"time":"', '{"action"']
    assert json.loads(lines[2])["action"] == "release"


@pytest.mark.parametrize("reason", ["", "  \n", "x" * 501, "\udcff"])
def test_hold_without_a_usable_reason_is_refused(tmp_path: Path, reason: str) -> None:
    with pytest.raises(ConfigError, match="the reason of a hold must be 1 to 500 characters"):
        place(tmp_path, reason)
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_a_held_symbol_is_promoted_by_hand(tmp_path: Path) -> None:
    home = tmp_path / "home"
    bundle = judged("A", tmp_path / "a")
    place(home)
    with pytest.raises(PromotionError, match=r"BTC-USD is on hold since .* by me@host: odd prices"):
        promote(home, "BTC-USD", str(tmp_path / "a"), registry=open_registry(home), who="me", why="test", now=at(3))
    assert open_registry(home).champion("BTC-USD") is None
    release_hold(home, "BTC-USD", who="me", now=at(4))
    assert (
        promote(
            home, "BTC-USD", str(tmp_path / "a"), registry=open_registry(home), who="me", why="test", now=at(5)
        ).champion
        == bundle
    )
