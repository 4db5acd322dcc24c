"""Activation and return on the host: each symbol runs one complete, known release, whatever happens."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from models_lib.bundle import (
    TorchPredictor,
    is_sound,
    load_bundle,
    record_golden,
    verify_bundle,
    with_temperature,
    write_bundle,
)
from models_lib.bundle.manifest import parse_manifest
from models_lib.errors import RecordError, TransientError
from models_lib.holds import held, place_hold
from models_lib.host.messages import Move, Return
from models_lib.host.releases import Releases
from models_lib.host.transaction import activate
from tests.bundles import T0, edit_json, walk_candles
from tests.hosts import WATCH, TestHost
from tests.killed import NEVER, killed_at, killed_at_each

Bundles = dict[str, list[Path]]
BTC, ETH = "BTC-USD", "ETH-USD"


def runs(host: TestHost, symbol: str, bundle: Path) -> None:
    """The symbol's current release is that bundle, whole."""
    assert host.current(symbol) == bundle.name
    assert is_sound(verify_bundle(host.folder / "current" / symbol, expected_hash=bundle.name))
    assert not (host.folder / "journal.json").exists()
    assert not any((host.folder / "incoming").iterdir())


def kept(host: TestHost) -> set[str]:
    return {path.name for path in (host.folder / "releases" / BTC).iterdir()}


def test_several_symbols_share_one_restart(host: TestHost, bundles: Bundles) -> None:
    restarts = len(host.restarts())
    outcome = host.deploy({symbol: made[1] for symbol, made in bundles.items()})
    assert [(fate.outcome, fate.release, fate.reason) for fate in outcome.fates] == [
        ("deployed", bundles[BTC][1].name, ""),
        ("deployed", bundles[ETH][1].name, ""),
    ]
    assert len(host.restarts()) == restarts + 1
    for symbol, made in bundles.items():
        runs(host, symbol, made[1])
    assert {"adopt", "load", "switch", "restart", "health", "watch"} <= outcome.seconds.keys()
    assert host.host.journal.outcome(outcome.token) == outcome


def test_what_runs_already_is_not_restarted(host: TestHost, bundles: Bundles) -> None:
    restarts = host.restarts()
    assert host.deploy({BTC: bundles[BTC][0]}).of(BTC).outcome == "deployed"
    assert host.restarts() == restarts


def test_release_that_no_runtime_serves_is_restarted(host: TestHost, bundles: Bundles) -> None:
    (host.folder / "health.json").unlink()
    restarts = host.restarts()
    assert host.deploy({BTC: bundles[BTC][0]}).of(BTC).outcome == "deployed"
    assert len(host.restarts()) == len(restarts) + 1


def test_release_that_a_dead_runtime_served_is_restarted(host: TestHost, bundles: Bundles) -> None:
    """Its health names the release for ever: as it ended, or, after a kill, as if it went on."""
    restarts = len(host.restarts())
    ends = {"mode": "live", "ended_at": "2020-01-01T00:00:00Z"}
    for number, end in enumerate([ends, {"mode": "live"}], 1):
        edit_json(host.folder / "health.json", lambda tree, end=end: tree.update(end))
        assert host.deploy({BTC: bundles[BTC][0]}).of(BTC).outcome == "deployed"
        assert len(host.restarts()) == restarts + number


def test_release_that_a_living_runtime_serves_is_not_restarted(host: TestHost, bundles: Bundles) -> None:
    restarts = host.restarts()
    edit_json(host.folder / "health.json", lambda tree: tree.update(mode="live"))
    with host.runtime_lock():
        assert host.deploy({BTC: bundles[BTC][0]}).of(BTC).outcome == "deployed"
    assert host.restarts() == restarts


def test_put_back_of_what_a_dead_runtime_served_restarts_it(host: TestHost, bundles: Bundles) -> None:
    restarts = len(host.restarts())
    edit_json(host.folder / "health.json", lambda tree: tree.update(mode="live"))
    assert host.carry_out(_return(host, bundles[BTC][0].name)).of(BTC).outcome == "deployed"
    assert len(host.restarts()) == restarts + 1


def test_corrupt_upload_is_refused_and_the_others_go_on(host: TestHost, bundles: Bundles) -> None:
    order = host.activation({symbol: made[1] for symbol, made in bundles.items()})
    with (host.folder / "incoming" / order.token / BTC / "model.safetensors").open("r+b") as stream:
        stream.seek(2_000)
        stream.write(b"\xff\xff\xff\xff")
    outcome = host.carry_out(order)
    assert outcome.of(BTC).outcome == "refused"
    assert "model.safetensors changed since the bundle was written" in outcome.of(BTC).reason
    assert outcome.of(ETH).outcome == "deployed"
    runs(host, BTC, bundles[BTC][0])
    runs(host, ETH, bundles[ETH][1])
    assert held(host.folder, BTC) is None


def test_bundle_of_another_symbol_is_refused(host: TestHost, bundles: Bundles) -> None:
    outcome = host.deploy({BTC: bundles[ETH][1]})
    assert outcome.of(BTC).outcome == "refused"
    assert "ETH-USD" in outcome.of(BTC).reason
    runs(host, BTC, bundles[BTC][0])


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ({"fails": True}, "ended with status 1 (the service manager says no)"),
        ({"silent": True}, "the runtime reported no health within 1 s after the restart"),
        ({"ready": False}, "the runtime is not ready (it is starting) within 1 s after the restart"),
        ({"names": "0" * 64}, "BTC-USD: the runtime names release 000000000000, not release "),
    ],
)
def test_runtime_that_does_not_come_up_is_rolled_back(
    host: TestHost, bundles: Bundles, says: dict[str, object], told: str
) -> None:
    host.runtime_says({}, **{bundles[BTC][1].name: says})
    outcome = host.deploy({BTC: bundles[BTC][1], ETH: bundles[ETH][1]})
    for symbol in (BTC, ETH):
        fate = outcome.of(symbol)
        assert (fate.outcome, fate.release, fate.on_hold) == ("rolled_back", bundles[symbol][0].name, False)
        assert told in fate.reason
        runs(host, symbol, bundles[symbol][0])
    assert host.restarts()[-1] == {symbol: made[0].name for symbol, made in bundles.items()}
    # The issue: under 1 s besides the service's own restart, which here is the start of an interpreter.
    assert outcome.seconds["switch"] < 1.0


def test_unhealthy_after_rolling_back_is_said(host: TestHost, bundles: Bundles) -> None:
    host.runtime_says({"fails": True})
    fate = host.deploy({BTC: bundles[BTC][1]}).of(BTC)
    assert (fate.outcome, fate.release) == ("unhealthy", bundles[BTC][0].name)
    assert "and after going back the restart command" in fate.reason


def test_first_release_that_does_not_come_up_leaves_the_symbol_without_one(tmp_path: Path, bundles: Bundles) -> None:
    host = TestHost(tmp_path / "host")
    host.runtime_says({}, **{bundles[BTC][0].name: {"ready": False}})
    fate = host.deploy({BTC: bundles[BTC][0]}).of(BTC)
    assert (fate.outcome, fate.release) == ("rolled_back", None)
    assert host.restarts()[-1] == {}


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"over_99": 5}, "100.0% of 5 answers are above 99 % confidence (at most 30% allowed)"),
        ({"non_finite": 1}, "1 answers are not finite (at most 0 allowed)"),
        ({"refusals": {"error": 2}}, "2 bars ended in an error (at most 0 allowed)"),
        ({"latency_ms": {"median": 9_000.0, "p99": 9_900.0}}, "a bar takes 9000 ms (at most 1000 ms allowed)"),
        ({"predictions": 800, "classes": {"DOWN": 800, "NEUTRAL": 0, "UP": 0}}, "DOWN is 100.0% of 800 answers"),
    ],
)
def test_model_that_breaks_a_limit_goes_back_alone_and_is_held(
    host: TestHost, bundles: Bundles, figures: dict[str, object], told: str
) -> None:
    host.runtime_says({}, **{bundles[BTC][1].name: {"figures": figures}})
    fate = host.deploy({BTC: bundles[BTC][1]}).of(BTC)
    assert (fate.outcome, fate.release, fate.on_hold) == ("rolled_back", bundles[BTC][0].name, True)
    assert told in fate.reason
    hold = held(host.folder, BTC)
    assert hold is not None
    assert hold.placed_by == "crpbot"
    assert told in hold.reason
    runs(host, BTC, bundles[BTC][0])
    # Only a person's release lets another model in.
    again = host.deploy({BTC: bundles[BTC][2]}).of(BTC)
    assert again.outcome == "refused"
    assert "crpbot release-hold BTC-USD" in again.reason


WAITS = WATCH.model_copy(update={"bars": 100, "minutes": 0.5})
"""For more bars than the stand-in reports."""


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ({"mode": "live", "ended_at": "2026-01-01T00:00:00Z"}, "the runtime ended (no error is known)"),
        ({"mode": "live", "last_error": "BTC-USD: memory"}, "the runtime ended (BTC-USD: memory)"),  # as after a kill
        ({"started_at": "2126-01-01T00:00:00Z"}, "the runtime ended and was started again"),
        ({"ready": False}, "the runtime is not ready"),
    ],
)
def test_runtime_that_ends_during_the_watch_takes_all_back_and_holds_none(
    host: TestHost, bundles: Bundles, then: dict[str, object], told: str
) -> None:
    host.runtime_says({}, **{bundles[BTC][1].name: {"then": then}})
    outcome = host.deploy({symbol: made[1] for symbol, made in bundles.items()}, watch=WAITS, service=host.asking)
    for symbol in (BTC, ETH):
        fate = outcome.of(symbol)
        assert (fate.outcome, fate.release, fate.on_hold) == ("rolled_back", bundles[symbol][0].name, False)
        assert told in fate.reason
        runs(host, symbol, bundles[symbol][0])


def test_runtime_that_cannot_be_asked_to_the_end_takes_all_back(host: TestHost, bundles: Bundles) -> None:
    once = ("/bin/sh", "-c", 'cat "$0"/health.json && rm "$0"/health.json', str(host.folder))
    service = host.service.model_copy(update={"health": once})
    watch = WATCH.model_copy(update={"bars": 100, "minutes": 0.005})
    fate = host.deploy({BTC: bundles[BTC][1]}, watch=watch, service=service).of(BTC)
    assert (fate.outcome, fate.on_hold) == ("rolled_back", False)
    assert "the health command /bin/sh ended with status 1" in fate.reason


def test_symbol_without_new_bars_goes_back_and_is_held(host: TestHost, bundles: Bundles) -> None:
    """The others are watched anew, and stay."""
    host.runtime_says(
        {"mode": "live"}, **{bundles[BTC][1].name: {"mode": "live", "figures": {"bar_age_seconds": 400.0}}}
    )
    with host.runtime_lock():
        outcome = host.deploy({symbol: made[1] for symbol, made in bundles.items()})
    fate = outcome.of(BTC)
    assert (fate.outcome, fate.release, fate.on_hold) == ("rolled_back", bundles[BTC][0].name, True)
    assert "the newest bar is 400 s old (at most 300 s allowed)" in fate.reason
    assert outcome.of(ETH).outcome == "deployed"


BREAKS = {"figures": {"non_finite": 1}}
ENDS = {"mode": "live", "ended_at": "2026-01-01T00:00:00Z"}


def test_others_stay_when_one_goes_back_and_each_has_its_own_count(host: TestHost, bundles: Bundles) -> None:
    new = {symbol: made[1] for symbol, made in bundles.items()}
    host.runtime_says({}, **{new[BTC].name: BREAKS, new[ETH].name: {"figures": {"bars": 0}}})
    outcome = host.deploy(new, watch=WATCH.model_copy(update={"minutes": 0.005}))
    assert [(fate.outcome, fate.on_hold) for fate in outcome.fates] == [("rolled_back", True), ("deployed", False)]
    assert outcome.of(BTC).notes[-1] == "watched for 5 bars"
    assert outcome.of(ETH).notes[-1] == "watched for 0 bars, fewer than 1: no more came within 0.005 minutes"
    runs(host, BTC, bundles[BTC][0])
    runs(host, ETH, new[ETH])


def test_others_are_watched_anew_when_one_went_back(host: TestHost, bundles: Bundles) -> None:
    """What happens after the restart that they share is theirs, too."""
    new = {symbol: made[1] for symbol, made in bundles.items()}
    host.runtime_says({}, **{new[BTC].name: BREAKS, new[ETH].name: {"then": ENDS}})
    outcome = host.deploy(new, watch=WAITS, service=host.asking)
    assert [(fate.outcome, fate.on_hold) for fate in outcome.fates] == [("rolled_back", True), ("rolled_back", False)]
    assert "the runtime ended" in outcome.of(ETH).reason
    runs(host, ETH, bundles[ETH][0])


def test_runtime_that_does_not_come_up_after_one_went_back_is_that_of_all(host: TestHost, bundles: Bundles) -> None:
    new = {symbol: made[1] for symbol, made in bundles.items()}
    host.runtime_says({}, **{new[BTC].name: BREAKS, bundles[BTC][0].name: {"fails": True}})
    outcome = host.deploy(new)
    assert [(fate.outcome, fate.on_hold) for fate in outcome.fates] == [("unhealthy", True), ("unhealthy", False)]
    assert outcome.of(ETH).reason.startswith("after BTC-USD went back the restart command")


def test_runtime_that_does_not_come_up_in_the_end_is_that_of_those_that_went_back_before(
    host: TestHost, bundles: Bundles
) -> None:
    new = {symbol: made[1] for symbol, made in bundles.items()}
    says = {new[BTC].name: BREAKS, new[ETH].name: {"then": ENDS}, bundles[ETH][0].name: {"fails": True}}
    host.runtime_says({}, **says)
    outcome = host.deploy(new, watch=WAITS, service=host.asking)
    assert [(fate.outcome, fate.on_hold) for fate in outcome.fates] == [("unhealthy", True), ("unhealthy", False)]
    assert "1 answers are not finite" in outcome.of(BTC).reason
    assert "; and after ETH-USD went back the restart command" in outcome.of(BTC).reason


def test_hold_outlives_a_kill_on_the_way_back(host: TestHost, bundles: Bundles) -> None:
    """The model passed the rehearsal: without the hold the next night would put it to use again."""
    host.runtime_says({}, **{bundles[BTC][1].name: BREAKS})
    order = host.activation({BTC: bundles[BTC][1]}, service=host.killed_in_its_restart(2))
    assert killed_at(NEVER, lambda: host.carry_out(order))
    settled = host.settle()
    assert settled is not None
    fate = settled.of(BTC)
    assert (fate.outcome, fate.release, fate.on_hold) == ("rolled_back", bundles[BTC][0].name, True)
    assert "was killed during this deployment; and it is on hold since" in fate.reason
    assert "1 answers are not finite" in fate.reason
    assert host.deploy({BTC: bundles[BTC][1]}).of(BTC).outcome == "refused"


def test_release_stays_when_the_source_fails_for_once_during_the_watch(host: TestHost, bundles: Bundles) -> None:
    told = {"errors": 1, "last_error": "BTC-USD: http://127.0.0.1/ answers with status 503."}
    host.runtime_says({}, **{bundles[BTC][1].name: {"figures": told}})
    fate = host.deploy({BTC: bundles[BTC][1]}).of(BTC)
    assert (fate.outcome, fate.on_hold) == ("deployed", False)


def test_three_sure_answers_among_many_are_no_breach(host: TestHost, bundles: Bundles) -> None:
    host.runtime_says({}, **{bundles[BTC][1].name: {"figures": {"over_99": 3, "predictions": 100}}})
    assert host.deploy({BTC: bundles[BTC][1]}).of(BTC).outcome == "deployed"


def test_poisoned_model_is_refused_by_the_rehearsal(host: TestHost, tmp_path: Path, bundles: Bundles) -> None:
    poisoned = _poisoned(bundles[BTC][1], tmp_path)
    restarts = host.restarts()
    watch = WATCH.model_copy(update={"rehearsal_minutes": 1_440, "class_share_low": 0.0, "class_share_high": 1.0})
    fate = host.deploy({BTC: poisoned}, watch=watch).of(BTC)
    assert fate.outcome == "refused"
    assert "in the rehearsal of the newest day" in fate.reason
    assert "above 99 % confidence" in fate.reason
    assert fate.on_hold
    assert fate.notes[0].startswith("rehearsal of the newest 1440 minutes: 1440 answers: ")
    assert host.restarts() == restarts
    runs(host, BTC, bundles[BTC][0])


def test_rehearsal_counts_what_the_bundle_answers(host: TestHost, bundles: Bundles) -> None:
    watch = WATCH.model_copy(update={"rehearsal_minutes": 300})
    notes = host.deploy({BTC: bundles[BTC][1]}, watch=watch).of(BTC).notes
    answers = load_bundle(bundles[BTC][1]).predict(host.candles)[-300:].argmax(axis=1)
    counts = np.bincount(answers, minlength=3)
    shares = [
        f"{name} {count / 300:.0%}" for name, count in zip(("DOWN", "NEUTRAL", "UP"), counts, strict=True) if count
    ]
    assert notes[0].startswith(f"rehearsal of the newest 300 minutes: 300 answers: {' '.join(shares)}, 0 above 99 %")


def test_host_without_candles_refuses(host: TestHost, bundles: Bundles) -> None:
    host.candles = host.candles.head(100)
    watch = WATCH.model_copy(update={"rehearsal_minutes": 60})
    fate = host.deploy({BTC: bundles[BTC][1]}, watch=watch).of(BTC)
    assert fate.outcome == "refused"
    assert "none of the newest 60 candles has features" in fate.reason
    assert not fate.on_hold


def test_hold_keeps_every_release_out(host: TestHost, bundles: Bundles) -> None:
    place_hold(host.folder, BTC, placed_by="me@here", reason="looking", now=T0)
    fate = host.deploy({BTC: bundles[BTC][1]}).of(BTC)
    assert fate.outcome == "refused"
    assert "on hold since 2026-01-01T00:00:00Z by me@here: looking" in fate.reason


def test_release_that_changed_meanwhile_is_not_overwritten(host: TestHost, bundles: Bundles) -> None:
    planned = host.activation({BTC: bundles[BTC][1]})
    host.deploy({BTC: bundles[BTC][2]})
    fate = host.carry_out(planned).of(BTC)
    assert fate.outcome == "refused"
    assert "somebody else deployed meanwhile" in fate.reason
    runs(host, BTC, bundles[BTC][2])


def test_one_deployment_at_a_time(host: TestHost, bundles: Bundles) -> None:
    with (
        host.host.alone(within_seconds=0.0),
        pytest.raises(TransientError, match="another deployment is at work on this host"),
    ):
        host.deploy({BTC: bundles[BTC][1]})


def test_earlier_release_is_put_back(host: TestHost, bundles: Bundles) -> None:
    first, second = bundles[BTC][:2]
    host.deploy({BTC: second})
    order = _return(host, first.name)
    assert host.carry_out(order).of(BTC).outcome == "deployed"
    runs(host, BTC, first)
    restarts = host.restarts()
    assert host.carry_out(order).of(BTC).outcome == "deployed"  # twice is once
    assert host.restarts() == restarts


def test_damaged_release_is_not_put_back(host: TestHost, bundles: Bundles) -> None:
    first, second = bundles[BTC][:2]
    host.deploy({BTC: second})
    (host.folder / "releases" / BTC / first.name / "model.onnx").write_bytes(b"")
    fate = host.carry_out(_return(host, first.name)).of(BTC)
    assert (fate.outcome, fate.release) == ("refused", second.name)
    assert "is not there any more, or is damaged" in fate.reason


def test_current_and_previous_are_kept(host: TestHost, bundles: Bundles) -> None:
    for bundle in (*bundles[BTC][1:], *bundles[BTC]):
        host.deploy({BTC: bundle}, keep_releases=2)
    assert kept(host) == {bundles[BTC][1].name, bundles[BTC][2].name}


def test_repeated_deployment_keeps_the_previous_release(host: TestHost, bundles: Bundles) -> None:
    first, second, refused = bundles[BTC]
    host.deploy({BTC: second}, keep_releases=2)
    host.candles = host.candles.head(100)  # too few for a rehearsal
    watch = WATCH.model_copy(update={"rehearsal_minutes": 60})
    assert host.deploy({BTC: refused}, keep_releases=2, watch=watch).of(BTC).outcome == "refused"
    assert host.deploy({BTC: second}, keep_releases=2).of(BTC).outcome == "deployed"
    assert {first.name, second.name} <= kept(host)
    assert host.carry_out(_return(host, first.name)).of(BTC).outcome == "deployed"


def test_order_that_is_killed_anywhere_is_settled(tmp_path: Path, bundles: Bundles) -> None:
    """SIGKILL at each step of an activation: afterwards every symbol runs a whole release, and all run the same set."""
    outcomes = set()
    hosts: dict[int, TestHost] = {}

    def before(step: int) -> None:
        host = hosts[step] = TestHost(tmp_path / str(step))
        for symbol, made in bundles.items():
            host.host.releases.adopt(symbol, made[1].name, lambda fresh, made=made: shutil.copytree(made[1], fresh))
        host.deploy({symbol: made[0] for symbol, made in bundles.items()})

    def act(step: int) -> None:
        host = hosts[step]
        with host.host.alone(within_seconds=0.0):
            activate(host.host, host.activation({symbol: made[1] for symbol, made in bundles.items()}))

    for step, killed in killed_at_each(23, act, before=before):
        host = hosts[step]
        settled = host.settle()
        ran = {
            symbol: [bundle.name for bundle in bundles[symbol]].index(host.current(symbol) or "") for symbol in bundles
        }
        assert len(set(ran.values())) == 1, (step, ran)
        outcomes.add((ran[BTC], settled is not None))
        if settled is not None:
            assert {fate.outcome for fate in settled.fates} == {"rolled_back"}
            assert ran[BTC] == 0
            assert host.restarts()[-1] == {symbol: made[0].name for symbol, made in bundles.items()}
        assert killed or ran[BTC] == 1
        # And the next one goes through.
        again = host.deploy({symbol: made[2] for symbol, made in bundles.items()})
        assert [fate.outcome for fate in again.fates] == ["deployed", "deployed"]
    assert {(0, False), (0, True), (1, False)} == outcomes


def test_killed_order_does_not_undo_somebody_elses_deployment(host: TestHost, bundles: Bundles) -> None:
    planned = host.activation({BTC: bundles[BTC][1], ETH: bundles[ETH][1]})
    host.deploy({BTC: bundles[BTC][2]})  # so the order refuses BTC
    host.host.releases.adopt(ETH, bundles[ETH][1].name, lambda fresh: shutil.copytree(bundles[ETH][1], fresh))
    host.host.journal.write(planned)
    host.host.releases.switch(ETH, bundles[ETH][1].name)  # and here it is killed
    settled = host.settle()
    assert settled is not None
    assert [(fate.symbol, fate.outcome) for fate in settled.fates] == [(BTC, "refused"), (ETH, "rolled_back")]
    assert "somebody else deployed meanwhile" in settled.of(BTC).reason
    assert (host.current(BTC), host.current(ETH)) == (bundles[BTC][2].name, bundles[ETH][0].name)


def test_journal_that_cannot_be_read_stops_everything(host: TestHost, bundles: Bundles) -> None:
    (host.folder / "journal.json").write_text("{")
    with pytest.raises(RecordError, match=r"cannot be read.* Remove the file, then `crpbot deploy`"):
        host.deploy({BTC: bundles[BTC][1]})
    assert Releases(host.folder).current(BTC) == bundles[BTC][0].name


def _return(host: TestHost, bundle: str) -> Return:
    move = Move(symbol=BTC, bundle=bundle, before=host.current())
    return Return(
        token="return-1", who="tester@here", moves=(move,), service=host.service, lock_seconds=0.0, why="the test"
    )


def _poisoned(bundle: Path, folder: Path) -> Path:
    """The bundle with a temperature that makes it sure of everything, whole and consistent: only its answers tell."""
    tensors = with_temperature(load_file(bundle / "model.safetensors"), 0.002)
    manifest = parse_manifest((bundle / "manifest.json").read_bytes())
    golden = record_golden(walk_candles(), TorchPredictor(manifest.network, tensors), symbol=manifest.symbol)
    written = write_bundle(folder / "poisoned", tensors=tensors, manifest=manifest, golden=golden)
    return (folder / "poisoned").rename(folder / written)
