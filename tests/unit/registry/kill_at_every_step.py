"""Runs one change of the store over and over in a process that is killed (SIGKILL) at its first, second, third ... step.

What a step is: tests.killed. After each kill a new start looks at what is left; a JSON line says what it found. The last
line is that of the victim that came through.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models_lib import bundle as bundles
from models_lib.bundle import TorchPredictor, load_bundle, record_golden, verify_hashes
from models_lib.config.sections import RetentionSection
from models_lib.registry import LocalStore, Registry, open_registry
from models_lib.retention import clean_home
from tests.bundles import example_manifest, example_tensors, walk_candles
from tests.judged import at, judged
from tests.killed import killed_at
from tests.old_homes import NOW, entry, names, write_bundle, write_change, write_run, write_step


def observe_registry(home: Path, again: Callable[[Registry], object]) -> dict[str, Any]:
    """The state that a new start finds, and the state after the change is made again."""
    registry = open_registry(home)
    history = registry.history()
    champion = registry.champion("BTC-USD")
    stored = registry.store.pointer("BTC-USD")
    pointed = json.loads(stored.content) if stored else None
    last = history.entries[-1] if history.entries else None
    found = {
        "damage": [str(damage) for damage in history.damage],
        "champion": champion.bundle if champion else None,
        "pointer_follows_ledger": last is not None
        and pointed is not None
        and (pointed["bundle"], pointed["ledger_hash"]) == (last.to_bundle, last.hash),
        "entries": len(history.entries),
    }
    again(registry)
    after = registry.champion("BTC-USD")
    return {
        **found,
        "champion_after": after.bundle if after else None,
        "entries_after": len(registry.history().entries),
        "damage_after": [str(damage) for damage in registry.history().damage],
    }


def run(scratch: Path, what: str, every: int) -> None:
    """Kills at step 1, 1 + every, ... until the change comes through.

    Args:
        scratch: folder for what is needed on the way.
        what: "promote", "rollback", "put", "write" or "clean".
        every: distance between two steps.
    """
    prepare = {
        "promote": prepare_promote,
        "rollback": prepare_rollback,
        "put": prepare_put,
        "write": prepare_write,
        "clean": prepare_clean,
    }[what]
    act, observe = prepare(scratch / "template")
    act_once = scratch / "warm"
    shutil.copytree(scratch / "template", act_once)
    act(act_once)
    step, killed = 1 - every, True
    while killed:
        step += every
        home = scratch / f"home-{step}"
        shutil.copytree(scratch / "template", home)
        killed = killed_at(step, lambda home=home: act(home))
        print(json.dumps({"step": step, "killed": killed, **observe(home)}), flush=True)
        shutil.rmtree(home)


Prepared = tuple[Callable[[Path], object], Callable[[Path], dict[str, Any]]]


def prepare_promote(home: Path) -> Prepared:
    """A is champion, B is promoted."""
    a, b = _champion_and_challenger(home)

    def promote(registry: Registry) -> object:
        return registry.promote("BTC-USD", b, expected_champion=a, who="test", why="kill", now=at(2))

    return lambda home: promote(open_registry(home)), lambda home: observe_registry(home, promote)


def prepare_rollback(home: Path) -> Prepared:
    """B is champion, A comes back."""
    a, b = _champion_and_challenger(home)
    open_registry(home).promote("BTC-USD", b, expected_champion=a, who="test", why="kill", now=at(2))

    def rollback(registry: Registry) -> object:
        return registry.rollback("BTC-USD", who="test", why="kill", now=at(3), expected_champion=b)

    def again(registry: Registry) -> object:
        champion = registry.champion("BTC-USD")
        return rollback(registry) if champion and champion.bundle == b else None

    return lambda home: rollback(open_registry(home)), lambda home: observe_registry(home, again)


def prepare_put(home: Path) -> Prepared:
    """A candidate is put into an empty store."""
    bundle = judged("A", home.parent / "candidate")
    home.mkdir()

    def put(home: Path) -> object:
        return open_registry(home).store.put(home.parent / "candidate")

    def observe(home: Path) -> dict[str, Any]:
        store = open_registry(home).store
        found = store.find("")
        sound = [verify_hashes(store.bundle(kept)) for kept in found]
        put(home)
        verdicts = len(store.verdicts(bundle))
        left = [path.name for path in (home / "store").iterdir() if path.name not in ("bundles", "verdicts")]
        return {
            "found": len(found),
            "sound": sound == list(found),
            "kept_after": store.find("") == (bundle,),
            "verdicts_after": verdicts,
            "left_after": [x for x in left if list((home / "store" / x).iterdir())],
        }

    return put, observe


def prepare_write(home: Path) -> Prepared:
    """A bundle is written into a run folder."""
    candles = walk_candles()
    tensors, manifest = example_tensors(candles), example_manifest(candles)
    golden = record_golden(candles, TorchPredictor(manifest.network, tensors), symbol="BTC-USD")
    home.mkdir(parents=True)

    def write(home: Path) -> str:
        return bundles.write_bundle(home / "candidate", tensors=tensors, manifest=manifest, golden=golden)

    def observe(home: Path) -> dict[str, Any]:
        there = (home / "candidate").exists()
        sound = not there or load_bundle(home / "candidate").hash is not None
        return {"found": int(there), "sound": sound, "kept_after": write(home) == load_bundle(home / "candidate").hash}

    return write, observe


def prepare_clean(home: Path) -> Prepared:
    """B is champion and A the one before; C was held. They, a run and a result of a step are old; there are no models."""
    a, b, c = (letter * 64 for letter in "abc")
    units = [write_bundle(home, bundle, 200) for bundle in (a, b, c)]
    units += [home / "store" / "verdicts" / bundle for bundle in (a, b, c)]
    units += [write_step(home, "features-x", 200), write_run(home, 200, {"BTC-USD": entry("held")})]
    for bundle in (a, b):
        write_change(home, "BTC-USD", bundle, 190)
    old = {unit.relative_to(home).as_posix(): names(unit) for unit in units}
    needed = {
        name
        for name in names(home)
        if not any(name.startswith(unit) for unit in old if a not in unit and b not in unit)
    }

    def clean(home: Path) -> object:
        return clean_home(home, RetentionSection(), store=LocalStore(home), now=NOW)

    def observe(home: Path) -> dict[str, Any]:
        found = LocalStore(home).find("")
        half = [unit for unit, files in old.items() if (home / unit).exists() and names(home / unit) != files]
        kept = needed <= names(home)
        clean(home)
        return {
            "found": len(found),
            "half": half,
            "needed": kept,
            "damage_after": [str(damage) for damage in open_registry(home).history().damage],
            "clean_after": names(home) == needed,
        }

    return clean, observe


def _champion_and_challenger(home: Path) -> tuple[str, str]:
    """Home with A promoted, and B put, judged against A."""
    a = judged("A", home.parent / "a")
    b = judged("B", home.parent / "b", champion=a)
    registry = open_registry(home)
    for name in ("a", "b"):
        registry.store.put(home.parent / name)
    registry.promote("BTC-USD", a, expected_champion=None, who="test", why="first", now=at(1))
    return a, b
