"""Champions put to use without a training: who is asked for, what the host came to, and what is kept and told of it."""

import re
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from models_lib.bundle import add_run_facts
from models_lib.config import RunConfig, load_config
from models_lib.deployment.journal import Journal, Switch
from models_lib.deployment.record import deployment_records
from models_lib.errors import BundleError, ConfigError, TransientError
from models_lib.holds import held, place_hold
from models_lib.registry import open_registry
from models_lib.runtime.configuration import read_runtime_config
from models_lib.steps.champions import ChampionDeployed, change_shadow, deploy_champions, deployment_notices
from tasks.adapters.sources import open_source
from tests.bundles import edit_json, example_facts, reseal, walk_candles
from tests.hosts import TestHost, at_host, in_folder, no_ssh
from tests.judged import CANDIDATES, at, judged, unjudged
from tests.unit.deployment.links import InProcessLink, NoLink

BTC, ETH = "BTC-USD", "ETH-USD"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def host(tmp_path: Path) -> TestHost:
    return TestHost(tmp_path / "host")


def crowned(home: Path, *names: str) -> list[str]:
    """These candidates promoted, one after the other; their hashes."""
    registry = open_registry(home)
    made = []
    for name in names:
        symbol = CANDIDATES[name][0]
        before = registry.champion(symbol)
        reigns = before.bundle if before else None
        folder = home.parent / name
        made.append(judged(name, folder, champion=reigns))
        registry.store.put(folder)
        registry.promote(symbol, made[-1], expected_champion=reigns, who="test", why="test", now=at(2))
    return made


def deploy(
    home: Path,
    host: TestHost,
    symbols: Sequence[str] | None = None,
    *settings: str,
    target: str | None = None,
    link: type[InProcessLink | NoLink] = InProcessLink,
) -> tuple[ChampionDeployed, ...]:
    config = load_config(None, [*at_host(host), *settings])
    return deploy_champions(
        home,
        config,
        symbols,
        registry=open_registry(home),
        target=target,
        who="me@here",
        open_source=partial(open_source, home=home),
        ssh=lambda section: link(),
        say=host.said.append,
    )


def told(deployed: Sequence[ChampionDeployed]) -> list[tuple[str, str]]:
    return [(each.symbol, each.outcome) for each in deployed]


def test_every_champion_is_deployed_with_one_restart(home: Path, host: TestHost) -> None:
    a, e = crowned(home, "A", "E")
    deployed = deploy(home, host)
    assert [each.to_json() for each in deployed] == [
        {"symbol": BTC, "target": "host", "bundle": a, "outcome": "deployed", "reason": ""},
        {"symbol": ETH, "target": "host", "bundle": e, "outcome": "deployed", "reason": ""},
    ]
    assert [each.line() for each in deployed] == [f"{BTC}  deployed  {a[:12]}", f"{ETH}  deployed  {e[:12]}"]
    assert host.restarts() == [{BTC: a, ETH: e}]
    assert [(one.symbol, one.outcome, one.target, one.who, one.run_id) for one in deployment_records(home)] == [
        (BTC, "deployed", "host", "me@here", None),
        (ETH, "deployed", "host", "me@here", None),
    ]
    assert f"{BTC}: deployed" in host.said


def test_named_symbols_alone_are_deployed_each_once(home: Path, host: TestHost) -> None:
    crowned(home, "A", "E")
    assert told(deploy(home, host, [ETH, ETH])) == [(ETH, "deployed")]
    assert host.current(BTC) is None


def test_symbol_whose_only_promotion_was_undone_keeps_no_other_from_going(home: Path, host: TestHost) -> None:
    a, _ = crowned(home, "A", "E")
    open_registry(home).undo_promotion(BTC, a, who="test", why="test", now=at(3))
    assert told(deploy(home, host)) == [(ETH, "deployed")]
    with pytest.raises(ConfigError, match=r"BTC-USD: there is no champion to deploy\. `crpbot run` makes one"):
        deploy(home, host, [BTC])


def test_refused_symbol_keeps_its_release_and_the_other_is_deployed(home: Path, host: TestHost) -> None:
    a, e, b = crowned(home, "A", "E", "B")
    place_hold(host.folder, BTC, placed_by="crpbot", reason="it broke a limit", now=at(3))
    deployed = deploy(home, host)
    assert told(deployed) == [(BTC, "failed"), (ETH, "deployed")]
    assert deployed[0].bundle == b != a
    assert deployed[0].line().startswith(f"{BTC}  failed  {BTC}: target host refuses it and still runs no release: on ")
    assert (host.current(BTC), host.current(ETH)) == (None, e)
    hold = held(home, BTC)
    assert hold is not None, "what the host holds is on hold at home, too"
    assert "it broke a limit" in hold.reason
    assert [one.outcome for one in deployment_records(home)] == ["failed", "deployed"]


@pytest.mark.parametrize(
    ("always", "of_the_new_one", "outcome", "on_hold"),
    [
        ({}, {"ready": False}, "rolled_back", False),
        ({}, {"figures": {"refusals": {"error": 1}}}, "rolled_back", True),
        ({"fails": True}, {"fails": True}, "unhealthy", False),
    ],
)
def test_release_that_does_not_stay_has_its_word(
    home: Path, host: TestHost, always: dict[str, Any], of_the_new_one: dict[str, Any], outcome: str, on_hold: bool
) -> None:
    (a,) = crowned(home, "A")
    deploy(home, host)
    (b,) = crowned(home, "B")
    host.runtime_says(always, **{b: of_the_new_one})
    (deployed,) = deploy(home, host)
    assert (deployed.outcome, deployed.bundle) == (outcome, b)
    assert host.current(BTC) == a
    assert deployment_records(home)[-1].outcome == outcome
    assert (held(home, BTC) is not None) == on_hold


@pytest.mark.parametrize(
    ("symbols", "settings", "target", "told"),
    [
        (["DOGE-USD"], (), None, "'DOGE-USD' is not a known symbol; known are BTC-USD"),
        ([BTC, "SOL-USD"], (), None, "SOL-USD: there is no champion to deploy. `crpbot run` makes one."),
        (None, (), "tokyo", "'tokyo' is no configured target; configured are host, local."),
        (None, ("deployment.target=null",), None, "no target: name one, or set deployment.target"),
    ],
)
def test_what_cannot_be_meant_moves_nothing(
    home: Path, host: TestHost, symbols: list[str] | None, settings: tuple[str, ...], target: str | None, told: str
) -> None:
    crowned(home, "A")
    with pytest.raises(ConfigError) as refused:
        deploy(home, host, symbols, *settings, target=target)
    assert told in str(refused.value)
    assert (host.restarts(), deployment_records(home)) == ([], ())


def test_home_without_champions_says_how_to_get_them(home: Path, host: TestHost) -> None:
    with pytest.raises(ConfigError, match=r"no symbol has a champion to deploy that is not on hold\."):
        deploy(home, host)


def test_symbol_on_hold_is_not_deployed(home: Path, host: TestHost) -> None:
    crowned(home, "A")
    place_hold(home, BTC, placed_by="me@here", reason="odd prices", now=at(3))
    with pytest.raises(ConfigError, match=r"odd prices\. `crpbot release-hold BTC-USD` ends it"):
        deploy(home, host, [BTC])
    assert (host.restarts(), deployment_records(home)) == ([], ())


def test_host_that_is_away_is_told_and_kept(home: Path, host: TestHost) -> None:
    crowned(home, "A", "E")
    with pytest.raises(TransientError, match="does not answer"):
        deploy(home, host, link=NoLink)
    records = deployment_records(home)
    assert [(one.symbol, one.outcome) for one in records] == [(BTC, "failed"), (ETH, "failed")]
    assert "does not answer" in records[0].reason


# what a killed run left


def left_by_a_killed_run(home: Path, host: TestHost, new: str, old: str) -> None:
    deployment = load_config(None, at_host(host)).deployment
    Journal(home, BTC).write(
        Switch(
            symbol=BTC,
            run_id="night-1",
            who="night@here",
            started_at=at(2),
            bundle=new,
            champion_before=old,
            release_before=old,
            deployment=deployment,
        )
    )


def test_what_a_killed_run_left_is_settled_first(home: Path, host: TestHost) -> None:
    """It had promoted B and not deployed it: A is champion again, and A is what is deployed."""
    (a,) = crowned(home, "A")
    deploy(home, host)
    (b,) = crowned(home, "B")
    left_by_a_killed_run(home, host, b, a)
    (deployed,) = deploy(home, host)
    assert (deployed.bundle, deployed.outcome) == (a, "deployed")
    champion = open_registry(home).champion(BTC)
    assert champion is not None
    assert (champion.bundle, host.current(BTC)) == (a, a)
    assert Journal(home, BTC).read() is None


# one that cannot be deployed


def damaged_journal(home: Path, bundle: str) -> None:
    (home / "journal").mkdir(exist_ok=True)
    (home / "journal" / f"{BTC}.json").write_text("{")


def damaged_pointer(home: Path, bundle: str) -> None:
    (home / "promoted" / f"{BTC}.json").write_text("{")


def no_bundle(home: Path, bundle: str) -> None:
    shutil.rmtree(home / "store" / "bundles" / bundle)


def no_verdict(home: Path, bundle: str) -> None:
    shutil.rmtree(home / "store" / "verdicts" / bundle)


def damaged_bundle(home: Path, bundle: str) -> None:
    (home / "store" / "bundles" / bundle / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damaged_journal, "the journal of an unfinished switch cannot be read"),
        (damaged_pointer, "the pointer of BTC-USD is damaged"),
        (no_bundle, "is not in the store"),
        (no_verdict, "has no verdict that allows it"),
        (damaged_bundle, "manifest.json missing"),
    ],
)
@pytest.mark.parametrize("named", [None, [BTC, ETH]])
def test_champion_that_cannot_be_deployed_keeps_no_other_from_going(
    home: Path, host: TestHost, damage: Callable[[Path, str], None], reason: str, named: list[str] | None
) -> None:
    a, e = crowned(home, "A", "E")
    damage(home, a)
    btc, eth = deploy(home, host, named)
    assert told([btc, eth]) == [(BTC, "failed"), (ETH, "deployed")]
    assert reason in btc.reason
    assert btc.bundle in (a, "")
    assert host.restarts() == [{ETH: e}]
    assert [(one.symbol, one.outcome) for one in deployment_records(home)] == [(BTC, "failed"), (ETH, "deployed")]
    (notice, _) = deployment_notices([btc, eth], run_id="deploy-1", now=at(4))
    assert (notice.event, notice.symbol, notice.reason) == ("failed", BTC, btc.reason)


def test_bad_candles_of_one_symbol_keep_no_other_from_going(home: Path, host: TestHost, tmp_path: Path) -> None:
    """A target on this machine without a source of its own gets the newest candles of the configured one."""
    crowned(home, "A", "E")
    walk_candles(2_000).to_parquet(tmp_path / f"{ETH}.parquet")
    (tmp_path / f"{BTC}.parquet").write_bytes(b"")
    settings = (*at_host(host, "local"), "data.source=parquet", f"data.path={tmp_path}", "data.max_age_days=3650")
    btc, eth = deploy(home, host, None, *settings)
    assert told([btc, eth]) == [(BTC, "failed"), (ETH, "deployed")]
    assert "the file is empty" in btc.reason


def test_host_is_left_alone_when_nothing_can_be_deployed(home: Path, host: TestHost) -> None:
    (a,) = crowned(home, "A")
    damaged_journal(home, a)
    assert told(deploy(home, host, link=NoLink)) == [(BTC, "failed")]
    assert host.restarts() == []


# candles of the runtime on this machine


def deploy_here(home: Path, host: TestHost, config: RunConfig) -> tuple[ChampionDeployed, ...]:
    """Every champion, to the local target of `config`."""
    return deploy_champions(
        home,
        config,
        None,
        registry=open_registry(home),
        target=None,
        who="me@here",
        open_source=partial(open_source, home=home),
        ssh=no_ssh,
        say=host.said.append,
    )


@pytest.mark.parametrize(
    ("made_of", "settings", "told"),
    [
        (
            None,
            (),
            "trained on a real market, and the configuration has candles of the simulated market default for it",
        ),
        (
            "planted",
            (),
            "of the simulated market default for it. Nothing was deployed. Give the `data` section of its run, ",
        ),
        (
            "default",
            ("data.source=parquet", "data.path=."),
            "as in --set data.source=simulated --set data.market=default;",
        ),
    ],
)
def test_champion_gets_no_candles_of_another_market(
    home: Path, host: TestHost, made_of: str | None, settings: tuple[str, ...], told: str
) -> None:
    crowned_of(home, made_of)
    config = load_config(None, [*at_host(host, "local"), *settings])
    with pytest.raises(ConfigError, match=re.escape(told)):
        deploy_here(home, host, config)
    assert (host.restarts(), deployment_records(home)) == ([], ())
    assert not [name for name in ("candles", "runtime.yaml") if (host.folder / name).exists()]


def test_champion_gets_candles_of_its_own_market_and_the_trainers_signals(home: Path, host: TestHost) -> None:
    crowned_of(home, "default")
    config = load_config(None, [*at_host(host, "local"), "signals.account_balance=500"])
    deployed = deploy_here(home, host, config)
    assert told(deployed) == [(BTC, "deployed")]
    assert (host.folder / "candles" / f"{BTC}.safetensors").exists()
    assert read_runtime_config(host.folder).signals == config.signals


def test_host_with_candles_of_its_own_asks_for_none(home: Path, host: TestHost) -> None:
    crowned(home, "A")
    (host.folder / "runtime.yaml").write_text("")
    config = load_config(None, at_host(host, "local"))
    deployed = deploy_here(home, host, config)
    assert told(deployed) == [(BTC, "deployed")]


def crowned_of(home: Path, market: str | None) -> None:
    """A champion that was trained on that simulated market; None: on real candles."""
    folder = home.parent / "candidate"
    unjudged("A", folder)
    edit_json(folder / "manifest.json", lambda tree: tree.update(simulated_market=market))
    bundle = reseal(folder)
    add_run_facts(folder, facts=example_facts(bundle), reports={})
    registry = open_registry(home)
    registry.store.put(folder)
    registry.promote(BTC, bundle, expected_champion=None, who="test", why="test", now=at(2))


# shadows


def shadow(home: Path, host: TestHost, symbol: str, bundle: Path | None, *settings: str) -> str:
    config = load_config(None, [*at_host(host), *settings])
    return change_shadow(
        home,
        config,
        symbol,
        bundle,
        registry=partial(open_registry, home),
        target=None,
        who="me@here",
        ssh=lambda section: InProcessLink(),
    )


def test_bundle_of_any_folder_predicts_in_the_shadow(home: Path, host: TestHost, tmp_path: Path) -> None:
    """Also one that is not named by its hash, and that nobody promoted."""
    bundle = judged("B", tmp_path / "candidate")
    assert shadow(home, host, BTC, tmp_path / "candidate") == f"{BTC}: shadow {bundle[:12]}"
    assert (host.folder / "shadow" / BTC).resolve().name == bundle
    assert (host.restarts(), deployment_records(home)) == ([], ())
    assert shadow(home, host, BTC, None) == f"{BTC}: shadow none"
    assert not (host.folder / "shadow" / BTC).exists()


def test_shadow_that_cannot_be_meant_is_refused(home: Path, host: TestHost, tmp_path: Path) -> None:
    judged("E", tmp_path / "eth")
    with pytest.raises((BundleError, ConfigError), match="ETH-USD"):
        shadow(home, host, BTC, tmp_path / "eth")
    with pytest.raises(ConfigError, match="'DOGE-USD' is not a known symbol"):
        shadow(home, host, "DOGE-USD", None)
    with pytest.raises(ConfigError, match="target folder has no runtime of its own"):
        shadow(home, host, BTC, None, *in_folder(tmp_path / "place"))
    assert not (host.folder / "shadow").exists()


# notices


@pytest.mark.parametrize(
    ("outcome", "event", "reason"),
    [
        ("deployed", "deployed", "tokyo runs release " + "a" * 64),
        ("rolled_back", "rolled_back", "why"),
        ("unhealthy", "failed", "LOOK AT tokyo NOW: why"),
        ("failed", "failed", "why"),
    ],
)
def test_each_symbol_is_told(outcome: str, event: str, reason: str) -> None:
    each = ChampionDeployed(BTC, "tokyo", "a" * 64, outcome, "" if outcome == "deployed" else "why")
    (notice,) = deployment_notices([each], run_id="deploy-1", now=at(4))
    assert (notice.event, notice.symbol, notice.stage, notice.reason) == (event, BTC, "deploy", reason)
    assert (notice.run_id, notice.time) == ("deploy-1", at(4))
