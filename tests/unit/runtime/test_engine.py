"""Bars in, signals and reasons out: nothing twice, nothing lost, and a fault ends with its bar."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from models_lib.candles.schema import BAR_MS
from models_lib.holds import place_hold, release_hold
from models_lib.host.watch import answers_of
from models_lib.runtime.proposal import propose
from models_lib.runtime.refusal import RefusalKind
from models_lib.runtime.sources import FolderSource, Given, Reached, Trouble
from models_lib.runtime.state import RuntimeState
from tests.bundles import T0, edit_json, reseal, walk_candles
from tests.unit.runtime.host_folders import NOW, TALKATIVE, Host, ListSource, given, raws_of, write_candles

CANDLES = walk_candles(1_700)
RAWS = raws_of(CANDLES)
PAST = 1_500
"""Bars that only fill the window: more than the warm-up of 1,440."""


@pytest.fixture
def btc(host: Host, btc_bundle: Path) -> Host:
    host.release(btc_bundle)
    return host


def recorded(host: Host, symbol: str = "BTC-USD") -> datetime | None:
    with RuntimeState.open(host.folder / "state" / "runtime.sqlite") as state:
        return state.last_bar(symbol)


def test_every_bar_ends_in_one_signal_or_one_refusal(btc: Host) -> None:
    health = btc.run(ListSource(given(RAWS, past=PAST)))
    symbol = health.symbols["BTC-USD"]
    assert symbol.bars == symbol.predictions == 200
    assert symbol.signals + sum(symbol.refusals.values()) == 200
    assert symbol.signals == len(btc.signals()) == len(btc.said) > 20
    assert set(symbol.refusals) <= set(RefusalKind)
    assert sum(symbol.classes.values()) == 200
    assert [signal["number"] for signal in btc.signals()] == list(range(1, symbol.signals + 1))
    assert symbol.latency_ms.median is not None
    assert symbol.live is not None
    assert symbol.live_line == "replay: no bar with a label after the bundle's own data yet, so nothing is measured"
    assert recorded(btc) == CANDLES["timestamp"].iloc[-1]
    assert (health.ready, health.last_error, health.ended_at) == (True, None, NOW)


def test_no_signal_is_added_to_one_that_is_good(btc: Host) -> None:
    settings = TALKATIVE.model_copy(update={"one_at_a_time": True, "expiry_minutes": 10})
    health = btc.run(ListSource(given(RAWS[: PAST + 100], past=PAST)), settings=settings)
    # A restart knows of the signal that an earlier process issued.
    again = btc.run(ListSource(given(RAWS, past=PAST + 100)), settings=settings)
    issued = [(one["direction"], datetime.fromisoformat(one["bar_at"])) for one in btc.signals()]
    for direction in ("LONG", "SHORT"):
        bars = [bar_at for name, bar_at in issued if name == direction]
        apart = [later - earlier for earlier, later in pairwise(bars)]
        # A signal is good from its bar's close for 10 minutes: the bar that closes then is the first to speak again.
        assert all(gap >= timedelta(minutes=10) for gap in apart), apart
    assert min(one.symbols["BTC-USD"].refusals["open_signal"] for one in (health, again)) > 0
    assert len(issued) > 5


def test_signal_tells_what_moved_the_prediction(btc: Host) -> None:
    btc.run(ListSource(given(RAWS[: PAST + 20], past=PAST)))
    moved = btc.signals()[0]["moved_by"]
    assert len(moved) == 5
    sizes = [abs(change) for _, change in moved]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 0.0


def test_first_bars_warm_up_and_say_so(btc: Host) -> None:
    health = btc.run(ListSource(given(RAWS[:1_442])))
    assert health.symbols["BTC-USD"].refusals["warming_up"] == 1_440
    assert health.symbols["BTC-USD"].predictions == 2


@pytest.mark.parametrize(
    "cut", [1_577, pytest.param(1_501, marks=pytest.mark.long), pytest.param(1_699, marks=pytest.mark.long)]
)
def test_restart_at_any_bar_says_the_same_as_no_restart(btc: Host, btc_bundle: Path, tmp_path: Path, cut: int) -> None:
    write_candles(tmp_path / "candles" / "BTC-USD.safetensors", CANDLES)
    whole = Host(tmp_path / "whole")
    whole.folder.mkdir()
    whole.release(btc_bundle)
    whole.run(FolderSource(tmp_path / "candles", newest_minutes=200))
    first, last = RAWS[PAST][0], RAWS[cut - 1][0]
    btc.run(FolderSource(tmp_path / "candles", first_ms=first, last_ms=last))
    rest = btc.run(FolderSource(tmp_path / "candles", first_ms=first))
    assert rest.symbols["BTC-USD"].bars == 1_700 - cut
    assert btc.signals() == whole.signals() != []
    assert btc.said == whole.said


def test_replay_again_says_nothing_twice(btc: Host, tmp_path: Path) -> None:
    write_candles(tmp_path / "candles" / "BTC-USD.safetensors", CANDLES)
    btc.run(FolderSource(tmp_path / "candles", newest_minutes=200))
    before = btc.signals()
    health = btc.run(FolderSource(tmp_path / "candles", newest_minutes=200))
    assert (health.symbols["BTC-USD"].bars, health.symbols["BTC-USD"].signals) == (0, 0)
    assert btc.signals() == before
    assert len(btc.said) == len(before)


def test_bars_missed_while_down_are_decided_on_as_stale(btc: Host) -> None:
    opened = datetime.fromtimestamp(RAWS[1_600][0] / 1000, UTC)
    btc.run(ListSource(given(RAWS[:1_601], past=PAST)), mode="live", clock=lambda: opened + timedelta(seconds=61))
    again = opened + timedelta(minutes=50)
    health = btc.run(
        ListSource([*given(RAWS[:1_601], past=1_601), *given(RAWS[1_601:1_650])]), mode="live", clock=lambda: again
    )
    symbol = health.symbols["BTC-USD"]
    # 49 bars, of which the newest two closed at most 120 s before
    assert symbol.bars == 49
    assert symbol.refusals["stale"] == 46
    assert symbol.signals + symbol.refusals.get("neutral", 0) + symbol.refusals.get("below_confidence", 0) == 3


def test_bar_of_the_future_gives_nothing_until_its_time_has_come(btc: Host) -> None:
    at = datetime.fromtimestamp(RAWS[1_600][0] / 1000, UTC) + timedelta(seconds=60)
    events = [*given(RAWS[:1_601], past=PAST), *given(RAWS[1_605:1_606]), *given(RAWS[1_601:1_602])]
    symbol = btc.run(ListSource(events), mode="live", clock=lambda: at).symbols["BTC-USD"]
    assert symbol.refusals["bad_candle"] == 2
    assert symbol.last_refusal is not None
    assert "check this host's clock" in symbol.last_refusal
    assert symbol.last_bar_at == at - timedelta(seconds=60)


def test_bad_candle_that_comes_again_and_again_is_counted_and_logged_once(
    btc: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """As a live source gives it, with another fault in between."""
    bad, worse = [RAWS[PAST][0], "much"], [RAWS[PAST + 1][0], "more"]
    again = [raw for _ in range(5) for raw in (bad, worse)]
    symbol = btc.run(ListSource(given([*RAWS[:PAST], *again, RAWS[PAST]], past=PAST))).symbols["BTC-USD"]
    assert (symbol.refusals["bad_candle"], symbol.bars) == (10, 1)
    assert "gapped" not in symbol.refusals
    assert caplog.text.count("a bad candle") == 1


def test_hold_silences_from_the_next_bar_and_its_release_ends_that(btc: Host) -> None:
    class HeldFrom(ListSource):
        def bars(self, reached: Any, stop: Any) -> Any:
            for place, event in enumerate(self.events):
                if place == PAST + 10:
                    place_hold(btc.folder, "BTC-USD", placed_by="ops@host", reason="halted", now=NOW)
                if place == PAST + 15:
                    release_hold(btc.folder, "BTC-USD", who="ops@host", now=NOW)
                yield event

    symbol = btc.run(HeldFrom(given(RAWS[: PAST + 30], past=PAST))).symbols["BTC-USD"]
    assert symbol.refusals["on_hold"] == 5
    held = {raw[0] for raw in RAWS[PAST + 10 : PAST + 15]}
    assert not held & {datetime.fromisoformat(one["bar_at"]).timestamp() * 1000 for one in btc.signals()}


def test_release_that_is_switched_meanwhile_is_silent_until_the_restart(btc: Host, other_bundle: Path) -> None:
    class Switched(ListSource):
        def bars(self, reached: Any, stop: Any) -> Any:
            for place, event in enumerate(self.events):
                if place == PAST + 10:
                    btc.release(other_bundle)
                yield event

    loaded: list[Mapping[str, str | None]] = []
    symbol = btc.run(Switched(given(RAWS[: PAST + 30], past=PAST)), mend=loaded.append).symbols["BTC-USD"]
    assert symbol.refusals["swapped"] == 20
    assert loaded == [{"BTC-USD": symbol.bundle}] * 20, "who undoes a killed deployment is told what is loaded"
    again = btc.run(ListSource([*given(RAWS[: PAST + 30], past=PAST), *given(RAWS[PAST + 30 :])])).symbols["BTC-USD"]
    assert again.bundle == other_bundle.name
    assert "swapped" not in again.refusals


def test_release_that_cannot_be_loaded_silences_its_symbol_alone(btc: Host, eth_bundle: Path) -> None:
    bundle = btc.release(eth_bundle, symbol="ETH-USD")
    model = btc.folder / "releases" / "ETH-USD" / bundle / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    events = [*given(RAWS, past=PAST), *given(RAWS, past=PAST, symbol="ETH-USD")]
    health = btc.run(ListSource(events), symbols=["BTC-USD", "ETH-USD"])
    btc_health, eth_health = health.symbols["BTC-USD"], health.symbols["ETH-USD"]
    assert btc_health.signals > 20
    assert (eth_health.bundle, eth_health.refusals, eth_health.signals) == (None, {"no_release": 200}, 0)
    assert eth_health.last_error is not None
    assert "model.onnx" in eth_health.last_error
    assert health.last_error == f"ETH-USD: {eth_health.last_error}"


def test_release_of_another_symbol_is_refused(btc: Host, btc_bundle: Path) -> None:
    btc.release(btc_bundle, symbol="SOL-USD")
    symbol = btc.run(ListSource([]), symbols=["SOL-USD"]).symbols["SOL-USD"]
    assert symbol.last_error is not None
    assert "bundle of BTC-USD, not of SOL-USD" in symbol.last_error


def test_expired_bundle_is_silent(btc: Host) -> None:
    """Judged at T0 and valid for 7 days: the bar that closes just then is the last one that is spoken about."""
    last = PAST + 100
    last_ms = int(T0.timestamp() * 1000) + 7 * 1_440 * BAR_MS - BAR_MS
    raws = [[last_ms + (place - last) * BAR_MS, *raw[1:]] for place, raw in enumerate(RAWS)]
    symbol = btc.run(ListSource(given(raws[: last + 6], past=PAST))).symbols["BTC-USD"]
    assert symbol.bars == 106
    assert symbol.refusals["expired"] == 5


def test_bundle_without_facts_is_refused_as_never_judged(btc: Host, btc_bundle: Path) -> None:
    release = btc.folder / "releases" / "BTC-USD" / btc_bundle.name
    (release / "run.json").unlink()
    reseal(release)
    symbol = btc.run(ListSource(given(RAWS[: PAST + 5], past=PAST))).symbols["BTC-USD"]
    assert symbol.refusals == {"expired": 5}
    assert symbol.last_refusal is not None
    assert "never judged" in symbol.last_refusal


def test_hole_refuses_until_the_features_are_there_again(btc: Host) -> None:
    raws = [*RAWS[: PAST + 10], *RAWS[PAST + 20 :]]
    symbol = btc.run(ListSource(given(raws, past=PAST))).symbols["BTC-USD"]
    assert symbol.refusals["gapped"] == 180
    assert symbol.last_refusal is not None
    assert "10 minutes from 2026-01-02T01:10Z are missing; 1,261 more bars" in symbol.last_refusal


@pytest.mark.parametrize(("trained", "filled", "gapped"), [(2, 0, 10), (3, 3, 0)])
def test_minutes_are_filled_as_in_the_bundles_training(btc: Host, trained: int, filled: int, gapped: int) -> None:
    """Whatever the host's own setting is."""
    release = (btc.folder / "current" / "BTC-USD").resolve()
    edit_json(release / "run.json", lambda tree: tree["config"].update(data={"fill_no_trade_minutes": trained}))
    reseal(release)
    raws = [*RAWS[: PAST + 10], *RAWS[PAST + 13 : PAST + 23]]
    symbol = btc.run(ListSource(given(raws, past=PAST)), fill_no_trade_minutes=5).symbols["BTC-USD"]
    assert (symbol.filled_minutes, symbol.refusals.get("gapped", 0), symbol.bars) == (filled, gapped, 20)


def test_fault_of_one_bar_silences_that_bar_alone(btc: Host, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[Any] = []

    def breaks_at_the_third(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise ZeroDivisionError("planted")
        return propose(*args, settings=TALKATIVE)

    health = btc.run(ListSource(given(RAWS, past=PAST)), proposing=breaks_at_the_third)
    symbol = health.symbols["BTC-USD"]
    assert (symbol.errors, answers_of(symbol, live=False).errors) == (1, 1)
    assert symbol.signals == len(calls) - 1
    assert symbol.bars == symbol.signals + sum(symbol.refusals.values()) == 200
    assert symbol.last_error is not None
    assert "ZeroDivisionError: planted" in symbol.last_error
    assert "breaks_at_the_third" in caplog.text  # the traceback


def test_record_that_cannot_be_written_says_nothing(btc: Host) -> None:
    """SQLite itself refuses, as on a full disk, and what is not recorded is not said."""

    class FullDisk(ListSource):
        def bars(self, reached: Any, stop: Any) -> Any:
            for place, event in enumerate(self.events):
                if place == PAST + 20:
                    blocker = sqlite3.connect(btc.folder / "state" / "runtime.sqlite", isolation_level=None)
                    blocker.execute("CREATE TRIGGER full BEFORE INSERT ON bars BEGIN SELECT RAISE(ABORT, 'disk'); END")
                    blocker.close()
                yield event

    symbol = btc.run(FullDisk(given(RAWS[: PAST + 40], past=PAST))).symbols["BTC-USD"]
    assert symbol.errors >= 20
    assert symbol.refusals["error"] > 0
    assert symbol.bars == 40 == symbol.signals + sum(symbol.refusals.values())
    assert len(btc.signals()) == symbol.signals


def test_shadow_is_compared_and_never_speaks(btc: Host, other_bundle: Path) -> None:
    alone = btc.run(ListSource(given(RAWS[: PAST + 100], past=PAST)))
    before = btc.signals()
    beside = Host(btc.folder / "beside")
    beside.folder.mkdir()
    beside.release(btc.folder / "releases" / "BTC-USD" / (alone.symbols["BTC-USD"].bundle or ""))
    beside.release(other_bundle, role="shadow")
    symbol = beside.run(ListSource(given(RAWS[: PAST + 100], past=PAST))).symbols["BTC-USD"]
    assert beside.signals() == before
    assert symbol.shadow == other_bundle.name
    assert symbol.shadow_difference is not None
    assert symbol.shadow_difference.bars == 100
    assert 0.0 < symbol.shadow_difference.mean_abs_dp < 0.5
    assert 0.0 <= symbol.shadow_difference.agreement < 1.0


def test_broken_shadow_is_told_and_the_champion_speaks(btc: Host, other_bundle: Path) -> None:
    bundle = btc.release(other_bundle, role="shadow")
    (btc.folder / "releases" / "BTC-USD" / bundle / "manifest.json").write_text("{}")
    symbol = btc.run(ListSource(given(RAWS, past=PAST))).symbols["BTC-USD"]
    assert symbol.signals > 20
    assert symbol.shadow is None
    assert symbol.last_error is not None
    assert symbol.last_error.startswith("the shadow release cannot be loaded")
    assert answers_of(symbol, live=False).errors == 0, "a deployment's watch does not blame the champion"


def test_trouble_of_the_source_is_in_the_health_and_later_bars_count(btc: Host) -> None:
    events: list[Given | Trouble | None] = [*given(RAWS, past=PAST)]
    events.insert(PAST + 5, Trouble("BTC-USD", "BTC-USD: the exchange does not answer."))
    symbol = btc.run(ListSource(events)).symbols["BTC-USD"]
    assert (symbol.errors, answers_of(symbol, live=False).errors, symbol.bars) == (1, 0, 200)
    assert symbol.last_error == "BTC-USD: the exchange does not answer."


def test_health_is_there_from_the_start_and_does_not_cost_a_write_a_bar(btc: Host) -> None:
    seen: list[tuple[bool, int]] = []

    class Looking(ListSource):
        def bars(self, reached: Any, stop: Any) -> Any:
            for event in self.events:
                tree = json.loads((btc.folder / "health.json").read_text())
                seen.append((tree["ready"], tree["symbols"]["BTC-USD"]["bars"]))
                yield event

    btc.run(Looking(given(RAWS, past=PAST)), health_every_seconds=60.0)
    assert seen[0] == (False, 0)
    assert not any(ready for ready, _ in seen[: PAST + 1])
    assert all(ready for ready, _ in seen[PAST + 1 :])
    assert len({bars for _, bars in seen}) == 2  # at the start, and when it became ready


def test_shadow_that_comes_later_is_compared_from_then_on(btc: Host, other_bundle: Path) -> None:
    class Meanwhile(ListSource):
        """A deployer links the shadow in the middle."""

        def bars(self, reached: Mapping[str, Reached], stop: Event) -> Iterator[Given | Trouble | None]:
            for place, event in enumerate(super().bars(reached, stop)):
                if place == PAST + 150:
                    btc.release(other_bundle, role="shadow")
                yield event

    health = btc.run(Meanwhile(given(RAWS, past=PAST))).symbols["BTC-USD"]
    assert health.shadow == other_bundle.name
    assert health.shadow_difference is not None
    assert health.shadow_difference.bars == 50
    assert health.bars == 200


def test_host_without_releases_is_ready(host: Host) -> None:
    """A first release that went back leaves the host so, and the deployment asks whether the runtime stands."""
    assert host.run(ListSource([]), symbols=()).ready
