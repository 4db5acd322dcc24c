"""The outbox: notices on disk until every channel has taken them, so that a dead endpoint loses nothing.

    outbox/pending/<id>.json       some channel has not taken it yet
    outbox/sent/<id>.json          every channel has; kept as the record against sending the same notice again
    outbox/undelivered/<id>.json   some channel has not within the limit of days; for a person to read
    outbox/damaged/                what could not be read, as it was found
    outbox/*.lock                  flocks; the kernel frees them when their holder dies, however it dies

A file only ever moves downwards in this list. A notice is posted once, by its `id`, and sent by one process at a time.

**At least once.** Between an endpoint's taking a message and the note of it here, a process can be killed; the message
is then sent again. That is bounded: an attempt is noted as failed, with its pause, before it is made, so that even a
process that dies in every attempt sends no more often than the pauses allow; and a repeated message carries the same
`Message-ID` (e-mail) or the same short id in its text.

What does not belong here: how a message looks, and anything that opens a connection.
"""

import contextlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from models_lib.attempts import SEND_SECONDS
from models_lib.errors import CrpbotError, TransientError
from models_lib.notifications.entries import ChannelState, Entry, is_known, locked, move, write
from models_lib.notifications.message import Notice
from models_lib.notifications.notifier import Notifier
from models_lib.notifications.sending import DeliveryReport, send_now

KEPT_DAYS = 90.0
"""Sent and undelivered notices are kept so long: no run posts the same notice again after that."""
LONGEST_PAUSE = timedelta(hours=24)
"""Whoever asks for a longer pause gets this one; and a pause that ends later was written by a clock that was wrong."""
_FIRST_PAUSE, _LONGEST_TRANSIENT_PAUSE = timedelta(minutes=1), timedelta(hours=1)
_REFUSED_PAUSE = timedelta(hours=6)

log = logging.getLogger(__name__)


def post(home: Path, notices: Sequence[Notice], channels: Sequence[str], *, now: datetime | None = None) -> int:
    """Puts notices into the outbox and returns how many were new; what was posted before is not posted again.

    Args:
        home: the state folder.
        notices: what to tell.
        channels: names of the channels that shall take them; without any, there is nobody to tell and nothing is kept.
        now: the time, for the limit of days; None is the clock's.

    Raises:
        OSError: the outbox cannot be written, as on a full disk.
        TransientError: another process has been posting for a minute.
    """
    if not notices or not channels:
        return 0
    outbox = home / "outbox"
    states = {channel: ChannelState() for channel in channels}
    posted_at = now or datetime.now(UTC)
    with locked(outbox / "post.lock"):
        fresh = [notice for notice in notices if not is_known(outbox, notice.id)]
        for order, notice in enumerate({notice.id: notice for notice in fresh}.values()):
            # A microsecond apart, so that they are told in the order in which they were given.
            entry = Entry(notice=notice, posted_at=posted_at + timedelta(microseconds=order), channels=states)
            write(outbox / "pending" / f"{notice.id}.json", entry)
    return len({notice.id for notice in fresh})


def deliver(
    home: Path,
    notifiers: Sequence[Notifier],
    now: datetime,
    *,
    give_up_days: float = 7.0,
    send_seconds: float = SEND_SECONDS,
) -> DeliveryReport:
    """Sends what is due, oldest first, and says what came of it; endpoints and damaged files never raise.

    A channel that fails is left alone until the next delivery, so that a dead one costs one time-out. The pause before
    a message's next attempt doubles from a minute to an hour; after a refusal it is six hours; an endpoint that names a
    pause gets it, for all of its messages.

    Args:
        home: the state folder.
        notifiers: the channels that can send now. Notices for others wait for them.
        now: the aware time.
        give_up_days: after so long, what was tried in vain is set aside in outbox/undelivered.
        send_seconds: the hard limit for one message.
    """
    outbox = home / "outbox"
    if not (outbox / "pending").is_dir():
        return DeliveryReport()
    try:
        with locked(outbox / "deliver.lock"):
            return _Delivery(outbox, now, send_seconds).run(notifiers, timedelta(days=give_up_days))
    except TransientError as error:
        log.info("%s", error)
        return DeliveryReport(busy=True)
    except OSError as error:
        log.warning("%s: the outbox cannot be used (%s); its messages wait.", outbox, error.strerror)
        return DeliveryReport(failures=(f"the outbox cannot be used ({error.strerror})",))


class _Delivery:
    """One pass over the outbox, by the holder of the lock."""

    def __init__(self, outbox: Path, now: datetime, send_seconds: float) -> None:
        self._outbox = outbox
        self._now = now
        self._send_seconds = send_seconds
        self._entries: dict[Path, Entry] = {}
        self._sent = self._given_up = self._damaged = 0
        self._failures: list[str] = []

    def run(self, notifiers: Sequence[Notifier], give_up_after: timedelta) -> DeliveryReport:
        self._read()
        for notifier in notifiers:
            self._send_due(notifier)
        self._settle({notifier.name for notifier in notifiers}, give_up_after)
        self._prune()
        waiting = sum(state.state == "pending" for entry in self._entries.values() for state in entry.channels.values())
        return DeliveryReport(
            sent=self._sent,
            waiting=waiting,
            given_up=self._given_up,
            damaged=self._damaged,
            failures=tuple(self._failures),
        )

    def _read(self) -> None:
        found: dict[Path, Entry] = {}
        for path in (self._outbox / "pending").glob("*.json"):
            try:
                entry = Entry.model_validate_json(path.read_bytes())
            except (ValidationError, OSError):
                self._put_aside(path)
                continue
            if entry.notice.id != path.stem:
                self._put_aside(path)
                continue
            found[path] = entry
        self._entries = dict(sorted(found.items(), key=lambda item: item[1].posted_at))

    def _put_aside(self, path: Path) -> None:
        aside = self._outbox / "damaged"
        with contextlib.suppress(OSError):  # what cannot even be moved stays, and is named at every delivery
            move(path, aside / path.name)
        self._damaged += 1
        log.warning("%s: this message cannot be read, so it was not sent; it belongs into %s.", path, aside)

    def _send_due(self, notifier: Notifier) -> None:
        """Sends what is due on one channel, until one message fails."""
        waiting = {path: entry for path, entry in self._entries.items() if entry.waits_for(notifier.name)}
        states = [entry.channels[notifier.name] for entry in waiting.values()]
        if any(state.channel_closed and self._pauses(state) for state in states):
            return
        for path, entry in waiting.items():
            if self._pauses(entry.channels[notifier.name]):
                continue
            failure = self._send(path, entry, notifier)
            if failure is not None:
                log.warning("not told on %s: %s (%s) It waits.", notifier.name, entry.notice.title(), failure)
                self._failures.append(f"{notifier.name}: {failure}")
                return
            self._sent += 1

    def _pauses(self, state: ChannelState) -> bool:
        return state.not_before is not None and self._now < state.not_before <= self._now + LONGEST_PAUSE

    def _send(self, path: Path, entry: Entry, notifier: Notifier) -> CrpbotError | None:
        """Notes a failed attempt, makes the attempt, notes what came of it; the failure, if it was one."""
        before = entry.channels[notifier.name]
        attempt = ChannelState(
            attempts=before.attempts + 1,
            last_error="the process ended while it was sending, so this message may come twice",
            not_before=self._now + _pause(before.attempts),
            changed_at=self._now,
        )
        self._note(path, notifier.name, attempt)
        failure = send_now(notifier, entry.notice, seconds=self._send_seconds)
        self._note(path, notifier.name, self._after(attempt, failure))
        return failure

    def _after(self, attempt: ChannelState, failure: CrpbotError | None) -> ChannelState:
        match failure:
            case None:
                return attempt.model_copy(update={"state": "sent", "last_error": None, "not_before": None})
            case TransientError(retry_after_seconds=float() | int() as asked):
                pause = min(timedelta(seconds=min(asked, LONGEST_PAUSE.total_seconds())), LONGEST_PAUSE)
                changes = {"not_before": self._now + pause, "channel_closed": True}
            case TransientError():
                changes = {}
            case _:
                changes = {"not_before": self._now + _REFUSED_PAUSE}
        return attempt.model_copy(update={"last_error": str(failure), **changes})

    def _note(self, path: Path, channel: str, state: ChannelState) -> None:
        entry = self._entries[path].with_state(channel, state)
        write(path, entry)
        self._entries[path] = entry

    def _settle(self, configured: set[str], give_up_after: timedelta) -> None:
        """Gives up what is too old, and moves on what nobody waits for any more."""
        for path, entry in list(self._entries.items()):
            if self._now - entry.posted_at > give_up_after:
                self._give_up(path, configured)
            states = {state.state for state in self._entries[path].channels.values()}
            if "pending" not in states:
                move(path, self._outbox / ("undelivered" if "given_up" in states else "sent") / path.name)

    def _give_up(self, path: Path, configured: set[str]) -> None:
        entry = self._entries[path]
        for channel, state in entry.channels.items():
            if state.state == "pending" and (state.attempts or channel not in configured):
                reason = state.last_error or "the channel is not configured"
                self._note(path, channel, state.model_copy(update={"state": "given_up", "last_error": reason}))
                self._given_up += 1
                log.warning("never told on %s: %s (%s)", channel, entry.notice.title(), reason)

    def _prune(self) -> None:
        """Removes the records that are older than KEPT_DAYS, and what killed processes left half-written."""
        limits = {"sent/*.json": KEPT_DAYS, "undelivered/*.json": KEPT_DAYS, "pending/.*.partial": 1.0}
        for pattern, days in limits.items():
            oldest = (self._now - timedelta(days=days)).timestamp()
            for path in self._outbox.glob(pattern):
                with contextlib.suppress(FileNotFoundError):  # a post finishes its file meanwhile
                    if path.stat().st_mtime < oldest:
                        path.unlink()


def _pause(earlier_attempts: int) -> timedelta:
    """The pause after a failed attempt that had so many before it: 1, 2, 4 ... 60 minutes."""
    return min(_FIRST_PAUSE * (1 << min(earlier_attempts, 10)), _LONGEST_TRANSIENT_PAUSE)
