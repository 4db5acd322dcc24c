"""What a deployer and a host say to each other: one request on stdin, JSON lines on stdout.

Every line is an object with one key: `progress` (a sentence for people), `outcome` (what an activation or a return came
to) or `state` (what the host runs). Both sides refuse fields that they do not know: a deployer that is newer than the host
asks for its version first (`HostState`) and says which upgrade is missing.

What does not belong here: how the lines travel (models_lib.deployment.host_link).
"""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from models_lib.bundle.parsing import Sha256
from models_lib.config.sections import SymbolName
from models_lib.config.targets import WatchSection
from models_lib.holds import Hold
from models_lib.runtime.health import Health

PROTOCOL_VERSION = 1
BUSY = 75
"""Exit status of a host command that found another deployment at work (EX_TEMPFAIL of sysexits.h)."""

Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
FateName = Literal["deployed", "refused", "rolled_back", "unhealthy"]


class Message(BaseModel):
    """A frozen, closed piece of the conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Move(Message):
    """One symbol's change of release."""

    symbol: SymbolName
    bundle: Sha256 | None
    """What shall be current; None: nothing."""
    before: Sha256 | None
    """What was current when the move was planned."""
    judged_at: AwareDatetime | None = None
    """When the bundle was last found good: its days count from here. None keeps what its own facts say."""


class Service(Message):
    """How the runtime of the host is restarted and how its health is known."""

    restart: tuple[str, ...]
    """The command and its arguments."""
    restart_seconds: PositiveFloat
    """After which the command counts as failed."""
    health: tuple[str, ...] | None
    """A command that prints the runtime's health as JSON; None reads health.json of the folder."""
    health_seconds: PositiveFloat
    """After a restart the runtime must name its releases within this time."""


class Order(Message):
    """What is asked for."""

    token: Token
    """Names this attempt: its uploads lie in incoming/<token>, its outcome is kept under it."""
    who: str
    moves: Annotated[tuple[Move, ...], Field(min_length=1)]
    service: Service
    lock_seconds: Annotated[float, Field(ge=0.0)]
    """How long to wait for another deployment on the host."""

    @model_validator(mode="after")
    def _each_symbol_once(self) -> Self:
        if len({move.symbol for move in self.moves}) != len(self.moves):
            raise ValueError("a symbol may move once")
        return self


class Activation(Order):
    """Puts uploaded bundles to use."""

    kind: Literal["activation"] = "activation"
    watch: WatchSection
    keep_releases: PositiveInt


class Return(Order):
    """Makes earlier releases, which are still there, current again."""

    kind: Literal["return"] = "return"
    why: str


class Fate(Message):
    """What became of one symbol.

    deployed: it runs the new release. refused: nothing was moved. rolled_back: it was moved and runs what it ran before.
    unhealthy: the host does not answer for what it runs: a person must look.
    """

    symbol: SymbolName
    outcome: FateName
    release: Sha256 | None
    """What is current now."""
    reason: str
    """Why it is not deployed; empty when it is."""
    on_hold: bool = False
    """The symbol is on hold on the host: a person placed it, or a model broke a limit of the watch."""
    notes: tuple[str, ...] = ()
    """What was measured on the way."""


class Outcome(Message):
    """What an order came to, symbol by symbol; the last line of the host's answer and a line of its deployments.jsonl."""

    token: Token
    at: AwareDatetime
    who: str
    fates: tuple[Fate, ...]
    seconds: dict[str, float]
    """Duration of each step."""

    def of(self, symbol: str) -> Fate:
        """The symbol's fate."""
        return next(fate for fate in self.fates if fate.symbol == symbol)


class HostState(Message):
    """What the host is and runs."""

    protocol_version: PositiveInt = PROTOCOL_VERSION
    runtime_version: str
    schema_versions: tuple[int, ...]
    """Of bundle manifests that this host reads."""
    python: str
    free_bytes: int
    current: dict[SymbolName, Sha256]
    holds: tuple[Hold, ...]
    health: Health | None
    """As last written, however old; None: never, or not readable."""
    asked: Outcome | None = None
    """What the order that was asked about came to; None: it has not begun here, and will not."""
