"""One notice's file in the outbox: how far each channel is with it, and how it is written, moved and locked.

What does not belong here: deciding what is sent when (outbox.py).
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from models_lib import locks
from models_lib.files import fsync_folder, write_json
from models_lib.notifications.message import Notice

LOCK_SECONDS = 60.0
"""Another process delivers for so long only when endpoints are slow; what it leaves is delivered later."""


class ChannelState(BaseModel):
    """How far one channel is with one notice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["pending", "sent", "given_up"] = "pending"
    attempts: int = 0
    last_error: str | None = None
    not_before: AwareDatetime | None = None
    channel_closed: bool = False
    """Whether the endpoint asked for the pause itself; then it holds for everything on this channel."""
    changed_at: AwareDatetime | None = None


class Entry(BaseModel):
    """One file of the outbox."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    notice: Notice
    posted_at: AwareDatetime
    channels: dict[str, ChannelState]

    def with_state(self, channel: str, state: ChannelState) -> "Entry":
        """A copy in which the channel has this state."""
        return self.model_copy(update={"channels": {**self.channels, channel: state}})

    def waits_for(self, channel: str) -> bool:
        """Whether the channel has not taken it yet."""
        return channel in self.channels and self.channels[channel].state == "pending"


def is_known(outbox: Path, name: str) -> bool:
    """Whether the notice was posted before; looked for in the order in which a file moves on."""
    return any((outbox / folder / f"{name}.json").exists() for folder in ("pending", "sent", "undelivered"))


def write(path: Path, entry: Entry) -> None:
    """Writes the entry, whole or not at all."""
    write_json(path, entry.model_dump(mode="json"))


def move(path: Path, to: Path) -> None:
    """Moves a file to another folder of the outbox, durably."""
    to.parent.mkdir(exist_ok=True)
    path.rename(to)
    fsync_folder(to.parent)
    fsync_folder(path.parent)


def locked(path: Path) -> AbstractContextManager[None]:
    """Holds the flock on `path`; a TransientError when another process holds it for LOCK_SECONDS."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = f"{path}: another process has held it for {LOCK_SECONDS:g} s. Its messages come first."
    return locks.locked(path, within_seconds=LOCK_SECONDS, otherwise=held)
