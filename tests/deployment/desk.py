"""The deployer's side of the tests: a home with a champion for each symbol, and candidates that were judged against them.

`Desk.release` does what `train-symbol` does behind the judgement, and keeps what was told.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors.numpy import load_file

from models_lib.bundle import TorchPredictor, add_run_facts, record_golden, with_temperature, write_bundle
from models_lib.bundle.manifest import parse_manifest
from models_lib.config import DeploymentSection, NoticeEvent, load_config
from models_lib.config.targets import SshTargetSection, WatchSection
from models_lib.deployment.host import HostTarget
from models_lib.deployment.host_link import HostLink
from models_lib.deployment.record import deployment_records
from models_lib.deployment.release import Release
from models_lib.errors import DeployError, TransientError
from models_lib.notifications.message import Notice
from models_lib.notifications.verdicts import notices_of
from models_lib.registry import open_registry
from models_lib.steps.outcome import Deployment, failed_outcome, not_deployed
from models_lib.steps.plan import RunPlan, plan_run
from models_lib.steps.refs import PromotionRef, StoredRef
from models_lib.steps.release import both_or_neither, deploy, release_of
from tasks.adapters.ssh import SshLink
from tests.bundles import T0, example_facts, walk_candles, write_judged
from tests.hosts import no_candles

SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")
BTC = "BTC-USD"
JUDGED_AT = T0 + timedelta(days=4)
WATCH = WatchSection(
    bars=3,
    minutes=0.5,
    class_share_high=1.0,  # untrained networks
    max_bar_age_seconds=1e9,  # the exchange's bars are of another year
)


@dataclass(frozen=True)
class Candidates:
    """What lies in the store of `home`.

    Attributes:
        home: with the champions; each test works on a copy.
        a: symbol -> its champion, in a folder that is named by its hash.
        b: symbol -> a candidate that was judged against it.
        poisoned: BTC-USD's, which is sure of everything, whole and consistent: only its answers tell.
    """

    home: Path
    a: dict[str, Path]
    b: dict[str, Path]
    poisoned: Path

    def champions(self, **changes: Path) -> dict[str, str]:
        """Symbol -> hash; `changes` by the symbol's coin."""
        names = {symbol: bundle.name for symbol, bundle in self.a.items()}
        return names | {f"{coin}-USD": bundle.name for coin, bundle in changes.items()}


def make_candidates(home: Path, scratch: Path) -> Candidates:
    home.mkdir()
    store = open_registry(home).store
    a, b = {}, {}
    for symbol in SYMBOLS:
        first = _kept(
            home, write_judged(scratch / f"{symbol}-a", symbol=symbol, judged_at=JUDGED_AT), scratch / f"{symbol}-a"
        )
        a[symbol] = first
        open_registry(home).promote(
            symbol, first.name, expected_champion=None, who="test", why="the first", now=JUDGED_AT
        )
        folder = scratch / f"{symbol}-b"
        facts = {"symbol": symbol, "champion": first.name, "judged_at": JUDGED_AT}
        b[symbol] = _kept(home, write_judged(folder, seed=2, **facts), folder)
    folder = scratch / "poisoned"
    poisoned = _kept(home, _poison(a[BTC], folder), folder)
    assert store.bundle(poisoned.name) == poisoned
    return Candidates(home, a, b, poisoned)


def _kept(home: Path, bundle: str, folder: Path) -> Path:
    store = open_registry(home).store
    store.put(folder)
    return store.bundle(bundle)


def _poison(champion: Path, folder: Path) -> str:
    tensors = with_temperature(load_file(champion / "model.safetensors"), 0.002)
    manifest = parse_manifest((champion / "manifest.json").read_bytes())
    golden = record_golden(walk_candles(), TorchPredictor(manifest.network, tensors), symbol=manifest.symbol)
    bundle = write_bundle(folder, tensors=tensors, manifest=manifest, golden=golden)
    facts = example_facts(bundle, champion=champion.name, judged_at=JUDGED_AT)
    add_run_facts(folder, facts=facts, reports={"report.html": b"report"})
    return bundle


class Meddling(SshLink):
    """A link on whose way something happens.

    Args:
        section: of the target.
        sent: called with the folder on the host after it was brought.
        heard: called with each line that the host says to an order.
    """

    def __init__(
        self,
        section: SshTargetSection,
        *,
        sent: Callable[[Path], object] = lambda folder: None,
        heard: Callable[[str], object] = lambda line: None,
    ) -> None:
        super().__init__(section)
        self._sent, self._heard = sent, heard

    def send(self, folder: Path, destination: PurePosixPath, *, timeout_seconds: float) -> None:
        super().send(folder, destination, timeout_seconds=timeout_seconds)
        self._sent(Path(destination))

    def run(self, arguments: Any, *, on_line: Callable[[bytes], None] | None = None, **given: Any) -> Any:
        def tell(line: bytes) -> None:
            self._heard(line.decode())
            if on_line is not None:
                on_line(line)

        return super().run(arguments, on_line=tell, **given)


@dataclass(frozen=True)
class Told:
    """What a release came to, and what people are told of it."""

    promotion: PromotionRef
    deployment: Deployment
    notices: list[Notice]

    @property
    def events(self) -> dict[NoticeEvent, str]:
        """Event -> its reason, of the symbol's notices."""
        return {notice.event: notice.reason for notice in self.notices if notice.symbol is not None}


@dataclass(frozen=True)
class Desk:
    """Where releases are made.

    Attributes:
        home: a copy of the candidates'.
        candidates: its bundles.
        section: the target.
    """

    home: Path
    candidates: Candidates
    section: SshTargetSection

    @classmethod
    def over(cls, home: Path, candidates: Candidates, section: SshTargetSection) -> "Desk":
        shutil.copytree(candidates.home, home, symlinks=True)
        return cls(home, candidates, section)

    def deployment(self, *, section: SshTargetSection | None = None, **watch: Any) -> DeploymentSection:
        """What the configuration says; `watch` changes that."""
        lock_seconds = watch.pop("lock_seconds", 60.0)
        return DeploymentSection(
            target="trading",
            targets={"trading": section or self.section},
            watch=WATCH.model_copy(update=watch),
            lock_seconds=lock_seconds,
        )

    def target(self, **changes: Any) -> HostTarget:
        rules = self.deployment(**changes)
        section = rules.targets["trading"]
        assert isinstance(section, SshTargetSection)
        return HostTarget("trading", section, rules, lambda: SshLink(section), "tester@here", lambda said: None)

    def plan(self, symbol: str = BTC, **changes: Any) -> RunPlan:
        config = load_config().model_copy(update={"deployment": self.deployment(**changes)})
        return plan_run(config, home=self.home, symbols=(symbol,), who="tester@here", now=datetime.now(UTC))

    def releases(self, bundles: Mapping[str, Path]) -> list[Release]:
        return [release_of(open_registry(self.home), symbol, bundle.name) for symbol, bundle in bundles.items()]

    def release(
        self, bundle: Path, *, symbol: str = BTC, ssh: Callable[[SshTargetSection], HostLink] = SshLink, **changes: Any
    ) -> Told:
        """Promotes and deploys a candidate as `train-symbol` does: both or neither."""
        plan = self.plan(symbol, **changes)
        stored = StoredRef(bundle=bundle.name, report=self.home / "report.html")
        try:
            with both_or_neither(plan, symbol, stored, registry=open_registry(plan.home), ssh=ssh):
                self._promote(symbol, bundle)
                registry = open_registry(plan.home)
                deployment = deploy(plan, symbol, stored, registry=registry, candles=no_candles, ssh=ssh)
                promotion = PromotionRef(outcome="promoted", reason="every blocking gate passed")
        except (DeployError, TransientError) as error:
            promotion, deployment = not_deployed(plan.config.deployment.target, error)
        changed = {"outcome": promotion.outcome, "reason": promotion.reason, "deployment": deployment}
        outcome = failed_outcome(symbol, "").model_copy(update={**changed, "bundle": bundle.name})
        return Told(promotion, deployment, notices_of(plan, {symbol: outcome}, None, now=datetime.now(UTC)))

    def champion(self, symbol: str = BTC) -> str | None:
        champion = open_registry(self.home).champion(symbol)
        return champion.bundle if champion else None

    def actions(self, symbol: str = BTC) -> list[str]:
        """Of the ledger, which must be sound."""
        history = open_registry(self.home).history()
        assert not history.damage
        return [entry.action for entry in history.entries if entry.symbol == symbol]

    def records(self, symbol: str = BTC) -> list[tuple[str, str]]:
        """Bundle and outcome of each attempt."""
        return [(attempt.bundle, attempt.outcome) for attempt in deployment_records(self.home, symbol)]

    def under_way(self) -> list[str]:
        return [path.name for path in (self.home / "journal").glob("*.json")]

    def nothing_moved(self, tried: str, *, outcome: str = "failed") -> None:
        """The champion stayed, as far as ledger and records know; what was tried is written down, with its reason."""
        assert self.champion() == self.candidates.a[BTC].name
        assert self.actions() == ["promote", "promote", "undo"]
        attempt = deployment_records(self.home, BTC)[-1]
        assert (attempt.bundle, attempt.outcome) == (tried, outcome)
        assert attempt.reason
        assert self.under_way() == []

    def _promote(self, symbol: str, bundle: Path) -> None:
        open_registry(self.home).promote(
            symbol,
            bundle.name,
            expected_champion=self.candidates.a[symbol].name,
            who="tester@here",
            why="the test",
            now=datetime.now(UTC),
        )
