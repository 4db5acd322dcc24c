"""A host folder with true releases, bars that come from a list, and an engine over both, for the tests of the runtime."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from models_lib.candles.schema import VALUE_COLUMNS, epoch_ms
from models_lib.config.runtime_section import RuntimeSection
from models_lib.config.serving_sections import SignalsSection
from models_lib.runtime.configuration import RuntimeConfig
from models_lib.runtime.engine import Engine, Proposing
from models_lib.runtime.figures import Mode
from models_lib.runtime.health import Health, read_health
from models_lib.runtime.proposal import propose
from models_lib.runtime.sources import BarSource, ClockSkew, Given, Reached, Trouble
from models_lib.runtime.speaking import Speaker
from models_lib.runtime.state import RuntimeState

TALKATIVE = SignalsSection(min_confidence=0.34, one_at_a_time=False)
"""The untrained network of the examples is sure of nothing, and shall speak all the same, at every bar."""
NOW = datetime(2026, 1, 5, tzinfo=UTC)


def raws_of(candles: pd.DataFrame) -> list[list[Any]]:
    """The bars as a source gives them."""
    columns = [candles[name].tolist() for name in VALUE_COLUMNS]
    return [list(row) for row in zip(epoch_ms(candles).tolist(), *columns, strict=True)]


def write_candles(path: Path, candles: pd.DataFrame) -> None:
    """A .safetensors file for a replay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ohlcv = np.column_stack([candles[name].to_numpy() for name in VALUE_COLUMNS])
    save_file({"timestamps": epoch_ms(candles), "ohlcv": np.ascontiguousarray(ohlcv)}, path)


@dataclass
class ListSource:
    """Gives what it was given: the first `past` events of each symbol for the windows only, or as they are."""

    events: Sequence[Given | Trouble | ClockSkew | None]

    def bars(self, reached: Mapping[str, Reached], stop: Event) -> Iterator[Given | Trouble | ClockSkew | None]:
        yield from self.events


def given(raws: Sequence[object], *, past: int = 0, symbol: str = "BTC-USD") -> list[Given]:
    return [Given(symbol, raw, past=place < past) for place, raw in enumerate(raws)]


@dataclass
class Host:
    """A host folder."""

    folder: Path
    said: list[str] = field(default_factory=list)

    def release(self, bundle: Path, *, symbol: str = "BTC-USD", role: str = "current") -> str:
        """Copies the bundle there and links to it, as a deployment does."""
        release = self.folder / "releases" / symbol / bundle.name
        if not release.exists():
            shutil.copytree(bundle, release)
        link = self.folder / role / symbol
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(Path("..") / "releases" / symbol / bundle.name)
        return bundle.name

    def run(
        self,
        source: BarSource,
        *,
        symbols: Sequence[str] = ("BTC-USD",),
        mode: Mode = "replay",
        settings: SignalsSection = TALKATIVE,
        proposing: Proposing | None = None,
        clock: Any = lambda: NOW,
        mend: Callable[[Mapping[str, str | None]], None] = lambda _loaded: None,
        **runtime: Any,
    ) -> Health:
        """One process of the runtime from start to end; returns the last health that it wrote."""
        config = RuntimeConfig(signals=settings, runtime=RuntimeSection(**runtime))
        with RuntimeState.open(self.folder / "state" / "runtime.sqlite") as state:
            speaker = Speaker(self.folder, state, echo=lambda signal: self.said.append(signal.to_json()))
            engine = Engine(
                self.folder,
                config=config,
                symbols=symbols,
                source=source,
                state=state,
                speaker=speaker,
                mode=mode,
                propose=proposing or partial(propose, settings=settings),
                clock=clock,
                mend=mend,
            )
            engine.run(Event())
            speaker.close()
        health = read_health(self.folder)
        assert health is not None
        return health

    def signals(self) -> list[dict[str, Any]]:
        """What stands in signals.jsonl."""
        path = self.folder / "signals.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
