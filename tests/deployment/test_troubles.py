"""Whatever goes wrong on the way to a trading host: it speaks with one complete, known release, and people are told.

Killed processes are in test_kills.py.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import asyncssh
import pytest

from models_lib.config.targets import SshTargetSection
from models_lib.deployment.host_link import HostLink
from models_lib.errors import BusyError
from models_lib.holds import held
from models_lib.registry import open_registry
from models_lib.steps.release import settle
from tasks.adapters.ssh import SshLink
from tests.deployment.desk import BTC, Candidates, Desk, Meddling
from tests.deployment.trading_host import TradingHost
from tests.proxy import Listener, Proxy

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("deployment")]


def healing(proxy: Proxy) -> Callable[[SshTargetSection], HostLink]:
    """Opens links; the one after the proxy's fault finds it mended."""

    def open_link(section: SshTargetSection) -> HostLink:
        if proxy.happened.is_set():
            proxy.heal()
        return SshLink(section)

    return open_link


def test_release_is_promoted_deployed_recorded_and_told(host: TradingHost, desk: Desk, candidates: Candidates) -> None:
    new = candidates.b[BTC]
    told = desk.release(new)
    assert told.deployment.outcome == "deployed"
    assert told.events["deployed"] == f"trading runs release {new.name}"
    assert desk.champion() == new.name
    assert desk.actions() == ["promote", "promote"]
    assert desk.records() == [(new.name, "deployed")]
    assert desk.under_way() == []
    host.speaks_with(candidates.champions(BTC=new))
    assert not any((host.folder / "incoming").iterdir())


def test_poisoned_model_without_a_rehearsal_is_rolled_back_by_the_watch_and_held_until_a_person_releases_it(
    host: TradingHost, desk: Desk, candidates: Candidates
) -> None:
    told = desk.release(candidates.poisoned, rehearsal_minutes=0, bars=5)
    assert told.deployment.outcome == "rolled_back"
    assert ": after the switch " in told.events["rolled_back"]
    assert "above 99 % confidence" in told.events["rolled_back"]
    desk.nothing_moved(candidates.poisoned.name, outcome="rolled_back")
    for folder in (desk.home, host.folder):
        assert held(folder, BTC) is not None
    host.speaks_with(candidates.champions())
    again = desk.release(candidates.b[BTC])
    assert "`crpbot release-hold BTC-USD` ends it" in again.events["failed"]
    desk.target().release_hold(BTC)
    host.speaks_with(candidates.champions())


def test_corrupt_upload_is_refused(host: TradingHost, desk: Desk, candidates: Candidates) -> None:
    def damage(folder: Path) -> None:
        with (folder / "model.onnx").open("r+b") as stream:
            stream.seek(5_000)
            byte = stream.read(1)[0]
            stream.seek(5_000)
            stream.write(bytes([byte ^ 1]))

    new = candidates.b[BTC]
    told = desk.release(new, ssh=lambda section: Meddling(section, sent=damage))
    assert "model.onnx changed since the bundle was written" in told.events["failed"]
    desk.nothing_moved(new.name)
    host.speaks_with(candidates.champions())


def test_host_with_the_wrong_key_is_not_spoken_to(
    host: TradingHost, desk: Desk, candidates: Candidates, tmp_path: Path
) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    (tmp_path / "known").write_text(f"[127.0.0.1]:* {other}")
    told = desk.release(candidates.b[BTC], section=host.section(known_hosts=tmp_path / "known"))
    assert "the host shows another key than the one in" in told.events["failed"]
    assert desk.champion() == candidates.a[BTC].name
    assert desk.actions() == ["promote"]  # it was asked before anything was promoted
    host.speaks_with(candidates.champions())


def test_host_that_accepts_and_never_answers_is_given_up(host: TradingHost, desk: Desk, candidates: Candidates) -> None:
    with Listener() as deaf:
        told = desk.release(candidates.b[BTC], section=host.section(port=deaf.port, connect_timeout_seconds=1.0))
    assert "did not answer in time" in told.events["failed"]
    assert desk.actions() == ["promote"]
    host.speaks_with(candidates.champions())


@pytest.mark.parametrize("fault", ["stall", "cut"])
def test_link_that_breaks_in_mid_transfer_changes_nothing_and_the_next_try_succeeds(
    fault: str, host: TradingHost, desk: Desk, candidates: Candidates
) -> None:
    new = candidates.b[BTC]
    with Proxy(host.sshd.port) as proxy:
        section = host.section(port=proxy.port, silence_limit_seconds=1.0)
        begin = {"stall": proxy.stall_after, "cut": proxy.cut_after}[fault]
        begin(200_000)
        told = desk.release(new, section=section, ssh=healing(proxy))
        assert proxy.happened.is_set()
        assert "the connection was lost" in told.events["failed"]
        desk.nothing_moved(new.name)
        assert desk.release(new, section=section).deployment.outcome == "deployed"
    assert desk.records() == [(new.name, "failed"), (new.name, "deployed")]
    host.speaks_with(candidates.champions(BTC=new))


def test_link_that_stays_cut_is_put_right_by_the_next_start(
    host: TradingHost, desk: Desk, candidates: Candidates
) -> None:
    """The host cannot be asked whether it runs the new release, so the promotion is not taken back blindly."""
    with Proxy(host.sshd.port) as proxy:
        proxy.cut_after(200_000)
        told = desk.release(candidates.b[BTC], section=host.section(port=proxy.port))
        assert "Registry and target may differ now" in told.events["failed"]
        assert desk.under_way() == [f"{BTC}.json"]
        proxy.heal()
        (settled,) = settle(desk.home, registry=partial(open_registry, desk.home), who="tester@here", ssh=SshLink)
    assert settled.what == "undone"
    desk.nothing_moved(candidates.b[BTC].name)
    host.speaks_with(candidates.champions())


def test_link_that_is_cut_during_the_order_ends_nothing_and_its_outcome_is_learned(
    host: TradingHost, desk: Desk, candidates: Candidates
) -> None:
    new = candidates.b[BTC]
    with Proxy(host.sshd.port) as proxy:

        def cut(line: str) -> None:
            if "answers as recorded" in line and not proxy.happened.is_set():
                proxy.cut_after(0)

        def open_link(section: SshTargetSection) -> HostLink:
            if proxy.happened.is_set():
                proxy.heal()
            return Meddling(section, heard=cut)

        section = host.section(port=proxy.port, silence_limit_seconds=0.4)
        told = desk.release(new, section=section, ssh=open_link)
        assert proxy.happened.is_set()
    assert told.deployment.outcome == "deployed"
    assert desk.actions() == ["promote", "promote"]
    assert desk.records() == [(new.name, "deployed")]
    assert [fate.outcome for outcome in host.outcomes() for fate in outcome.fates] == ["deployed"]
    host.speaks_with(candidates.champions(BTC=new))


def test_service_that_does_not_come_up_with_the_release_is_rolled_back(
    host: TradingHost, desk: Desk, candidates: Candidates
) -> None:
    new = candidates.b[BTC]
    host.refuse(new.name)
    told = desk.release(new)
    assert told.deployment.outcome == "rolled_back"
    assert "the restart command" in told.events["rolled_back"]
    assert "runtime: ERROR (spawn error)" in told.events["rolled_back"]
    desk.nothing_moved(new.name, outcome="rolled_back")
    host.speaks_with(candidates.champions())


def test_service_that_does_not_come_up_at_all_is_told_the_loudest(
    host: TradingHost, desk: Desk, candidates: Candidates
) -> None:
    new = candidates.b[BTC]
    host.refuse(new.name, candidates.a[BTC].name)
    told = desk.release(new)
    assert told.deployment.unhealthy
    assert "DOES NOT ANSWER for what it runs" in told.events["failed"]
    desk.nothing_moved(new.name, outcome="unhealthy")
    host.refuse()
    host.supervisor.start()
    host.speaks_with(candidates.champions())


def test_health_check_that_names_the_old_hash_is_rolled_back(
    host: TradingHost, desk: Desk, candidates: Candidates, tmp_path: Path
) -> None:
    """The runtime is restarted, ready and fresh; only the hash is the old one, as of a runtime that reads elsewhere."""
    says = tmp_path / "says.sh"
    new, old = candidates.b[BTC].name, candidates.a[BTC].name
    says.write_text(f'#!/bin/sh\nexec sed s/{new}/{old}/ "{host.folder}/health.json"\n')
    told = desk.release(
        candidates.b[BTC],
        section=host.section(health_command=("/bin/sh", str(says)), health_timeout_seconds=4.0),
    )
    assert told.deployment.outcome == "rolled_back"
    assert f"the runtime names release {old[:12]}, not release {new[:12]}" in told.events["rolled_back"]
    desk.nothing_moved(new, outcome="rolled_back")
    host.speaks_with(candidates.champions())


def test_second_deployer_is_told_that_the_host_is_busy_and_succeeds_afterwards(
    host: TradingHost, desk: Desk, candidates: Candidates
) -> None:
    """The first is in the middle of its order; the second asks meanwhile."""
    eth = candidates.b["ETH-USD"]
    second: list[BaseException | None] = []

    def ask(line: str) -> None:
        if "answers as recorded" in line and not second:
            second.append(None)
            with pytest.raises(BusyError) as refused:
                desk.target(lock_seconds=0.0).order(desk.releases({"ETH-USD": eth}))
            second[0] = refused.value

    told = desk.release(candidates.b[BTC], ssh=lambda section: Meddling(section, heard=ask))
    assert "another deployment is at work on this host" in str(second[0])
    assert told.deployment.outcome == "deployed"
    assert desk.release(eth, symbol="ETH-USD").deployment.outcome == "deployed"
    host.speaks_with(candidates.champions(BTC=candidates.b[BTC], ETH=eth))


def test_two_deployers_at_once_deploy_one_after_the_other(
    host: TradingHost, desk: Desk, candidates: Candidates
) -> None:
    told: dict[str, str] = {}

    def release(symbol: str) -> None:
        told[symbol] = desk.release(candidates.b[symbol], symbol=symbol).deployment.outcome

    deployers = [threading.Thread(target=release, args=(symbol,)) for symbol in (BTC, "ETH-USD")]
    for deployer in deployers:
        deployer.start()
    for deployer in deployers:
        deployer.join()
    assert told == {BTC: "deployed", "ETH-USD": "deployed"}
    host.speaks_with(candidates.champions(BTC=candidates.b[BTC], ETH=candidates.b["ETH-USD"]))


def test_return_on_the_host_takes_less_than_a_second_besides_the_restart(
    host: TradingHost, desk: Desk, candidates: Candidates
) -> None:
    desk.target().order(desk.releases(candidates.b))
    began = time.monotonic()
    desk.target().put_back(BTC, candidates.a[BTC].name)
    took = time.monotonic() - began
    outcome = host.outcomes()[-1]
    ours = outcome.seconds["verify"] + outcome.seconds["switch"]
    print(
        f"a return: {ours:.3f} s besides the service's restart (the issue: 1 s), {took:.1f} s for who asks: {outcome}"
    )
    assert ours < 1.0
    host.speaks_with({symbol: bundle.name for symbol, bundle in candidates.b.items()} | {BTC: candidates.a[BTC].name})
