"""Where releases are deployed to, and how a new one is watched: the sections of the deployment's targets.

A target is one of three kinds, told apart by `kind`. Secrets are not here: SSH's key is a file, and its passphrase, if it
has one, comes from the environment (CRPBOT_SSH_KEY_PASSPHRASE).

What does not belong here: connecting, deploying and watching.
"""

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from models_lib.config.section import PositiveFloat, PositiveInt, Section, Share

Command = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
"""A program and its arguments, each a string of its own; no shell reads them."""


def _absolute(path: PurePosixPath) -> PurePosixPath:
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError(f"must be an absolute path without .., was {path}: the host has no working folder or ~ here")
    return path


def _on_this_machine(path: Path) -> Path:
    return path.expanduser().absolute()


HostFolder = Annotated[PurePosixPath, AfterValidator(_absolute)]


class FolderTargetSection(Section):
    """Releases in a folder of this machine, which some runtime reads by itself."""

    kind: Literal["folder"]
    """Tells this kind from the others."""
    folder: Annotated[Path, AfterValidator(_on_this_machine)]
    """Where the releases lie."""

    @property
    def where(self) -> str:
        """What tells this place from every other, whatever it is called."""
        return str(self.folder)


class HostTargetSection(Section):
    """What the targets with a runtime of their own share."""

    restart: Command | None = None
    """Restarts the runtime, for example `[systemctl, --user, restart, crpbot-runtime]`; null: the releases answer the
    newest hours of the host's candles once, and the runtime ends."""
    health_command: Command | None = None
    """Prints the runtime's health as JSON on the host; null: its file health.json is read."""
    command_timeout_seconds: PositiveFloat = 120.0
    """Longest time of one command on the host. Loading a bundle and replaying its golden vectors takes seconds; the
    first time on a host the feature kernels are compiled."""
    transfer_timeout_seconds: PositiveFloat = 300.0
    """Longest time to bring one symbol's bundle (about 0.3 MB; 100 MB take 2 s on a local network)."""
    health_timeout_seconds: PositiveFloat = 60.0
    """From the restart until the runtime must be ready and name the new release."""


class LocalTargetSection(HostTargetSection):
    """A folder and a runtime of this machine; the steps are those of a host far away."""

    kind: Literal["local"]
    """Tells this kind from the others."""
    folder: Annotated[Path, AfterValidator(_on_this_machine)] | None = None
    """The runtime's folder; null: `host` in the state folder."""
    runtime_command: Command | None = None
    """The host's program; null: the runtime of this very installation."""

    @property
    def where(self) -> str:
        """What tells this place from every other, whatever it is called."""
        return str(self.folder or "host in the state folder")


class SshTargetSection(HostTargetSection):
    """A trading host behind SSH. Only keys are used, and only hosts whose key is known are spoken to."""

    kind: Literal["ssh"]
    """Tells this kind from the others."""
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]*$", max_length=253)]
    """Name or address."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 22
    """Port of its SSH server."""
    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=64)]
    """Who deploys there: an account of its own, not root."""
    key_file: Annotated[Path, AfterValidator(_on_this_machine)]
    """Private key of that account, on this machine."""
    known_hosts: Annotated[Path, AfterValidator(_on_this_machine)]
    """File with the host's public key, as `ssh-keyscan -p PORT HOST` prints it; compare it with the host's own first."""
    folder: HostFolder
    """The runtime's folder on the host."""
    runtime_command: Command = ("crpbot-runtime",)
    """The host's program. A shell that is not a log-in shell may not find it by name: then give its absolute path."""
    upgrade_hint: str = "install the newer crpbot-runtime on the host with its install script, then deploy again"
    """What a person is told when the host's runtime is too old for the bundle."""
    connect_timeout_seconds: PositiveFloat = 15.0
    """From the first packet until the log-in is done."""
    silence_limit_seconds: PositiveFloat = 20.0
    """A connection on which the host answers nothing for so long, not even keep-alives, is given up."""

    @property
    def where(self) -> str:
        """What tells this place from every other, whatever it is called."""
        return f"{self.host}:{self.port}{self.folder}"


def _kind(value: Any) -> Any:
    return value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)


# pydantic takes no plain name here, because every field of a section is looked at before it is typed.
TargetSection = Annotated[
    Annotated[FolderTargetSection, Tag("folder")]
    | Annotated[LocalTargetSection, Tag("local")]
    | Annotated[SshTargetSection, Tag("ssh")],
    Discriminator(
        _kind,
        custom_error_type="kind",
        custom_error_message="must have a `kind` that is folder, local or ssh",
    ),
]
"""One target of `deployment.targets`."""


class WatchSection(Section):
    """How a new release is judged by its answers: of the newest day before the switch, of the first bars after it.

    A breach keeps it out, or puts the earlier release back, and puts the symbol on hold. Bars that are too old put the
    earlier release back and nothing on hold: the model is not to blame.
    """

    rehearsal_minutes: Annotated[int, Field(ge=0)] = 1_440
    """Newest minutes that the host has the new release answer before the switch; 0: none, which the record says."""
    bars: Annotated[int, Field(ge=0)] = 3
    """The watch of a symbol ends after so many of its bars ..."""
    minutes: PositiveFloat = 10.0
    """... or after so many minutes, whichever comes first; fewer bars than `bars` are then told as such. When one
    symbol goes back, the others are watched anew."""
    max_share_over_99: Share = 0.30
    """Largest share of answers above 99 %; three such answers at least. The gate's 10 % is of weeks: on single days of 50
    real ones honest models had up to 14.7 %. The broken generations had 99 to 100 %."""
    class_share_low: Share = 0.0
    """Smallest share of each class."""
    class_share_high: Share = 0.95
    """Largest share of each class. The gate's 60 % is of weeks: a single day may trend."""
    class_shares_from: PositiveInt = 720
    """Class shares of fewer answers are not judged: an honest model says UP for an hour when the market rises for one."""
    max_non_finite: Annotated[int, Field(ge=0)] = 0
    """Most answers that are not finite numbers."""
    max_errors: Annotated[int, Field(ge=0)] = 0
    """Most bars that ended in an error; trouble of the source or of a shadow is none."""
    max_latency_ms: PositiveFloat = 1_000.0
    """Largest median time that a bar takes, in milliseconds."""
    max_bar_age_seconds: PositiveFloat = 300.0
    """Largest age of the newest bar in live mode."""

    @model_validator(mode="after")
    def _shares_are_in_order(self) -> Self:
        if self.class_share_low > self.class_share_high:
            raise ValueError(
                f"class_share_low must not be above class_share_high, was {self.class_share_low:g} above "
                f"{self.class_share_high:g}"
            )
        return self
