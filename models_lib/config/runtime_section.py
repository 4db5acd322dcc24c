"""How a trading host runs: where its candles come from, how old they may be, where its health is served.

The host's operator owns this section; it lies in `runtime.yaml` beside the section `signals`.

What does not belong here: what a signal says and how it is sized (serving_sections.py).
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models_lib.config.section import PositiveFloat, PositiveInt, Section


class RuntimeSection(Section):
    """One process for all symbols of a host."""

    source: Literal["folder", "http", "exchange"] = "folder"
    """`folder` replays files; `http` asks a server for closed bars, `exchange` the section `exchange`: `--mode live` needs
    one of the two."""
    candles: Path | None = None
    """Folder with <SYMBOL>.parquet or <SYMBOL>.safetensors; null: `candles` in the host folder."""
    url: Annotated[str, Field(pattern=r"^https?://", max_length=500)] | None = None
    """Where the source `http` asks; required for it."""
    poll_seconds: Annotated[float, Field(ge=0.05, le=60.0)] = 5.0
    """Time between two questions to the source `http`; `exchange` is asked when a minute has closed."""
    request_timeout_seconds: Annotated[float, Field(gt=0.0, le=120.0)] = 10.0
    """How long one answer of the source `http` may take."""
    stale_after_seconds: PositiveFloat = 120.0
    """A bar that closed longer ago than this is too old to be spoken about; live mode only."""
    clock_tolerance_seconds: Annotated[float, Field(ge=0.0, le=60.0)] = 2.0
    """A bar that closes further than this in the future is refused; live mode only."""
    fill_no_trade_minutes: Annotated[int, Field(ge=0, le=60)] = 5
    """Longest run of missing minutes that is filled. For bundles whose run does not say its own
    `data.fill_no_trade_minutes`: the others are served as they were trained."""
    pace_seconds: Annotated[float, Field(ge=0.0, le=3600.0)] = 0.0
    """Time between two minutes of a replay; 0: as fast as possible."""
    newest_minutes: PositiveInt | None = None
    """Minutes at the end of the candles that a replay decides on; null: all of them."""
    health_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Port on 127.0.0.1 on which health.json is served as well; null: on none."""
    health_every_seconds: Annotated[float, Field(ge=0.0, le=60.0)] = 1.0
    """Least time between two writes of health.json while nothing but counts changes."""
    log_max_bytes: PositiveInt = 10 * 2**20
    """Size at which logs/runtime.jsonl is rotated."""
    log_keep: PositiveInt = 5
    """Rotated logs that are kept."""

    @model_validator(mode="after")
    def _url_goes_with_http(self) -> Self:
        if self.source == "http" and self.url is None:
            raise ValueError("runtime.url must be set when runtime.source is http: where candles are asked for")
        return self
