"""What may go: old runs and studies, results of steps and other caches, held bundles, and what crashes left behind.

Nothing goes that something else needs: a running run, the caches that were used since it began, a champion, the one that
a rollback goes to, a deployed bundle. Rollback goes one champion back; those further back stay for `held_bundles_days`
after the ledger last named them, and a rollback to one that is gone is refused with that reason.

Each folder is renamed to `.trash-...` beside itself first, so that nobody meets half of it under its name, also after a
kill -9; the next cleaning removes what such a kill left. While the record of champions is damaged no bundle goes.

What does not belong here: Prefect's own database, and files outside the state folder.
"""

import contextlib
import fcntl
import logging
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

from models_lib.config.sections import RetentionSection
from models_lib.deployment.known import if_gone
from models_lib.deployment.target import DeploymentTarget
from models_lib.errors import ConfigError, CrpbotError, RecordError, TransientError
from models_lib.files import discard, size_of, trash_name
from models_lib.registry.registry import Registry, Roles
from models_lib.registry.store import Store, Taken
from models_lib.running import RUN_LOCK, run_folders, running_runs

Kind = Literal["run", "study", "step result", "cache", "bundle", "leftover"]
RESULT_NAME = "result.json"
"""Written last by a finished step, touched by each use (models_lib.steps)."""
STUDIES = ("diagnoses", "temperature", "comparisons")
"""Folders of the home in which a command leaves table and page, a folder each time."""
STEP_LOCK = ".lock"
"""Held by a step at work in its folder."""
LEFTOVER_DAYS = 1.0
"""A file under a temporary name that is older has no writer any more."""
_LEFTOVER = re.compile(r"\..*\.partial|\.write-probe-\d+|\.trash-[0-9a-f]{16}")
_NOT_OURS = "prefect"
_DAY_SECONDS = 86_400.0
_log = logging.getLogger(__name__)


class Leavings(Protocol):
    """A place outside of the home, in which runs of any machine leave what others may take over."""

    @property
    def name(self) -> str:
        """Where it is, for people."""

    def results(self, *, before: datetime) -> Sequence[Taken]:
        """Results of steps that were finished before.

        Raises:
            ConfigError: the place refuses.
            TransientError: the place does not answer.
        """

    def unfinished(self, *, before: datetime) -> Sequence[Taken]:
        """What writers that began before have not finished.

        Raises:
            ConfigError: the place refuses.
            TransientError: the place does not answer.
        """


@dataclass(frozen=True)
class Item:
    """A folder or file of the home that was looked at.

    Attributes:
        kind: what it is.
        path: below the home; of a bundle elsewhere, its address.
        why: why it went or stayed.
        size_bytes: what its removal frees; 0 for what stays.
    """

    kind: Kind
    path: str
    why: str
    size_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": self.kind, "path": self.path, "why": self.why, "bytes": self.size_bytes}


@dataclass(frozen=True)
class Cleaned:
    """What a cleaning came to.

    Attributes:
        removed: what went; in a dry run, what would go.
        kept: what stayed, and why.
        faults: what could not be done; empty when all is well.
        dry_run: nothing was removed.
    """

    removed: tuple[Item, ...]
    kept: tuple[Item, ...]
    faults: tuple[str, ...]
    dry_run: bool

    @property
    def freed_bytes(self) -> int:
        """Bytes that only the removed files held."""
        return sum(item.size_bytes for item in self.removed)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "dry_run": self.dry_run,
            "freed_bytes": self.freed_bytes,
            "removed": [item.to_json() for item in self.removed],
            "kept": [item.to_json() for item in self.kept],
            "faults": list(self.faults),
        }


def clean_home(
    home: Path,
    section: RetentionSection,
    *,
    store: Store,
    now: datetime,
    elsewhere: Sequence[Leavings] = (),
    deployed: frozenset[str] | None = frozenset(),
    dry_run: bool = False,
) -> Cleaned:
    """Removes what is older than its days and what nothing needs; safe beside running runs and other cleanings.

    Never raises for what it finds: what cannot be removed is a fault of the answer, and the rest goes on.

    Args:
        home: the state folder.
        section: how long each kind is kept.
        store: whose bundles.
        now: aware.
        elsewhere: the places in which runs leave something, too.
        deployed: hashes of the bundles that targets run, as `deployed_bundles` tells; None, when nobody can tell, keeps
            every bundle.
        dry_run: only tells what would go.
    """
    broom = _Broom(home.absolute(), now.timestamp(), dry_run)
    with contextlib.ExitStack() as stack:
        try:
            alone = dry_run or stack.enter_context(_alone(home))
            if alone:
                _sweep(broom, section, store, deployed)
                for place in elsewhere:
                    _sweep_elsewhere(broom, section, place)
            else:
                broom.faults.append(f"{home}: another cleaning is at work; nothing was removed by this one")
        except OSError as error:
            broom.faults.append(f"{error.filename or home}: {error.strerror}; what comes after it was not looked at")
    return Cleaned(tuple(broom.removed), tuple(broom.kept), tuple(broom.faults), dry_run)


def deployed_bundles(targets: Sequence[DeploymentTarget]) -> frozenset[str] | None:
    """Hashes of the bundles that the targets run; None when one of them cannot tell."""
    try:
        return frozenset(bundle for target in targets for bundle in target.look().current.values())
    except (CrpbotError, OSError) as error:
        _log.warning("what is deployed is not known: %s", error)
        return None


def _sweep(broom: "_Broom", section: RetentionSection, store: Store, deployed: frozenset[str] | None) -> None:
    _sweep_leftovers(broom)
    # Whatever a running run may have taken over from the cache was used after its start.
    running = running_runs(broom.home)
    _sweep_runs(broom, section, running)
    _sweep_studies(broom, section)
    began = min(((folder / RUN_LOCK).stat().st_mtime for folder in running), default=math.inf)
    _sweep_cache(broom, section, began)
    if deployed is None:
        why = "a deployment target does not tell what it runs. Try again later."
        broom.faults.append(f"no bundle was removed: {why} {if_gone(broom.home)}")
    else:
        _sweep_bundles(broom, section, store, deployed)


@dataclass
class _Broom:
    """One cleaning: where, when, and what it came to so far."""

    home: Path
    now: float
    dry_run: bool
    removed: list[Item] = field(default_factory=list)
    kept: list[Item] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def age_days(self, time: float) -> float:
        return (self.now - time) / _DAY_SECONDS

    def keep(self, kind: Kind, path: Path, why: str) -> None:
        self.kept.append(Item(kind, self._name(path), why))

    def remove(self, kind: Kind, path: Path, why: str) -> None:
        """Renames, then removes; a dry run only notes."""
        aside = path if self.dry_run else path.rename(trash_name(path))
        size = size_of(aside)
        fault = None if self.dry_run else discard(aside)
        self.faults += [fault] if fault else []
        self.removed.append(Item(kind, self._name(path), why, size))

    def finish(self, kind: Kind, taken: Taken, why: str) -> None:
        """Removes what was taken out of the store; a dry run only notes."""
        size = taken.size_bytes()
        if not self.dry_run:
            self.faults += taken.remove()
        self.removed.append(Item(kind, taken.name, why, size))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.home).as_posix()


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[bool]:
    """Whether no other cleaning of this home is at work; none begins while the body runs. True where there is no home."""
    if not home.is_dir():
        yield True
        return
    with (home / "clean.lock").open("ab") as lock:
        yield _taken(lock.fileno())


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep_leftovers(broom: _Broom) -> None:
    """Files and folders under temporary names, wherever a crash left them; those of a cleaning go at any age."""
    for folder, folders, files in os.walk(broom.home):
        if Path(folder) == broom.home and _NOT_OURS in folders:
            folders.remove(_NOT_OURS)
        for name in [name for name in (*folders, *files) if _LEFTOVER.fullmatch(name)]:
            path = Path(folder) / name
            trash = name.startswith(".trash-")
            with contextlib.suppress(FileNotFoundError):  # its writer came to the end meanwhile
                if trash or broom.age_days(_newest(path)) > LEFTOVER_DAYS:
                    broom.remove("leftover", path, "left by a killed cleaning" if trash else "left by a killed writer")
        folders[:] = [name for name in folders if not _LEFTOVER.fullmatch(name)]


def _sweep_runs(broom: _Broom, section: RetentionSection, running: tuple[Path, ...]) -> None:
    for folder in run_folders(broom.home):
        if folder in running:
            broom.keep("run", folder, "it is running")
        else:
            _by_age(broom, "run", folder, max(map(_changed, (folder, *folder.iterdir()))), section.runs_days)


def _sweep_studies(broom: _Broom, section: RetentionSection) -> None:
    for study in (study for name in STUDIES for study in _children(broom.home / name)):
        _by_age(broom, "study", study, _newest(study), section.runs_days)


def _sweep_cache(broom: _Broom, section: RetentionSection, began: float) -> None:
    for kind, entry in _cache_entries(broom.home / "cache"):
        # What is not found was thrown away by a step meanwhile.
        with contextlib.suppress(FileNotFoundError), _unlocked(entry) as free:
            used = _last_use(kind, entry)
            if not free:
                broom.keep(kind, entry, "a step is at work in it")
            elif used >= began:
                broom.keep(kind, entry, "used since a run began that is still running")
            else:
                _by_age(broom, kind, entry, used, section.cache_days)


def _cache_entries(cache: Path) -> Iterator[tuple[Kind, Path]]:
    """Results of steps below steps/<SYMBOL>/, and whatever else lies in a folder of the cache."""
    for folder in _children(cache):
        for child in _children(folder):
            if folder.name == "steps":
                yield from (("step result", entry) for entry in _children(child))
            else:
                yield "cache", child


def _last_use(kind: Kind, entry: Path) -> float:
    """When it was used last: a result is touched by each use; what was never finished is as old as its last change."""
    result = entry / RESULT_NAME
    if kind == "step result" and result.is_file():
        return result.stat().st_mtime
    return _newest(entry)


@contextlib.contextmanager
def _unlocked(entry: Path) -> Iterator[bool]:
    """Whether no step is at work in the folder; none begins while the body runs."""
    try:
        lock = (entry / STEP_LOCK).open("rb")
    except (FileNotFoundError, NotADirectoryError):
        yield True
        return
    with lock:
        yield _taken(lock.fileno())


def _sweep_elsewhere(broom: _Broom, section: RetentionSection, place: Leavings) -> None:
    """By the time of the last write: no other machine says when it used something."""

    def before(days: float) -> datetime:
        return datetime.fromtimestamp(broom.now, UTC) - timedelta(days=days)

    days = section.cache_days
    try:
        for result in place.results(before=before(days)):
            broom.finish("step result", result, f"finished more than {days:g} days ago")
        for upload in place.unfinished(before=before(LEFTOVER_DAYS)):
            broom.finish("leftover", upload, "left by a killed upload")
    except (ConfigError, TransientError) as error:
        broom.faults.append(f"{place.name} was not cleaned: {error}")


def _sweep_bundles(broom: _Broom, section: RetentionSection, store: Store, deployed: frozenset[str]) -> None:
    """Chooses and takes out while the store sees to it that nobody promotes or judges a bundle unseen in between."""
    gone: list[tuple[Kind, Taken, str]] = []
    try:
        now = datetime.fromtimestamp(broom.now, UTC)
        with store.cleaning(now=now, dry_run=broom.dry_run) as cleaning:
            gone += [("leftover", half, "left by a killed put") for half in cleaning.halves()]
            kept = cleaning.bundles()
            roles = Registry(store).roles() if kept else Roles({}, {})
            for bundle, changed in kept.items():
                days = broom.age_days(_last_mention(roles, bundle, changed))
                why = _needed(roles, bundle, deployed)
                if why is None and days <= section.held_bundles_days:
                    why = _young(days, section.held_bundles_days)
                taken = cleaning.take(bundle) if why is None else None
                if taken is None:
                    why = why or "used while this cleaning was at work"
                    broom.kept.append(Item("bundle", cleaning.name(bundle), why))
                else:
                    gone.append(("bundle", taken, f"neither champion nor previous nor deployed for {days:.0f} days"))
    except (RecordError, ConfigError, TransientError) as error:
        did = "no more bundles were" if any(kind == "bundle" for kind, *_ in gone) else "no bundle was"
        broom.faults.append(f"{did} removed: {error}")
    for kind, taken, why in gone:
        broom.finish(kind, taken, why)


def _needed(roles: Roles, bundle: str, deployed: frozenset[str]) -> str | None:
    return roles.needed.get(bundle) or ("deployed" if bundle in deployed else None)


def _last_mention(roles: Roles, bundle: str, changed: float) -> float:
    """When the bundle was put, renewed, judged or named by the ledger last."""
    named = roles.named.get(bundle, datetime.fromtimestamp(0, UTC))
    return max(changed, named.timestamp())


def _by_age(broom: _Broom, kind: Kind, path: Path, last: float, limit_days: float) -> None:
    days = broom.age_days(last)
    if days > limit_days:
        broom.remove(kind, path, f"not used for {days:.1f} days")
    else:
        broom.keep(kind, path, _young(days, limit_days))


def _young(days: float, limit_days: float) -> str:
    return f"used {max(days, 0.0):.1f} days ago, kept for {limit_days:g}"


def _children(folder: Path) -> list[Path]:
    """What lies in the folder, in order of name, hidden names left out; nothing when it is no folder."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _changed(path: Path) -> float:
    return path.lstat().st_mtime


def _newest(path: Path) -> float:
    """Time of the last change of the file, or of anything in the folder."""
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    return max(map(_changed, (path, *inside)))
