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


class HostTargetSection(Section):
    """What the targets with a runtime of their own share."""

    restart: Command | None = None
    """Restarts the runtime on the host, for example `[systemctl, --user, restart, crpbot-runtime]`; null: the runtime
    sees the switch by itself and loads the new release."""
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
    """How a new release is followed after the switch. A breach puts the earlier release back and holds the symbol."""

    bars: PositiveInt = 3
    """The watch of a symbol ends after so many of its bars ..."""
    minutes: PositiveFloat = 10.0
    """... or after so many minutes, whichever comes first; fewer bars than `bars` are then told as such."""
    max_share_over_99: Share = 0.05
    """Largest share of predictions above 99 %. The poisoned legacy model was above 99 % nearly always."""
    class_share_low: Share = 0.0
    """Smallest share of each class; 0 judges nothing, because a quiet hour may have one class only."""
    class_share_high: Share = 1.0
    """Largest share of each class; 1 judges nothing."""
    min_bars_for_shares: PositiveInt = 240
    """Shares of fewer bars are not judged; the replay of the newest day on the host gives enough before the switch."""
    max_non_finite: Annotated[int, Field(ge=0)] = 0
    """Most predictions that are not finite numbers."""
    max_latency_ms: PositiveFloat = 1_000.0
    """Largest 99th percentile of the time from a bar to its decision, in milliseconds."""
    max_staleness_seconds: PositiveFloat = 300.0
    """Largest age of the newest bar in live mode."""
    max_errors: Annotated[int, Field(ge=0)] = 0
    """Most errors that the runtime counted for the symbol."""

    @model_validator(mode="after")
    def _shares_are_in_order(self) -> Self:
        if self.class_share_low > self.class_share_high:
            raise ValueError(
                f"class_share_low must not be above class_share_high, was {self.class_share_low:g} above "
                f"{self.class_share_high:g}"
            )
        return self
