"""Promotion and deployment as one transaction: both, or neither.

`both_or_neither` writes the journal, lets its body promote and deploy, and clears the journal. When the body raises, what
it changed is put back: first the release, then the champion. A kill -9 leaves the journal, and `settle` does the same at
the next start. One piece of code undoes in both cases, and it needs no server, which is why this is not Prefect's
`transaction`: its rollback hooks do not run after a kill.

After a kill without a deployment target the promotion stands if its line in the ledger is written: then it was all there
was to do.

What does not belong here: the gates, and how a place takes a release (models_lib.deployment).
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pandas as pd

from models_lib.deployment.journal import Journal, Switch, symbols_under_way
from models_lib.deployment.known import remember_target
from models_lib.deployment.local_runtime import bring_candles, bring_signals_section
from models_lib.deployment.record import record_deployment, recorded
from models_lib.deployment.release import Release
from models_lib.deployment.target import DeploymentTarget, SshOpener, open_target
from models_lib.errors import BundleError, CrpbotError, DeployError, RecordError, TransientError, UnhealthyError
from models_lib.registry import Registry, RegistryOpener
from models_lib.steps.outcome import Deployment
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import StoredRef

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settled:
    """What was done about a switch that a killed process left.

    Attributes:
        symbol: whose.
        run_id: of the killed run.
        what: finished: both were done, only the journal was left; undone: put back; nothing: it had not begun;
            unsettled: it could not be put right now, and the symbol is not promoted until it can.
        sentence: for people.
    """

    symbol: str
    run_id: str
    what: Literal["finished", "undone", "nothing", "unsettled"]
    sentence: str


@contextlib.contextmanager
def both_or_neither(
    plan: RunPlan, symbol: str, stored: StoredRef, *, registry: Registry, ssh: SshOpener
) -> Iterator[None]:
    """The body promotes and deploys `stored`; whatever it raises leaves champion and release as they were.

    Raises:
        DeployError: an earlier switch of this symbol cannot be settled; the body is not entered.
        RecordError: the journal is damaged; the same.
    """
    journal = Journal(plan.home, symbol)
    with journal.held(wait=True):
        settle_symbol(plan.home, symbol, registry=registry, who=plan.who, ssh=ssh)
        switch = _planned(plan, symbol, stored, registry=registry, ssh=ssh)
        journal.write(switch)
        try:
            yield
        except BaseException as error:
            _undo_after(error, plan, switch, registry=registry, ssh=ssh)
            journal.clear()
            raise
        journal.clear()


def deploy(
    plan: RunPlan,
    symbol: str,
    stored: StoredRef,
    *,
    registry: Registry,
    candles: Callable[[], pd.DataFrame],
    ssh: SshOpener,
) -> Deployment:
    """Puts the stored bundle to use at the configured target; without one: not_configured.

    Args:
        plan: the run.
        symbol: whose.
        stored: the judged bundle.
        registry: where it is kept.
        candles: the run's candles, for a runtime on this machine that nobody set up.
        ssh: opens the way to a host behind SSH.

    Raises:
        DeployError: the target refused; its release is the one before. A symbol that it put on hold is on hold here, too.
        TransientError: it does not answer now.
    """
    target = target_of(plan, ssh=ssh)
    if target is None:
        _log.info("no deployment target configured, nothing deployed", extra={"symbol": symbol})
        return Deployment(target=None, outcome="not_configured", release=None)
    remember_target(plan.home, plan.config.deployment)
    bring_candles(target, symbol, candles, simulated_market=plan.config.data.simulated_market)
    bring_signals_section(target, plan.config.signals)
    with recorded(plan.home, symbol, stored.bundle, target=target.name, who=plan.who, run_id=plan.run_id):
        release = target.deploy(release_of(registry, symbol, stored.bundle))
    return Deployment(target=target.name, outcome="deployed", release=release)


def target_of(plan: RunPlan, *, ssh: SshOpener) -> DeploymentTarget | None:
    """The target of the run."""
    section = plan.config.deployment
    return open_target(section, section.target, home=plan.home, ssh=ssh, who=plan.who)


def settle_symbol(home: Path, symbol: str, *, registry: Registry, who: str, ssh: SshOpener) -> None:
    """Puts right what a killed process left of this symbol, whose journal's lock the caller holds.

    Raises:
        DeployError: it cannot be settled now.
        RecordError: the journal is damaged.
    """
    left = _settle(home, Journal(home, symbol), registry=lambda: registry, who=who, ssh=ssh)
    if left is None:
        return
    _log.warning("%s", left.sentence, extra={"symbol": symbol})
    if left.what == "unsettled":
        raise DeployError(left.sentence)


def settle(home: Path, *, registry: RegistryOpener, who: str, ssh: SshOpener) -> tuple[Settled, ...]:
    """Puts right what killed processes left; switches that are under way now are left alone.

    Args:
        home: the state folder.
        registry: opened where something was left.
        who: for the ledger.
        ssh: opens the way to a host behind SSH.
    """
    settled = []
    for symbol in symbols_under_way(home):
        journal = Journal(home, symbol)
        with journal.held(wait=False) as free:
            done = _settle_if_readable(home, journal, symbol, registry=registry, who=who, ssh=ssh) if free else None
        if done is not None:
            _log.warning("%s", done.sentence, extra={"symbol": symbol})
            settled.append(done)
    return tuple(settled)


def _settle_if_readable(
    home: Path, journal: Journal, symbol: str, *, registry: RegistryOpener, who: str, ssh: SshOpener
) -> Settled | None:
    """As `_settle`. A damaged journal holds up its own symbol (`both_or_neither` refuses it), not the others."""
    try:
        return _settle(home, journal, registry=registry, who=who, ssh=ssh)
    except RecordError as error:
        return Settled(symbol, f"journal-{symbol}-{datetime.now(UTC):%Y-%m-%d}", "unsettled", str(error))


def _planned(plan: RunPlan, symbol: str, stored: StoredRef, *, registry: Registry, ssh: SshOpener) -> Switch:
    """As `_switch`; a target that does not tell what it runs is an attempt to deploy that failed, and is recorded."""
    try:
        return _switch(plan, symbol, stored, registry=registry, ssh=ssh)
    except (DeployError, TransientError) as error:
        target = plan.config.deployment.target
        assert target is not None, "nobody else is asked"
        record_deployment(
            plan.home, symbol, stored.bundle, target=target, who=plan.who, run_id=plan.run_id, error=error
        )
        raise


def _switch(plan: RunPlan, symbol: str, stored: StoredRef, *, registry: Registry, ssh: SshOpener) -> Switch:
    champion, target = registry.champion(symbol), target_of(plan, ssh=ssh)
    return Switch(
        symbol=symbol,
        run_id=plan.run_id,
        who=plan.who,
        started_at=datetime.now(UTC),
        bundle=stored.bundle,
        champion_before=champion.bundle if champion else None,
        release_before=target.current(symbol) if target else None,
        deployment=plan.config.deployment,
    )


def _target_of(home: Path, switch: Switch, *, who: str, ssh: SshOpener) -> DeploymentTarget | None:
    return open_target(switch.deployment, switch.deployment.target, home=home, ssh=ssh, who=who)


def _settle(home: Path, journal: Journal, *, registry: RegistryOpener, who: str, ssh: SshOpener) -> Settled | None:
    """Settles the journal's entry, whose lock is held; None when there is none."""
    switch = journal.read()
    if switch is None:
        return None
    subject = f"{switch.symbol}: run {switch.run_id} was killed while it promoted {switch.bundle[:12]}"
    try:
        what, sentence = _put_right(home, switch, registry(), who=who, ssh=ssh)
    except CrpbotError as error:
        fact = f"{subject}, and this cannot be put right now: {error}"
        return Settled(switch.symbol, switch.run_id, "unsettled", fact)
    journal.clear()
    return Settled(switch.symbol, switch.run_id, what, f"{subject}; {sentence}")


def _put_right(
    home: Path, switch: Switch, registry: Registry, *, who: str, ssh: SshOpener
) -> tuple[Literal["finished", "undone", "nothing"], str]:
    champion, target = registry.champion(switch.symbol), _target_of(home, switch, who=who, ssh=ssh)
    promoted = champion is not None and champion.bundle == switch.bundle
    deployed = target is None or target.current(switch.symbol) == switch.bundle
    if promoted and deployed:
        return "finished", "everything had been done, only the journal was left"
    why = f"run {switch.run_id} was killed before its deployment was done"
    if _undo(registry, switch, target, who=who, why=why):
        return "undone", "the release and the champion of before were put back"
    return "nothing", "nothing had been changed yet"


def _undo_after(error: BaseException, plan: RunPlan, switch: Switch, *, registry: Registry, ssh: SshOpener) -> None:
    """Puts back what the body changed before it raised `error`.

    Raises:
        DeployError: it cannot be put back; the journal stays, and the next start tries again. UnhealthyError: and the
            target does not answer for what it runs.
    """
    try:
        target = target_of(plan, ssh=ssh)
        _undo(registry, switch, target, who=plan.who, why=f"run {plan.run_id}: {error or type(error).__name__}")
    except CrpbotError as second:
        kind = UnhealthyError if UnhealthyError in {type(error), type(second)} else DeployError
        raise kind(
            f"{switch.symbol}: {error} And what had been changed could not be put back: {second} Registry and target may "
            f"differ now; the next run tries to put it right before it promotes anything."
        ) from error


def _undo(registry: Registry, switch: Switch, target: DeploymentTarget | None, *, who: str, why: str) -> bool:
    """Puts back the release, then the champion, as far as the switch changed them; whether there was anything.

    Raises:
        CrpbotError: one of them cannot be put back.
    """
    changed = False
    if target and switch.bundle != switch.release_before and target.current(switch.symbol) == switch.bundle:
        target.put_back(switch.symbol, switch.release_before)
        changed = True
    champion = registry.champion(switch.symbol)
    if champion and champion.bundle == switch.bundle != switch.champion_before:
        registry.undo_promotion(switch.symbol, switch.bundle, who=who, why=why, now=datetime.now(UTC))
        changed = True
    return changed


def release_of(registry: Registry, symbol: str, bundle_hash: str) -> Release:
    """The stored bundle as a release.

    Raises:
        BundleError: it is not in the store, or no verdict allows it.
    """
    good = [facts.judged_at for facts in registry.store.verdicts(bundle_hash) if not facts.failed_blocking()]
    if not good:
        raise BundleError(
            f"{symbol}: bundle {bundle_hash[:12]} has no verdict that allows it, so it is not deployed. Train again."
        )
    return Release(symbol, registry.store.bundle(bundle_hash), max(good))
