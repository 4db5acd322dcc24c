"""Where each symbol stands: its champion and how long that is still valid, the last verdicts, holds, releases.

Nothing is written and nothing heavy is imported. Each fact is read on its own: a damaged file costs the fact that it
holds, is told in the row of its symbol, and never hides the other symbols.

A champion is valid for `bundle.valid_days` of its manifest, counted from the newest verdict that no blocking gate opposed:
that is when it was last measured to be good. A nightly run that arrives at the same bundle again and judges it well renews
it; a judgement that is taken over because nothing changed, a promotion by hand and a rollback do not.

What does not belong here: printing, and telling anybody (the flows turn warnings into notices).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from models_lib.bundle.layout import MANIFEST_FILE
from models_lib.bundle.parsing import parse_json
from models_lib.deployment.journal import symbols_under_way
from models_lib.deployment.look import Look
from models_lib.deployment.record import DeploymentRecord, deployment_records
from models_lib.deployment.target import DeploymentTarget
from models_lib.errors import BundleError, CrpbotError
from models_lib.holds import Hold, held
from models_lib.registry.registry import Champion, Registry
from models_lib.registry.store import Store
from models_lib.run_history import RunVerdict, SymbolRuns, read_runs
from models_lib.running import running_runs
from models_lib.runtime.health import SymbolHealth
from models_lib.steps.admission import running_retrain

WARN_DAYS = 2.0
"""So long before its end a champion is worth a warning: two nights are left to replace it."""
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class ExpiryWarning:
    """A champion whose days are counted.

    Attributes:
        symbol: whose champion.
        champion: its hash.
        expires_at: when the runtime begins to refuse it; None when that cannot be told.
        days_left: until then, below zero afterwards; None as above.
        nights_held: nights since the last promotion on which a candidate was held.
        gates: gate -> on how many of these nights it said no.
        report: page of the newest run, if it has one.
        problem: why the end cannot be told; empty when it can.
    """

    symbol: str
    champion: str
    expires_at: datetime | None
    days_left: float | None
    nights_held: int
    gates: dict[str, int]
    report: str | None
    problem: str

    def sentence(self) -> str:
        """The warning for a person, with what to look at."""
        subject = f"{self.symbol}: champion {self.champion[:12]}"
        if self.expires_at is None or self.days_left is None:
            return f"{subject}: nobody can tell when it expires: {self.problem}"
        when = f"{self.expires_at.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
        if self.days_left <= 0:
            fact = f"expired {_days(self.days_left)} ago ({when}) and is refused by the runtime"
        else:
            fact = f"expires in {_days(self.days_left)} ({when}); then the runtime refuses it"
        look = f" Look at {self.report}." if self.report else ""
        return f"{subject} {fact}; {self._nights()}.{look}"

    def _nights(self) -> str:
        if not self.nights_held:
            return "no candidate was held since the last promotion: see whether the nightly run works"
        nights = "1 night" if self.nights_held == 1 else f"{self.nights_held} nights"
        by = ", ".join(f"{gate} ({count})" for gate, count in self.gates.items())
        return f"candidates were held on {nights} since the last promotion{f' by {by}' if by else ''}"


@dataclass(frozen=True)
class SymbolStatus:
    """One symbol's row.

    Attributes:
        symbol: its name.
        now: when this was read.
        champion: the champion and since when; None without one.
        expires_at: when the champion expires; None without one, or when nobody can tell.
        runs: its runs since the last promotion.
        hold: its hold, if it is on hold.
        releases: target -> release that it runs; empty where no target is configured.
        attempts: target -> the last deployment of the symbol there, whatever it came to.
        live: target -> live figures beside the test's, or how the runtime stands, where one reports.
        waiting: what it waits for, such as an approval; empty for nothing.
        faults: what could not be read.
    """

    symbol: str
    now: datetime
    champion: Champion | None
    expires_at: datetime | None
    runs: SymbolRuns
    hold: Hold | None
    releases: Mapping[str, str | None]
    attempts: Mapping[str, DeploymentRecord]
    live: Mapping[str, str]
    waiting: str
    faults: tuple[str, ...]

    @property
    def last(self) -> RunVerdict | None:
        """What the newest run came to."""
        return self.runs.last

    @property
    def age_days(self) -> float | None:
        """Days since it is champion."""
        return None if self.champion is None else (self.now - self.champion.since) / _DAY

    @property
    def days_left(self) -> float | None:
        """Days until it expires, below zero afterwards."""
        return None if self.expires_at is None else (self.expires_at - self.now) / _DAY

    def warning(self, *, within_days: float = WARN_DAYS) -> ExpiryWarning | None:
        """What is to be said about the champion's end; None when it is far away, or there is no champion."""
        if self.champion is None or self.champion.bundle is None:
            return None
        if self.days_left is not None and self.days_left > within_days:
            return None
        return ExpiryWarning(
            symbol=self.symbol,
            champion=self.champion.bundle,
            expires_at=self.expires_at,
            days_left=self.days_left,
            nights_held=len(self.runs.held),
            gates=self.runs.gates(),
            report=self.last.report if self.last else None,
            problem="; ".join(self.faults),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        champion, last, warning = self.champion, self.last, self.warning()
        return {
            "champion": champion.bundle if champion else None,
            "previous": champion.previous if champion else None,
            "since": _stamp(champion.since if champion else None),
            "age_days": _rounded(self.age_days),
            "expires_at": _stamp(self.expires_at),
            "days_to_expiry": _rounded(self.days_left),
            "warning": warning.sentence() if warning else None,
            "last_run": None
            if last is None
            else {
                "run_id": last.run_id,
                "at": _stamp(last.at),
                "outcome": last.outcome,
                "reason": last.reason,
                "report": last.report,
            },
            "nights_held": len(self.runs.held),
            "held_by": self.runs.gates(),
            "hold": None if self.hold is None else self.hold.model_dump(mode="json", exclude={"symbol"}),
            "releases": dict(self.releases),
            "attempts": {target: asdict(attempt) for target, attempt in self.attempts.items()},
            "live": dict(self.live),
            "waiting": self.waiting or None,
            "faults": list(self.faults),
        }


@dataclass(frozen=True)
class Status:
    """All that was asked for.

    Attributes:
        symbols: one row each, in the order of the question.
        retrain: name of the scheduled or triggered retrain that is at work; None when none is.
        running: ids of the runs that are at work, whoever started them.
        notices: how many notices some channel has not taken yet.
        undelivered: how many were given up, for a person to read.
        damage: what is wrong with the record of champions as a whole.
    """

    symbols: tuple[SymbolStatus, ...]
    retrain: str | None
    running: tuple[str, ...]
    notices: int
    undelivered: int
    damage: tuple[str, ...]


def read_status(
    home: Path,
    symbols: Sequence[str],
    *,
    registry: Registry,
    now: datetime,
    targets: Sequence[DeploymentTarget] = (),
    waiting: Mapping[str, str] | None = None,
) -> Status:
    """Where each of the symbols stands.

    Args:
        home: the state folder.
        symbols: known ones.
        registry: whose champions.
        now: aware.
        targets: the configured ones, which are asked what they run.
        waiting: symbol -> what it waits for, such as an approval; what the state folder tells is found without.
    """
    champions = registry.champions()
    since = {symbol: champion.since for symbol, champion in champions.by_symbol.items()}
    runs = read_runs(home, symbols, since=since)
    under_way = dict.fromkeys(symbols_under_way(home), "a promotion under way, or the next run to settle a killed one")
    waits = under_way | dict(waiting or {})
    looks, silent = _looks(targets)
    attempts, unread = _attempts(home, targets)
    rows = []
    for symbol in symbols:
        champion = champions.by_symbol.get(symbol)
        expires_at, faults = _end(registry.store, champion)
        releases = {target: look.current.get(symbol) for target, look in looks.items()}
        hold = held(home, symbol)
        unreadable = [champions.unreadable[symbol]] if symbol in champions.unreadable else []
        rows.append(
            SymbolStatus(
                symbol=symbol,
                now=now,
                champion=champion,
                expires_at=expires_at,
                runs=runs[symbol],
                hold=hold,
                releases=releases,
                attempts={one.target: one for one in attempts if one.symbol == symbol},
                live=live_lines(looks, symbol),
                waiting=waits.get(symbol, ""),
                faults=(
                    *unreadable,
                    *faults,
                    *silent,
                    *unread,
                    *_differing(releases, champion),
                    *_held_there(looks, symbol, hold),
                    *runs[symbol].faults,
                ),
            )
        )
    damage = tuple(str(damage) for damage in champions.damage if damage.fact not in champions.unreadable.values())
    return Status(
        symbols=tuple(rows),
        retrain=running_retrain(home),
        running=tuple(folder.name for folder in running_runs(home)),
        notices=len(list((home / "outbox" / "pending").glob("*.json"))),
        undelivered=len(list((home / "outbox" / "undelivered").glob("*.json"))),
        damage=damage,
    )


def expiring(
    home: Path, symbols: Sequence[str], *, registry: Registry, now: datetime, within_days: float = WARN_DAYS
) -> tuple[ExpiryWarning, ...]:
    """A warning for every champion that has expired, expires within so many days, or whose end nobody can tell.

    Args:
        home: the state folder; nothing is written.
        symbols: which are asked for.
        registry: whose champions.
        now: aware.
        within_days: how long before its end a champion is worth a warning.
    """
    rows = read_status(home, symbols, registry=registry, now=now).symbols
    return tuple(warning for row in rows if (warning := row.warning(within_days=within_days)) is not None)


def valid_until(store: Store, bundle_hash: str) -> datetime:
    """When the bundle expires, by the rule at the top of this module.

    Raises:
        BundleError: the bundle, its manifest or a verdict is missing or damaged.
    """
    path = store.bundle(bundle_hash) / MANIFEST_FILE
    try:
        days = parse_json(path.read_bytes(), name=str(path)).get("valid_days")
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}). Restore it from a backup.") from error
    if type(days) is not int or days <= 0:
        raise BundleError(f"{path}: valid_days must be a whole number above 0, was {days!r}. Do not use this bundle.")
    good = [facts.judged_at for facts in store.verdicts(bundle_hash) if not facts.failed_blocking()]
    if not good:
        raise BundleError(
            f"bundle {bundle_hash[:12]} has no verdict that allows it. Restore store/verdicts from a backup, or train again."
        )
    return max(good) + timedelta(days=days)


def _looks(targets: Sequence[DeploymentTarget]) -> tuple[dict[str, Look], list[str]]:
    """A look at each target, and what those say that do not answer."""
    looks: dict[str, Look] = {}
    faults = []
    for target in targets:
        try:
            looks[target.name] = target.look()
        except (CrpbotError, OSError) as error:
            faults.append(f"target {target.name}: {error}")
    return looks, faults


def _attempts(home: Path, targets: Sequence[DeploymentTarget]) -> tuple[list[DeploymentRecord], list[str]]:
    """The attempts to deploy to these targets, oldest first, and what keeps them from being read."""
    names = {target.name for target in targets}
    try:
        return [attempt for attempt in deployment_records(home) if attempt.target in names], []
    except OSError as error:
        return [], [f"the record of deployments cannot be read ({error})"]


def live_lines(looks: Mapping[str, Look], symbol: str) -> dict[str, str]:
    """Target -> what its runtime says of itself, where one reports."""
    reporting = {target: look.health for target, look in looks.items() if look.health is not None}
    return {
        target: _line(health.symbols[symbol], health.clock_warning)
        for target, health in reporting.items()
        if symbol in health.symbols
    }


def _line(health: SymbolHealth, clock_warning: str | None) -> str:
    line = f"{health.live_line}{health.shadow_sentence()}" if health.live_line else health.sentence()
    return line if clock_warning is None else f"{line}; {clock_warning}"


def _held_there(looks: Mapping[str, Look], symbol: str, hold: Hold | None) -> list[str]:
    """Holds of the targets that this home does not know."""
    there = {target: look.holds.get(symbol) for target, look in looks.items()}
    return [f"{target}: {found.sentence()}" for target, found in there.items() if found is not None and hold is None]


def _differing(releases: Mapping[str, str | None], champion: Champion | None) -> list[str]:
    """Targets that run something else than the champion, as after a rollback by hand."""
    reigns = champion.bundle if champion else None
    return [
        f"{target} runs {release[:12]}, which is not the champion"
        for target, release in releases.items()
        if release is not None and release != reigns
    ]


def _end(store: Store, champion: Champion | None) -> tuple[datetime | None, tuple[str, ...]]:
    """When the champion expires, and what keeps one from telling."""
    if champion is None or champion.bundle is None:
        return None, ()
    try:
        return valid_until(store, champion.bundle), ()
    except (CrpbotError, OSError) as error:
        return None, (str(error),)


def _days(days: float) -> str:
    return f"{abs(days):.1f} days"


def _stamp(time: datetime | None) -> str | None:
    return None if time is None else f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _rounded(days: float | None) -> float | None:
    return None if days is None else round(days, 3)
