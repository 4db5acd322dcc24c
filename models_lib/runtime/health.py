"""health.json: how the runtime stands, for whoever watches it: the deployment, `crpbot status`, a person.

It is replaced in one step, so a reader sees one whole state. The same JSON can be asked for on 127.0.0.1.

What does not belong here: counting (tally.py) and judging (the watch of a deployment).
"""

import contextlib
import http.server
import os
import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError

from models_lib.bundle.layout import READABLE_VERSIONS
from models_lib.errors import ConfigError
from models_lib.locks import is_held

HEALTH_FILE = "health.json"
LOCK_FILE = "state/runtime.lock"
"""The one runtime of a folder holds the flock on it for as long as it lives, however it ends."""
_POLL_SECONDS = 0.1
"""How soon the server notices that it shall close."""
Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Latency(_Part):
    """Milliseconds from a bar's arrival until all is done with it, over the newest bars that were predicted.

    Features, answer, shadow, decision and record are in it, and so are scoring and speaking; how long a channel takes is not.
    """

    median: FiniteFloat | None = None
    """None: nothing was predicted."""
    p99: FiniteFloat | None = None


class ShadowDifference(_Part):
    """How a candidate that runs beside the champion without speaking differs from it."""

    bars: Count
    """Bars that both predicted."""
    agreement: FiniteFloat
    """Share of them with the same likeliest class."""
    mean_abs_dp: FiniteFloat
    """Mean over bars and classes of the size of the difference in probability."""


class ChannelHealth(_Part):
    """How a channel stands, over all signals that it was to be told."""

    sent: int = 0
    waiting: int = 0
    missed: int = 0
    given_up: int = 0
    last_error: str | None = None


class SymbolHealth(_Part):
    """How one symbol stands; counts are since the start of the process."""

    bundle: str | None
    """Hash of the loaded bundle; None: none could be loaded, and `last_error` says why."""
    shadow: str | None
    """Hash of the candidate beside it."""
    last_bar_at: AwareDatetime | None
    """Open time of the newest bar."""
    bar_age_seconds: FiniteFloat | None
    """Time from that bar's close to the writing of this."""
    bars: Count
    """Bars that were decided on."""
    predictions: Count
    signals: Count
    refusals: dict[str, Count]
    """How often, by kind (refusal.py). Bad candles count here, each time that they come, and not as bars."""
    last_refusal: str | None
    classes: dict[Literal["DOWN", "NEUTRAL", "UP"], Count]
    """Likeliest class of each prediction."""
    over_99: Count
    """Predictions above 99 %."""
    non_finite: Count
    """Predictions that were no numbers."""
    errors: Count
    """Faults of any kind: of this program, of the source, of the shadow. Bars that ended in one are `refusals["error"]`."""
    last_error: str | None
    filled_minutes: Count
    """Minutes without trades that were filled."""
    latency_ms: Latency
    live: dict[str, JsonValue] | None
    """Accuracy, ECE and edge of what was said of bars after the bundle's own data, beside its test figures."""
    live_line: str | None = None
    """The same in a line for people; None: no bar was scored yet."""
    shadow_difference: ShadowDifference | None

    def sentence(self) -> str:
        """How much it did since its start, for people."""
        silent = ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.refusals.items()))
        return f"{self.bars:,} bars, {self.signals:,} signals; silent: {silent or 'never'}{self.shadow_sentence()}"

    def shadow_sentence(self) -> str:
        """How a shadow differs, to follow another sentence; empty without one."""
        apart = self.shadow_difference
        if self.shadow is None:
            return ""
        if apart is None:
            return f"; shadow {self.shadow[:12]}: nothing compared yet"
        said = f"agrees in {apart.agreement:.1%} of {apart.bars:,} bars, mean difference {apart.mean_abs_dp:.3f}"
        return f"; shadow {self.shadow[:12]} {said}"


class Health(_Part):
    """How the runtime stands."""

    runtime_version: str
    schema_versions: tuple[int, ...] = READABLE_VERSIONS
    """Of bundles that this runtime reads."""
    mode: Literal["replay", "live"]
    pid: int
    started_at: AwareDatetime
    written_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    """When the process came to its end; None while it runs, and after a kill."""
    ready: bool
    """Bundles are loaded and every symbol with one has its window."""
    last_error: str | None
    """The newest error of any symbol."""
    symbols: dict[str, SymbolHealth]
    channels: dict[str, ChannelHealth] = {}
    """Who is told besides signals.jsonl."""
    exchange_clock_skew_ms: FiniteFloat | None = None
    """The exchange's clock minus this host's: positive where the host is behind; None: its source has no clock."""
    exchange_clock_uncertain_ms: FiniteFloat | None = None
    """The skew is known to within so much."""
    exchange_clock_measured_at: AwareDatetime | None = None
    clock_warning: str | None = None
    """Why this host's clock must be set right; None: it is, as far as is known."""


def runtime_version() -> str:
    """Version of the installed distribution: of the runtime's own, or of the whole."""
    for distribution in ("crpbot-runtime", "crpbot-training"):
        with contextlib.suppress(PackageNotFoundError):
            return version(distribution)
    return "0"


def read_health(folder: Path) -> Health | None:
    """The newest health of a host folder; None when there is none, or none of this version: nobody is known to run."""
    try:
        return Health.model_validate_json((folder / HEALTH_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def runtime_lives(folder: Path) -> bool:
    """Whether a runtime serves the host folder now, whatever its health file says."""
    return is_held(folder / LOCK_FILE)


def write_health(folder: Path, health: Health) -> bytes:
    """Replaces health.json and returns its content. Not synced to the disk: after a loss of power it is written anew."""
    content = (health.model_dump_json(indent=2) + "\n").encode()
    fresh = folder / f".{HEALTH_FILE}.{os.getpid()}.partial"
    fresh.write_bytes(content)
    fresh.replace(folder / HEALTH_FILE)
    return content


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Says nothing: a client that went away is its own affair."""


class HealthServer:
    """Serves the newest health on 127.0.0.1 while it is open.

    Args:
        port: of the loopback interface.
        content: gives the JSON.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(self, port: int, content: Callable[[], bytes]) -> None:
        class Answer(http.server.BaseHTTPRequestHandler):
            timeout = 5  # of a client that connects and says nothing

            def do_GET(self) -> None:
                body = content()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Says nothing: each look at the health would be a line."""

        try:
            self._server = _Server(("127.0.0.1", port), Answer)
        except OSError as error:
            raise ConfigError(
                f"port {port} on 127.0.0.1 cannot be used for the health ({error.strerror}). Choose another runtime.health_port."
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="health", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends serving and waits for that."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
