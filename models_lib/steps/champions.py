"""Deploying champions without a training: what `crpbot deploy` and the flow `deploy` do.

Champion and release are changed by one process at a time a symbol: each symbol's journal lock is held meanwhile, and what
a killed run left is settled first (models_lib.steps.release).

What does not belong here: how a place takes releases (models_lib.deployment).
"""

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from models_lib.bundle import load_bundle, verify_hashes
from models_lib.bundle.layout import MANIFEST_FILE
from models_lib.bundle.manifest import parse_manifest
from models_lib.config import DeploymentSection, RunConfig
from models_lib.deployment.host import HostTarget
from models_lib.deployment.journal import Journal
from models_lib.deployment.known import remember_target
from models_lib.deployment.local_runtime import bring_candles, bring_signals_section, market_words
from models_lib.deployment.record import outcome_of, record_deployment
from models_lib.deployment.release import Release
from models_lib.deployment.target import DeploymentTarget, SshOpener, open_target
from models_lib.errors import BundleError, ConfigError, CrpbotError, DataError, DeployError, RecordError
from models_lib.holds import held
from models_lib.notifications.message import Notice
from models_lib.registry import Registry, RegistryOpener
from models_lib.registry.commands import check_known, known_symbols
from models_lib.steps.release import release_of, settle_symbol

if TYPE_CHECKING:
    from models_lib.candles.sources import SourceOpener

_STAGE = "deploy"
_OF_ONE_SYMBOL = (BundleError, DataError, DeployError, RecordError)
"""What keeps one champion from being deployed, before the target is asked: its bundle, candles, journal, record."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChampionDeployed:
    """What the deployment of one symbol's champion came to.

    Attributes:
        symbol: whose.
        target: where.
        bundle: the champion's hash; empty where nobody can tell.
        outcome: deployed, rolled_back, unhealthy or failed.
        reason: why it is not deployed; empty when it is.
    """

    symbol: str
    target: str
    bundle: str
    outcome: str
    reason: str

    def line(self) -> str:
        """For people."""
        return f"{self.symbol}  {self.outcome.replace('_', ' ')}  {self.reason or self.bundle[:12]}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def deploy_champions(
    home: Path,
    config: RunConfig,
    symbols: Sequence[str] | None,
    *,
    registry: Registry,
    target: str | None,
    who: str,
    ssh: SshOpener,
    open_source: "SourceOpener",
    say: Callable[[str], None],
) -> tuple[ChampionDeployed, ...]:
    """Deploys the champions of these symbols with one restart; what each came to.

    A champion that cannot be deployed, because its bundle, its record or its candles are damaged or an earlier switch of it
    cannot be settled, is `failed` and keeps no other from going.

    Args:
        home: the state folder.
        config: whose `deployment` section names the target; a runtime on this machine that nobody set up gets its
            `signals` section, and the newest candles of its `data` section.
        symbols: known ones; None: every one that has a champion and is not on hold.
        registry: whose champions.
        target: name of the target; None: the configured one.
        who: user@host.
        ssh: opens the way to a host behind SSH.
        open_source: opens the candles to be brought.
        say: takes progress.

    Raises:
        ConfigError: a named symbol is unknown, has no champion, or is on hold; no symbol has a champion to deploy; no such
            target, or none is configured; the candles to be brought are not of the market that a champion is of.
        TransientError: the target does not answer now. Nothing was moved; or, where the message says so, it does not tell
            what became of the deployment.
        DeployError: the target takes none of them, for a reason that is not one symbol's.
    """
    deployment = _chosen(config, target)
    place = _place(deployment, home=home, ssh=ssh, who=who, say=say)
    symbols = _deployable(home, config, symbols, registry)
    with contextlib.ExitStack() as turns:
        for symbol in sorted(symbols):
            turns.enter_context(Journal(home, symbol).held(wait=True))
        releases, answers = _made_ready(
            home, place, symbols, config, registry=registry, who=who, ssh=ssh, open_source=open_source
        )
        bundles = _reigning(registry, symbols)
        keep = partial(record_deployment, home, target=place.name, who=who, run_id=None)
        for symbol, error in answers.items():
            keep(symbol, bundles[symbol], error=error)
        if releases:
            remember_target(home, deployment)
            bring_signals_section(place, config.signals)
            answers |= _asked(place, releases, keep)
    return tuple(
        ChampionDeployed(
            symbol=symbol,
            target=place.name,
            bundle=bundles[symbol],
            outcome=outcome_of(answers[symbol]),
            reason=str(answers[symbol] or ""),
        )
        for symbol in symbols
    )


def change_shadow(
    home: Path,
    config: RunConfig,
    symbol: str,
    bundle: Path | None,
    *,
    registry: RegistryOpener,
    target: str | None,
    who: str,
    ssh: SshOpener,
) -> str:
    """Has a bundle predict beside the symbol's release without speaking; None ends that. The host's sentence.

    Raises:
        ConfigError: an unknown symbol, no such target, or one without a runtime of its own.
        BundleError: the bundle is not sound, or is of another symbol.
        DeployError, TransientError: the host refuses it, or does not answer.
    """
    check_known(home, symbol, config.symbols, registry=registry)
    deployment = _chosen(config, target)
    place = _place(deployment, home=home, ssh=ssh, who=who, say=_log.info)
    if not isinstance(place, HostTarget):
        raise ConfigError(f"target {place.name} has no runtime of its own, so nothing there can predict in the shadow.")
    if bundle is None:
        return place.shadow(symbol, None)
    with tempfile.TemporaryDirectory(prefix="crpbot-shadow-") as scratch:
        named = Path(scratch) / load_bundle(bundle, symbol=symbol).hash
        shutil.copytree(bundle, named)
        return place.shadow(symbol, named)


def _chosen(config: RunConfig, target: str | None) -> DeploymentSection:
    """The configured section, with the target that was named in the place of the configured one."""
    return config.deployment.model_copy(update={"target": target or config.deployment.target})


def _place(
    deployment: DeploymentSection, *, home: Path, ssh: SshOpener, who: str, say: Callable[[str], None]
) -> DeploymentTarget:
    place = open_target(deployment, deployment.target, home=home, ssh=ssh, who=who, say=say)
    if place is None:
        raise ConfigError("no target: name one, or set deployment.target in the configuration.")
    return place


def deployment_notices(deployed: Sequence[ChampionDeployed], *, run_id: str, now: datetime) -> list[Notice]:
    """One a symbol."""
    return [
        Notice(
            event={"deployed": "deployed", "rolled_back": "rolled_back"}.get(each.outcome, "failed"),
            run_id=run_id,
            symbol=each.symbol,
            stage=_STAGE,
            reason=_told(each),
            time=now,
        )
        for each in deployed
    ]


def failure_notice(error: CrpbotError, *, run_id: str, now: datetime) -> Notice:
    """Of a deployment that came to nothing for any symbol, or of which the target does not tell what it came to."""
    return Notice(event="failed", run_id=run_id, stage=_STAGE, reason=str(error), time=now)


def _told(each: ChampionDeployed) -> str:
    match each.outcome:
        case "deployed":
            return f"{each.target} runs release {each.bundle}"
        case "unhealthy":
            return f"LOOK AT {each.target} NOW: {each.reason}"
        case _:
            return each.reason


def _made_ready(
    home: Path,
    place: DeploymentTarget,
    symbols: Sequence[str],
    config: RunConfig,
    *,
    registry: Registry,
    who: str,
    ssh: SshOpener,
    open_source: "SourceOpener",
) -> tuple[list[Release], dict[str, CrpbotError | None]]:
    """What can be deployed, and why each of the others cannot."""
    releases: list[Release] = []
    unusable: dict[str, CrpbotError | None] = {}
    for symbol in symbols:
        try:
            settle_symbol(home, symbol, registry=registry, who=who, ssh=ssh)
            release = _sound_release(home, symbol, registry)
            newest = partial(_newest_candles, config, release, open_source)
            bring_candles(place, symbol, newest, simulated_market=config.data.simulated_market)
        except _OF_ONE_SYMBOL as error:
            unusable[symbol] = error
        else:
            releases.append(release)
    return releases, unusable


def _asked(
    place: DeploymentTarget, releases: Sequence[Release], keep: Callable[..., None]
) -> Mapping[str, DeployError | None]:
    """What the target came to with each, recorded; also when it took none."""
    try:
        answers = place.deploy_all(releases)
    except CrpbotError as error:
        for release in releases:
            keep(release.symbol, release.bundle.name, error=error)
        raise
    for release in releases:
        keep(release.symbol, release.bundle.name, error=answers[release.symbol])
    return answers


def _sound_release(home: Path, symbol: str, registry: Registry) -> Release:
    release = release_of(registry, symbol, _champion(home, symbol, registry))
    verify_hashes(release.bundle)
    return release


def _champion(home: Path, symbol: str, registry: Registry) -> str:
    """The champion's hash.

    Raises:
        ConfigError: the symbol is on hold, or has no champion.
        RecordError: nobody can tell which one it is.
    """
    hold = held(home, symbol)
    if hold is not None:
        raise ConfigError(f"{symbol}: {hold.sentence()}. `crpbot release-hold {symbol}` ends it.")
    champion = registry.champion(symbol)
    if champion is None or champion.bundle is None:
        raise ConfigError(f"{symbol}: there is no champion to deploy. `crpbot run` makes one.")
    return champion.bundle


def _reigning(registry: Registry, symbols: Sequence[str]) -> dict[str, str]:
    """Symbol -> its champion's hash, empty where nobody can tell."""
    champions = registry.champions().by_symbol
    return {symbol: (champions[symbol].bundle or "") if symbol in champions else "" for symbol in symbols}


def _deployable(home: Path, config: RunConfig, named: Sequence[str] | None, registry: Registry) -> tuple[str, ...]:
    """The named symbols, each once, or all that have a champion and are not on hold.

    Raises:
        ConfigError: a named one is unknown, on hold or without a champion; without names, there is none.
    """
    for symbol in named or ():
        check_known(home, symbol, config.symbols, registry=lambda: registry)
        with contextlib.suppress(RecordError):  # its own affair, which keeps no other symbol from going
            _champion(home, symbol, registry)
    if named:
        return tuple(dict.fromkeys(named))
    champions = registry.champions()
    crowned = champions.by_symbol.keys() | champions.unreadable.keys()
    found = tuple(
        symbol
        for symbol in known_symbols(home, config.symbols, registry=registry)
        if symbol in crowned and held(home, symbol) is None
    )
    if not found:
        raise ConfigError(
            f"{home}: no symbol has a champion to deploy that is not on hold. `crpbot run` makes champions, `crpbot status` "
            f"shows holds."
        )
    return found


def _newest_candles(config: RunConfig, release: Release, open_source: "SourceOpener") -> pd.DataFrame:
    """The candles of the configured source, checked and filled.

    Raises:
        ConfigError: they are of another market than the release: it would be judged by them and speak of them.
    """
    from models_lib.candles.sources import load_candles  # noqa: PLC0415 - only this target needs it

    data = config.data
    made_of = parse_manifest((release.bundle / MANIFEST_FILE).read_bytes()).simulated_market
    if made_of != data.simulated_market:
        raise ConfigError(
            f"{release.symbol}: its champion {release.bundle.name[:12]} was trained on {market_words(made_of)}, and the configuration "
            f"has candles of {market_words(data.simulated_market)} for it. Nothing was deployed. Give the `data` section of its run, "
            f"by --config or as in --set {_as_set(made_of)}; or name the symbols to deploy."
        )
    return load_candles(open_source(config), release.symbol, data, now=datetime.now(UTC))[0]


def _as_set(simulated: str | None) -> str:
    if simulated is None:
        return "data.source=parquet --set data.path=CANDLES"
    return f"data.source=simulated --set data.market={simulated}"
