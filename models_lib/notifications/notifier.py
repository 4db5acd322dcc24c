"""What a channel must do for the outbox: send one notice now, or say why not.

What does not belong here: any real channel (tasks/adapters), and trying again (outbox.py).
"""

from typing import Protocol

from models_lib.notifications.message import Notice


class Notifier(Protocol):
    """One way to reach people.

    `send` starts with a notice that this channel may have sent before (after a crash, the outbox cannot know), and ends
    when the other side has taken it, or with one of two errors. It tries once and waits no longer than its time-out;
    trying again is the outbox's business. Neither its errors nor its log records hold the channel's secrets: they
    are written into the outbox and read by people.
    """

    @property
    def name(self) -> str:
        """The channel's name, under which the outbox keeps its state; the same in every process."""
        ...

    def send(self, notice: Notice) -> None:
        """Hands the notice over.

        Raises:
            TransientError: this may pass by itself; `retry_after_seconds` where the other side asked for a pause.
            NotificationError: a person must mend the channel, or the endpoint refuses this notice.
        """
        ...
