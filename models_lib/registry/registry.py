"""Who is champion, and how that changes: promotion, rollback, undo and the history of all three.

A change is one line of the ledger. In order: check the rules against the ledger as read, write the line as number n (it
fails when somebody else wrote number n first: then everything is checked again), let the pointer follow. So two
processes cannot both succeed against the same champion, and a crash at any moment leaves either the old state or a line
whose pointer is carried forward by the next start.

What does not belong here: how lines, pointers and bundles are kept (store.py), gates (models_lib.evaluation).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict

from models_lib.bundle.facts import RunFacts
from models_lib.bundle.hashes import verify_hashes
from models_lib.bundle.parsing import Sha256, parse_part
from models_lib.config.sections import SymbolName
from models_lib.errors import BundleError, ConfigError, PromotionError, RecordError, TransientError
from models_lib.files import canonical_json
from models_lib.registry.ledger import (
    AGAINST_CHAMPION,
    Action,
    Chain,
    Damage,
    LedgerEntry,
    Standing,
    gates_summary,
    read_chain,
)
from models_lib.registry.local import LocalStore
from models_lib.registry.store import Store

_ATTEMPTS = 100
"""Each lost race is somebody else's success; so many in a row are not expected."""
_SHORTEST_PREFIX = 8


class Champion(BaseModel):
    """A symbol's pointer: which bundle is champion, since when, and by which line of the ledger."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    symbol: SymbolName
    bundle: Sha256 | None
    """None after the only promotion was undone."""
    previous: Sha256 | None
    """Where a rollback goes."""
    since: AwareDatetime
    action: Action
    ledger_index: int
    ledger_hash: Sha256

    def to_bytes(self) -> bytes:
        """As written to the pointer."""
        return canonical_json(self.model_dump(mode="json")) + b"\n"


@dataclass(frozen=True)
class PromotionOutcome:
    """What a change of champion came to.

    Attributes:
        symbol: whose champion.
        changed: False when there was nothing to do and nothing was written.
        champion: the champion now; None when there is none any more.
        previous: where a rollback goes now.
        message: one sentence.
    """

    symbol: str
    changed: bool
    champion: str | None
    previous: str | None
    message: str


@dataclass(frozen=True)
class History:
    """The ledger, and whether it can be believed.

    Attributes:
        entries: oldest first.
        damage: what is wrong; empty for a sound chain with pointers that agree.
        unfinished: a crash left a last line that was never done; it is ignored.
    """

    entries: tuple[LedgerEntry, ...]
    damage: tuple[Damage, ...]
    unfinished: bool


@dataclass(frozen=True)
class Champions:
    """Every symbol's champion, and what is wrong with the record.

    Attributes:
        by_symbol: symbols without a champion are missing.
        unreadable: symbol -> what is wrong with its pointer.
        damage: everything that is wrong, as `History` has it.
    """

    by_symbol: dict[str, Champion]
    unreadable: dict[str, str]
    damage: tuple[Damage, ...]


@dataclass(frozen=True)
class Roles:
    """Which bundles are needed.

    Attributes:
        needed: bundle -> what for; champions, and those that a rollback goes to.
        named: bundle -> time of the last line of the ledger that names it.
    """

    needed: dict[str, str]
    named: dict[str, datetime]


def open_registry(home: Path) -> "Registry":
    """The registry in a local home, with pointers that a crash left behind carried forward.

    Raises:
        ConfigError: a pointer must be carried forward and the home cannot be written.
    """
    return opened(LocalStore(home))


def opened(store: Store) -> "Registry":
    """The registry on that store, with pointers that a crash left behind carried forward.

    Raises:
        ConfigError: a pointer must be carried forward and the store cannot be written.
        TransientError: the store is busy, or does not answer.
    """
    registry = Registry(store)
    registry.recover()
    return registry


RegistryOpener: TypeAlias = Callable[[], "Registry"]
"""Opens the registry when it is asked for: much can be done without, also while the place that keeps it is away."""


class Registry:
    """Champions over a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def recover(self) -> tuple[str, ...]:
        """Carries forward every pointer that lags behind the ledger; returns their symbols. Does nothing on damage."""
        record = self._record()
        if record.damage:
            return ()
        chain = record.chain
        return tuple(symbol for symbol in chain.symbols() if self._carry_forward(symbol, chain.standing(symbol)))

    def champion(self, symbol: str) -> Champion | None:
        """The symbol's champion; None when there is none.

        A damaged ledger does not silence the pointer: `history` tells, and changes are refused.

        Raises:
            RecordError: the pointer is damaged.
        """
        pointer = self._pointer(symbol)
        chain = self._chain()
        if not chain.damage:
            pointer = _newer(pointer, _champion(symbol, chain.standing(symbol)))
        return pointer if pointer is not None and pointer.bundle is not None else None

    def history(self, symbol: str | None = None) -> History:
        """The changes of one symbol or of all, with the whole chain and every pointer verified."""
        record = self._record()
        entries = tuple(entry for entry in record.chain.entries if symbol in (None, entry.symbol))
        return History(entries, record.damage, record.unfinished)

    def champions(self) -> "Champions":
        """Every symbol's champion, from one reading of the record; damage is told, not raised."""
        record = self._record()
        found = {symbol: pointer for symbol, pointer in record.pointers.items() if pointer is not None}
        if not record.chain.damage:
            recorded = {symbol: _champion(symbol, standing) for symbol, standing in record.chain.standings().items()}
            newest = {symbol: _newer(found.get(symbol), champion) for symbol, champion in recorded.items()}
            found |= {symbol: champion for symbol, champion in newest.items() if champion is not None}
        return Champions(
            {symbol: champion for symbol, champion in found.items() if champion.bundle is not None},
            record.unreadable,
            record.damage,
        )

    def roles(self) -> "Roles":
        """Which bundles champions and rollbacks need, and when the ledger last named each bundle.

        Raises:
            RecordError: ledger or pointers are damaged, so nobody knows.
        """
        record = self._record()
        if record.damage:
            raise RecordError(
                f"nobody can tell which bundles are needed while the record is damaged: {_told(record.damage)}. "
                f"Look at `crpbot history`, and restore what it names from a backup."
            )
        needed: dict[str, str] = {}
        for symbol, standing in record.chain.standings().items():
            pointer = record.pointers.get(symbol) or _champion(symbol, standing)
            for bundle in (standing.previous, pointer.previous if pointer else None):
                needed |= {bundle: f"a rollback of {symbol} goes to it"} if bundle else {}
            for bundle in (standing.champion, pointer.bundle if pointer else None):
                needed |= {bundle: f"champion of {symbol}"} if bundle else {}
        named = {
            bundle: entry.time
            for entry in record.chain.entries
            for bundle in (entry.from_bundle, entry.to_bundle)
            if bundle is not None
        }
        return Roles(needed, named)

    def promote(
        self,
        symbol: str,
        bundle_hash: str,
        *,
        expected_champion: str | None,
        who: str,
        why: str,
        now: datetime,
        cost_usd: float | None = None,
        run_id: str | None = None,
    ) -> PromotionOutcome:
        """Makes a kept bundle the champion. Doing it twice is doing it once.

        Args:
            symbol: whose champion.
            bundle_hash: a bundle of the store.
            expected_champion: hash of the champion that the bundle was judged against; None for no champion.
            who: the person or the schedule, for the ledger.
            why: the reason, for the ledger.
            now: time of the change, aware.
            cost_usd: what the training cost; None takes it from the facts of that run.
            run_id: the run whose gate report counts; None takes the newest of the bundle.

        Raises:
            PromotionError: a blocking gate failed or was not measured, or the champion is another one than expected.
                There is no way around a failed gate.
            RecordError: ledger, pointers or the verdicts on the bundle are damaged.
            BundleError: the bundle is not kept, damaged, or of another symbol.
            ConfigError: the store cannot be written.
            TransientError: the store is busy.
        """
        if self._sound_chain().standing(symbol).champion == bundle_hash:
            return _unchanged(symbol, bundle_hash, self._chain().standing(symbol))
        self.store.renew(bundle_hash)
        self._check_bundle(symbol, bundle_hash)
        facts = self._admissible_facts(symbol, bundle_hash, run_id, expected_champion)
        advisory = [gate.name for gate in facts.gates if not gate.passed]

        def change(chain: Chain) -> LedgerEntry | None:
            champion = chain.standing(symbol).champion
            if champion == bundle_hash:
                return None
            _check_champion(symbol, champion, expected_champion)
            return _entry(
                chain,
                time=now,
                who=who,
                symbol=symbol,
                action="promote",
                from_bundle=champion,
                to_bundle=bundle_hash,
                why=why,
                cost_usd=facts.cost_usd if cost_usd is None else cost_usd,
                run_id=facts.run_id,
                gates=gates_summary(len(facts.gates) - len(advisory), advisory, facts.metrics.get(AGAINST_CHAMPION)),
            )

        entry = self._write(symbol, change)
        standing = self._chain().standing(symbol)
        if entry is None:
            return _unchanged(symbol, bundle_hash, standing)
        return PromotionOutcome(symbol, True, bundle_hash, standing.previous, f"{symbol}: {bundle_hash[:12]} promoted")

    def rollback(
        self, symbol: str, *, who: str, why: str, now: datetime, expected_champion: str | None = None
    ) -> PromotionOutcome:
        """Makes the champion's predecessor champion again; repeated, it goes further back.

        Only the predecessor's hashes are verified, so that the way back is quick and needs no model code.

        Args:
            symbol: whose champion.
            who: for the ledger.
            why: for the ledger.
            now: time of the change, aware.
            expected_champion: the champion that shall go; None takes whichever it is.

        Raises:
            PromotionError: there is no predecessor, or the champion is another one.
            RecordError: ledger and pointers are damaged.
            BundleError: the predecessor is gone or damaged.
        """
        return self._go_back("rollback", symbol, who=who, why=why, now=now, expected=expected_champion)

    def undo_promotion(self, symbol: str, bundle_hash: str, *, who: str, why: str, now: datetime) -> PromotionOutcome:
        """Takes back the promotion of `bundle_hash`, also a first one: then the symbol has no champion.

        Raises:
            PromotionError: it is not the champion.
            RecordError: ledger and pointers are damaged.
            BundleError: the predecessor is gone or damaged.
        """
        return self._go_back("undo", symbol, who=who, why=why, now=now, expected=bundle_hash)

    def resolve(self, reference: str) -> str:
        """The hash of the bundle that a person means: a folder, which is put into the store, or the start of a hash.

        Raises:
            ConfigError: neither a folder nor the start of exactly one kept hash.
            BundleError: the folder holds no sound bundle.
        """
        if reference and Path(reference).is_dir():
            return self.store.put(Path(reference))
        found = self.store.find(reference) if _SHORTEST_PREFIX <= len(reference) <= 64 else ()
        if len(found) != 1:
            raise ConfigError(
                f"{reference!r} is neither a bundle folder nor the start of one kept hash ({len(found)} fit). "
                f"Give a folder, or at least {_SHORTEST_PREFIX} characters of a hash; `crpbot history` shows them."
            )
        return found[0]

    def judged_against(self, bundle_hash: str, *, run_id: str | None = None) -> str | None:
        """The champion that the bundle was compared with, by that run's verdict; None takes the newest one.

        Raises:
            PromotionError: the bundle was never judged, or not by that run.
        """
        return self._facts(bundle_hash, run_id).champion

    def _go_back(
        self, action: Action, symbol: str, *, who: str, why: str, now: datetime, expected: str | None
    ) -> PromotionOutcome:
        def change(chain: Chain) -> LedgerEntry | None:
            standing = chain.standing(symbol)
            _check_champion(symbol, standing.champion, expected or standing.champion)
            if action == "rollback" and standing.previous is None:
                raise PromotionError(f"{symbol}: there is no earlier champion to go back to. Nothing was changed.")
            if standing.previous is not None:
                verify_hashes(self.store.bundle(standing.previous), expected_hash=standing.previous)
            return _entry(
                chain,
                time=now,
                who=who,
                symbol=symbol,
                action=action,
                from_bundle=standing.champion,
                to_bundle=standing.previous,
                why=why,
                cost_usd=0.0,
                run_id=None,
                gates={},
            )

        entry = self._write(symbol, change)
        assert entry is not None
        standing = self._chain().standing(symbol)
        now_champion = entry.to_bundle[:12] if entry.to_bundle else "no champion"
        message = f"{symbol}: {(entry.from_bundle or '')[:12]} taken back, {now_champion} again"
        return PromotionOutcome(symbol, True, entry.to_bundle, standing.previous, message)

    def _write(self, symbol: str, change: Callable[[Chain], LedgerEntry | None]) -> LedgerEntry | None:
        """Writes the entry that `change` makes of the ledger as read, again after each lost race; None: nothing to do."""
        for _ in range(_ATTEMPTS):
            chain = self._sound_chain()
            self._carry_forward(symbol, chain.standing(symbol))
            entry = change(chain)
            if entry is None:
                return None
            if self.store.append(entry.line(), index=entry.index):
                self._carry_forward(symbol, Chain((*chain.entries, entry), ()).standing(symbol))
                return entry
        raise TransientError(f"{symbol}: {_ATTEMPTS} others wrote to the ledger first. Try again.")

    def _carry_forward(self, symbol: str, standing: Standing) -> bool:
        """Lets the pointer follow the ledger; whether it had to."""
        target = _champion(symbol, standing)
        if target is None:
            return False
        while True:
            stored = self.store.pointer(symbol)
            pointer = self._pointer(symbol) if stored else None
            if pointer is not None and pointer.ledger_index >= target.ledger_index:
                return False
            if self.store.replace_pointer(symbol, target.to_bytes(), expected=stored.version if stored else None):
                return True

    def _check_bundle(self, symbol: str, bundle_hash: str) -> None:
        from models_lib.bundle.reader import load_bundle  # noqa: PLC0415 - a rollback must not wait for numba and torch

        load_bundle(self.store.bundle(bundle_hash), symbol=symbol, expected_hash=bundle_hash)

    def _admissible_facts(self, symbol: str, bundle_hash: str, run_id: str | None, expected: str | None) -> RunFacts:
        facts = self._facts(bundle_hash, run_id)
        subject = f"{symbol}: bundle {bundle_hash[:12]}"
        failed, missing = facts.failed_blocking(), facts.missing_gates()
        if failed:
            raise PromotionError(
                f"{subject} failed {', '.join(failed)} in run {facts.run_id} and is never promoted. Train a better one."
            )
        if missing:
            raise PromotionError(
                f"{subject} was not judged by {', '.join(missing)} in run {facts.run_id}; what was not measured has "
                f"failed. Run it through all gates."
            )
        if facts.champion != expected:
            raise PromotionError(
                f"{subject} was judged against {_named(facts.champion)} in run {facts.run_id}, not against "
                f"{_named(expected)}. Run again, so that it is judged against the present champion."
            )
        return facts

    def _facts(self, bundle_hash: str, run_id: str | None) -> RunFacts:
        verdicts = [facts for facts in self.store.verdicts(bundle_hash) if run_id in (None, facts.run_id)]
        if not verdicts:
            by = f" by run {run_id}" if run_id else ""
            raise PromotionError(
                f"bundle {bundle_hash[:12]} was not judged{by}: there is no gate report. Run it through all gates first."
            )
        newest = verdicts[-1]
        if any(facts.run_id == newest.run_id and not facts.says_the_same(newest) for facts in verdicts):
            raise RecordError(
                f"bundle {bundle_hash[:12]} has two different verdicts of run {newest.run_id}; a run judges once. "
                f"Find out who wrote the second, and run again."
            )
        return newest

    def _chain(self) -> Chain:
        return read_chain(self.store.ledger().lines)

    def _record(self) -> "_Record":
        """Pointers and ledger, read in this order: a pointer is written after its line, so each one read finds its line."""
        pointers: dict[str, Champion | None] = {}
        unreadable: dict[str, str] = {}
        for symbol in self.store.pointed_symbols():
            try:
                pointers[symbol] = self._pointer(symbol)
            except RecordError as error:
                unreadable[symbol] = str(error)
        damage = [Damage(None, fact) for fact in unreadable.values()]
        stored = self.store.ledger()
        chain = read_chain(stored.lines)
        for symbol, pointer in pointers.items():
            if pointer is not None and not _agrees(pointer, symbol, chain):
                line = pointer.ledger_index + 1
                damage.append(Damage(line, f"the pointer of {symbol} does not agree with it, or the line is gone"))
        return _Record(chain, chain.damage + tuple(damage), stored.unfinished, pointers, unreadable)

    def _sound_chain(self) -> Chain:
        record = self._record()
        if record.damage:
            raise RecordError(
                f"champions cannot be changed while the record is damaged: {_told(record.damage)}. "
                f"Look at `crpbot history`, and restore what it names from a backup."
            )
        return record.chain

    def _pointer(self, symbol: str) -> Champion | None:
        stored = self.store.pointer(symbol)
        if stored is None:
            return None
        try:
            pointer = parse_part(Champion, stored.content, name=f"the pointer of {symbol}")
        except BundleError as error:
            raise RecordError(
                f"the pointer of {symbol} is damaged. Restore it from a backup, or remove it: the next start writes it anew from the ledger."
            ) from error
        return pointer


@dataclass(frozen=True)
class _Record:
    """Ledger and pointers as read together, and what is wrong with them."""

    chain: Chain
    damage: tuple[Damage, ...]
    unfinished: bool
    pointers: dict[str, Champion | None]
    unreadable: dict[str, str]


def _told(damage: tuple[Damage, ...]) -> str:
    """The first of it, in one line."""
    return "; ".join(str(fact).rstrip(".") for fact in damage[:3])


def _agrees(pointer: Champion, symbol: str, chain: Chain) -> bool:
    entry = next((entry for entry in chain.entries if entry.index == pointer.ledger_index), None)
    said = (pointer.symbol, pointer.bundle, pointer.ledger_hash)
    return entry is not None and pointer.symbol == symbol and said == (entry.symbol, entry.to_bundle, entry.hash)


def _champion(symbol: str, standing: Standing) -> Champion | None:
    """The pointer that the ledger asks for."""
    if standing.last is None:
        return None
    return Champion(
        symbol=symbol,
        bundle=standing.champion,
        previous=standing.previous,
        since=standing.last.time,
        action=standing.last.action,
        ledger_index=standing.last.index,
        ledger_hash=standing.last.hash,
    )


def _newer(pointer: Champion | None, recorded: Champion | None) -> Champion | None:
    if pointer is None or recorded is None:
        return pointer or recorded
    return recorded if recorded.ledger_index > pointer.ledger_index else pointer


def _check_champion(symbol: str, champion: str | None, expected: str | None) -> None:
    if champion is None and expected is None:
        return
    if champion != expected:
        raise PromotionError(
            f"{symbol}: the champion is {_named(champion)}, not {_named(expected)}: it changed in between. "
            f"Nothing was changed; run again, so that the bundle is judged against the present champion."
        )


def _entry(chain: Chain, **fields: object) -> LedgerEntry:
    """The sealed entry that continues the chain."""
    return LedgerEntry.model_validate(
        {"index": len(chain.entries), "previous_hash": chain.head, **fields}, by_name=True
    ).sealed()


def _unchanged(symbol: str, bundle_hash: str, standing: Standing) -> PromotionOutcome:
    return PromotionOutcome(
        symbol, False, bundle_hash, standing.previous, f"{symbol}: {bundle_hash[:12]} already champion"
    )


def _named(bundle: str | None) -> str:
    return bundle[:12] if bundle else "no champion"
