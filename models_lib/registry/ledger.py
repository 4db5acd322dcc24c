"""The ledger: every change of champion, one JSON line each, chained by hash so that no line can be changed unseen.

The ledger is also the journal: a change is done when its line is whole. The pointers follow it, and one that lags behind
after a crash is carried forward at the next start. A last line without its line end was never done and is ignored.

What does not belong here: where the lines lie (store.py, local.py) and who may change a champion (registry.py).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from models_lib.bundle.parsing import Sha256, parse_json, parse_part
from models_lib.config.sections import SymbolName
from models_lib.errors import BundleError
from models_lib.files import canonical_json, sha256_bytes

FIRST_PREVIOUS_HASH = "0" * 64
"""What the first line continues."""

AGAINST_CHAMPION = "against_champion"
"""Where a gate report's metrics and a promotion's line keep the figures of the comparison with the champion."""

Action = Literal["promote", "rollback", "undo"]


class LedgerEntry(BaseModel):
    """One change of champion: who, when, from, to, why, cost."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True)

    index: Annotated[int, Field(ge=0)]
    time: AwareDatetime
    who: str
    symbol: SymbolName
    action: Action
    """promote; rollback: a person goes back; undo: a promotion whose deployment failed is taken back."""
    from_bundle: Annotated[Sha256 | None, Field(alias="from")]
    to_bundle: Annotated[Sha256 | None, Field(alias="to")]
    """None: the symbol has no champion any more."""
    why: str
    cost_usd: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None
    """What was billed for the training; None: paid, and not known."""
    run_id: str | None
    """The run whose gate report allowed a promotion."""
    gates: dict[str, JsonValue]
    """Summary of that gate report, with the comparison with the champion that went; empty for the way back."""
    previous_hash: Sha256
    hash: Sha256 = FIRST_PREVIOUS_HASH
    """SHA-256 over the entry without this field; `sealed` computes it."""

    def sealed(self) -> "LedgerEntry":
        """The same entry with its own hash."""
        return self.model_copy(update={"hash": _hash_of(self.to_json())})

    def to_json(self) -> dict[str, Any]:
        """Plain values, as in the ledger."""
        return self.model_dump(mode="json", by_alias=True)

    def line(self) -> bytes:
        """The ledger's line, without its line end."""
        return canonical_json(self.to_json())

    def sentence(self) -> str:
        """One line for people."""
        change = f"{_short(self.from_bundle)} -> {_short(self.to_bundle)}"
        told = _against(self.gates.get(AGAINST_CHAMPION))
        return f"{self.time:%Y-%m-%dT%H:%M:%SZ} {self.symbol} {self.action} {change} by {self.who}: {self.why}{told}"


@dataclass(frozen=True)
class Damage:
    """What is wrong with the ledger or with a pointer.

    Attributes:
        line: number of the ledger's line, from 1; None when it is about a pointer alone.
        fact: one sentence.
    """

    line: int | None
    fact: str

    def __str__(self) -> str:
        return self.fact if self.line is None else f"ledger line {self.line}: {self.fact}"


@dataclass(frozen=True)
class Standing:
    """Where a symbol stands after the ledger's last entry.

    Attributes:
        champions: the champion last, before it the one that a rollback goes to, and so on.
        last: the symbol's newest entry; None when it has none.
    """

    champions: tuple[str, ...]
    last: LedgerEntry | None

    @property
    def champion(self) -> str | None:
        """The champion, if there is one."""
        return self.champions[-1] if self.champions else None

    @property
    def previous(self) -> str | None:
        """The one that a rollback goes to, if there is one."""
        return self.champions[-2] if len(self.champions) > 1 else None


@dataclass(frozen=True)
class Chain:
    """The ledger as read: its readable entries, and what is wrong with it."""

    entries: tuple[LedgerEntry, ...]
    damage: tuple[Damage, ...]

    @property
    def head(self) -> str:
        """What the next entry continues."""
        return self.entries[-1].hash if self.entries else FIRST_PREVIOUS_HASH

    def standing(self, symbol: str) -> Standing:
        """Where the symbol stands."""
        return self.standings().get(symbol, Standing((), None))

    def standings(self) -> dict[str, Standing]:
        """Where every symbol stands: promotions stack up, rollback and undo take the last one off."""
        champions: dict[str, list[str]] = {}
        last: dict[str, LedgerEntry] = {}
        for entry in self.entries:
            stack = champions.setdefault(entry.symbol, [])
            last[entry.symbol] = entry
            if entry.action == "promote" and entry.to_bundle is not None:
                stack.append(entry.to_bundle)
            elif stack:
                stack.pop()
        return {symbol: Standing(tuple(stack), last[symbol]) for symbol, stack in champions.items()}

    def symbols(self) -> tuple[str, ...]:
        """Symbols with entries, in order of name."""
        return tuple(sorted({entry.symbol for entry in self.entries}))


def read_chain(lines: Sequence[bytes]) -> Chain:
    """The entries in the ledger's lines, and every line that was changed or does not continue the one before it."""
    entries: list[LedgerEntry] = []
    damage: list[Damage] = []
    previous_hash = FIRST_PREVIOUS_HASH
    for number, line in enumerate(lines, start=1):
        try:
            tree = parse_json(line, name="the line")
            entry = parse_part(LedgerEntry, line, name="the line")
        except BundleError:
            damage.append(Damage(number, "not readable as an entry"))
            previous_hash = ""
            continue
        damage.extend(Damage(number, fact) for fact in _faults(entry, tree, line, number, previous_hash))
        previous_hash = entry.hash
        entries.append(entry)
    return Chain(tuple(entries), tuple(damage))


def _faults(entry: LedgerEntry, tree: Mapping[str, Any], line: bytes, number: int, previous_hash: str) -> list[str]:
    faults = []
    if _hash_of(tree) != entry.hash or line != canonical_json(tree):
        faults.append("its content is not what its hash says; it was edited")
    if entry.index != number - 1:
        faults.append(f"it is entry {entry.index}, expected was {number - 1}; lines were removed, added or moved")
    if previous_hash and entry.previous_hash != previous_hash:
        faults.append("it does not continue the line before it; that line was edited or replaced")
    return faults


def _hash_of(tree: Mapping[str, Any]) -> str:
    return sha256_bytes(canonical_json({key: value for key, value in tree.items() if key != "hash"}))


def _short(bundle: str | None) -> str:
    return bundle[:12] if bundle else "none"


def gates_summary(
    passed: int, failed_advisory: Sequence[str], against_champion: JsonValue = None
) -> dict[str, JsonValue]:
    """What the ledger keeps of a gate report: all blocking gates passed, or there would be no entry.

    Args:
        passed: how many.
        failed_advisory: names.
        against_champion: figures of both on the same rows, or why there are none; None: there was no champion.
    """
    kept: dict[str, JsonValue] = {"passed": passed, "failed_advisory": json.loads(json.dumps(list(failed_advisory)))}
    return kept if against_champion is None else kept | {AGAINST_CHAMPION: against_champion}


class _AgainstChampion(BaseModel):
    """What a promotion's line tells about the champion that went; a later version may have written more."""

    rows: int | None = None
    candidate_nll: float | None = None
    champion_nll: float | None = None
    nll_difference: float | None = None
    nll_difference_interval: tuple[float, float] | None = None
    note: str = ""

    def words(self) -> str:
        if self.candidate_nll is None or self.champion_nll is None or self.nll_difference is None:
            return f"not compared with the champion: {self.note}"
        bounds = self.nll_difference_interval
        interval = "no interval" if bounds is None else f"{bounds[0]:+.4f} to {bounds[1]:+.4f}"
        return (
            f"NLL {self.candidate_nll:.4f} against the champion's {self.champion_nll:.4f} on {self.rows or 0:,} rows after "
            f"the validation ends of both: {self.nll_difference:+.4f}, {interval}"
        )


def _against(figures: JsonValue) -> str:
    """The comparison with the champion in a few words; empty for a line without one that can be read."""
    try:
        return f" ({_AgainstChampion.model_validate(figures).words()})" if figures else ""
    except ValidationError:
        return ""
