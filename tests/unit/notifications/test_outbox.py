"""The outbox: what was posted is sent once, whatever the channels, the files and the clock do."""

import json
import logging
import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_lib.errors import NotificationError, TransientError
from models_lib.notifications import DeliveryReport, Notice, Notifier, deliver, post
from models_lib.notifications.outbox import KEPT_DAYS
from models_lib.notifications.sending import send_now, send_without_record
from tests.contracts.endpoints import MOODS, RETRY_AFTER_SECONDS, MemoryChannel, Mood

NOW = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def notices(*symbols: str) -> list[Notice]:
    return [Notice(event="held", run_id="r1", symbol=symbol, reason=f"why {symbol}", time=NOW) for symbol in symbols]


class Named(MemoryChannel):
    """A fake under another name."""

    def __init__(self, name: str, mood: Mood = "healthy") -> None:
        super().__init__(mood)
        self.name = name

    @property
    def symbols(self) -> list[str | None]:
        return [notice.symbol for notice in self.endpoint.taken]


def files(home: Path, folder: str) -> list[Path]:
    return sorted((home / "outbox" / folder).glob("*.json"))


def state(home: Path, channel: str, folder: str = "pending") -> dict[str, object]:
    (path,) = files(home, folder)
    found: dict[str, object] = json.loads(path.read_bytes())["channels"][channel]
    return found


def test_posted_twice_is_sent_once(tmp_path: Path) -> None:
    slack = Named("slack")
    assert post(tmp_path, [*notices("A"), *notices("A")], ["slack"], now=NOW) == 1
    other_words = notices("A")[0].model_copy(update={"reason": "other words"})
    assert post(tmp_path, [other_words], ["slack"], now=NOW) == 0
    assert deliver(tmp_path, [slack], NOW) == DeliveryReport(sent=1)
    assert post(tmp_path, notices("A"), ["slack"], now=NOW + DAY) == 0
    assert deliver(tmp_path, [slack], NOW + DAY) == DeliveryReport()
    assert slack.symbols == ["A"]
    assert (len(files(tmp_path, "pending")), len(files(tmp_path, "sent"))) == (0, 1)


def test_messages_come_in_the_order_in_which_they_were_posted(tmp_path: Path) -> None:
    slack = Named("slack")
    post(tmp_path, notices("D", "A", "C"), ["slack"], now=NOW)
    post(tmp_path, notices("B"), ["slack"], now=NOW + MINUTE)
    deliver(tmp_path, [slack], NOW + HOUR)
    assert slack.symbols == ["D", "A", "C", "B"]


def test_without_a_channel_nothing_is_kept(tmp_path: Path) -> None:
    assert post(tmp_path, notices("A"), [], now=NOW) == 0
    assert deliver(tmp_path, [Named("slack")], NOW) == DeliveryReport()
    assert list(tmp_path.iterdir()) == []


def test_channel_that_took_the_message_is_not_asked_again_for_the_others_sake(tmp_path: Path) -> None:
    slack, mail = Named("slack"), Named("email", "failing")
    post(tmp_path, notices("A"), ["slack", "email"], now=NOW)
    report = deliver(tmp_path, [slack, mail], NOW)
    assert (report.sent, report.waiting) == (1, 1)
    mail.endpoint.mend()
    assert deliver(tmp_path, [slack, mail], NOW + HOUR).sent == 1
    assert (slack.symbols, mail.symbols) == (["A"], ["A"])


def test_dead_channel_is_asked_once_a_delivery_and_the_other_gets_all(tmp_path: Path) -> None:
    slack, mail = Named("slack", "silent"), Named("email")
    post(tmp_path, notices("A", "B", "C"), ["slack", "email"], now=NOW)
    report = deliver(tmp_path, [slack, mail], NOW)
    assert (slack.calls, mail.symbols) == (1, ["A", "B", "C"])
    assert (report.sent, report.waiting, report.failures) == (3, 3, ("slack: silent",))


def test_message_that_is_refused_does_not_keep_the_next_from_being_sent(tmp_path: Path) -> None:
    class Picky(Named):
        def send(self, notice: Notice) -> None:
            if notice.symbol == "A":
                raise NotificationError("malformed")
            super().send(notice)

    slack = Picky("slack")
    post(tmp_path, notices("A", "B"), ["slack"], now=NOW)
    assert deliver(tmp_path, [slack], NOW).sent == 0
    assert deliver(tmp_path, [slack], NOW + MINUTE).sent == 1
    assert slack.symbols == ["B"]


def attempts_at(home: Path, channel: Named, minutes: int) -> list[int]:
    """Minutes, of so many with a delivery each, in which the channel was asked."""
    asked = []
    for minute in range(minutes):
        before = channel.calls
        deliver(home, [channel], NOW + minute * MINUTE)
        asked += [minute] * (channel.calls - before)
    return asked


def test_pauses_double_from_a_minute_to_an_hour(tmp_path: Path) -> None:
    post(tmp_path, notices("A"), ["slack"], now=NOW)
    assert attempts_at(tmp_path, Named("slack", "failing"), 200) == [0, 1, 3, 7, 15, 31, 63, 123, 183]


def test_refusal_is_tried_again_after_six_hours(tmp_path: Path) -> None:
    post(tmp_path, notices("A"), ["slack"], now=NOW)
    assert attempts_at(tmp_path, Named("slack", "forbidding"), 365) == [0, 360]


def test_pause_that_the_endpoint_names_holds_for_all_of_its_messages(tmp_path: Path) -> None:
    slack, mail = Named("slack", "busy"), Named("email")
    post(tmp_path, notices("A", "B"), ["slack", "email"], now=NOW)
    deliver(tmp_path, [slack, mail], NOW)
    slack.endpoint.mend()
    post(tmp_path, notices("C"), ["slack", "email"], now=NOW + MINUTE)
    wait = timedelta(seconds=RETRY_AFTER_SECONDS)
    assert deliver(tmp_path, [slack, mail], NOW + wait - timedelta(seconds=1)).sent == 1
    assert (slack.symbols, mail.symbols) == ([], ["A", "B", "C"])
    deliver(tmp_path, [slack, mail], NOW + wait)
    assert slack.symbols == ["A", "B", "C"]


def test_nobody_can_ask_for_more_than_a_day(tmp_path: Path) -> None:
    class Greedy(Named):
        def send(self, notice: Notice) -> None:
            self.calls += 1
            raise TransientError("wait for ever", retry_after_seconds=1e300)

    post(tmp_path, notices("A"), ["slack"], now=NOW)
    deliver(tmp_path, [Greedy("slack")], NOW)
    assert deliver(tmp_path, [Named("slack")], NOW + DAY).sent == 1


def test_pause_noted_by_a_clock_that_was_years_ahead_silences_nobody(tmp_path: Path) -> None:
    slack = Named("slack", "busy")
    post(tmp_path, notices("A"), ["slack"], now=NOW)
    deliver(tmp_path, [slack], NOW + 2_000 * DAY, give_up_days=36_500)
    slack.endpoint.mend()
    assert deliver(tmp_path, [slack], NOW).sent == 1


def test_attempt_is_noted_as_failed_before_it_is_made(tmp_path: Path) -> None:
    """A process that dies in every attempt must not send at every start."""

    class Dying(Named):
        def send(self, notice: Notice) -> None:
            seen.update(state(tmp_path, "slack"))
            super().send(notice)

    seen: dict[str, object] = {}
    post(tmp_path, notices("A"), ["slack"], now=NOW)
    deliver(tmp_path, [Dying("slack")], NOW)
    assert (seen["state"], seen["attempts"]) == ("pending", 1)
    assert datetime.fromisoformat(str(seen["not_before"])) == NOW + MINUTE
    assert "may come twice" in str(seen["last_error"])
    assert state(tmp_path, "slack", "sent")["last_error"] is None


def test_given_up_after_the_days_kept_aside_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    slack, mail = Named("slack", "failing"), Named("email")
    post(tmp_path, notices("A"), ["slack", "email"], now=NOW)
    deliver(tmp_path, [slack, mail], NOW, give_up_days=2)
    assert deliver(tmp_path, [slack, mail], NOW + 2 * DAY, give_up_days=2).waiting == 1
    report = deliver(tmp_path, [slack, mail], NOW + 2 * DAY + MINUTE, give_up_days=2)
    assert (report.given_up, report.waiting) == (1, 0)
    assert state(tmp_path, "slack", "undelivered")["last_error"] == "failing"
    assert state(tmp_path, "email", "undelivered")["state"] == "sent"
    assert "never told on slack: A held: why A (failing)" in caplog.text
    slack.endpoint.mend()
    post(tmp_path, notices("A"), ["slack", "email"], now=NOW + 3 * DAY)
    deliver(tmp_path, [slack, mail], NOW + 3 * DAY)
    assert slack.symbols == []


def test_message_is_tried_before_it_is_given_up(tmp_path: Path) -> None:
    """The machine was off for a month."""
    slack = Named("slack")
    post(tmp_path, notices("A"), ["slack"], now=NOW)
    assert deliver(tmp_path, [slack], NOW + 30 * DAY).sent == 1


def test_message_waits_for_a_channel_that_cannot_be_opened_yet(tmp_path: Path) -> None:
    post(tmp_path, notices("A", "B"), ["slack"], now=NOW)
    assert deliver(tmp_path, [], NOW + DAY).waiting == 2
    slack = Named("slack")
    deliver(tmp_path, [slack], NOW + DAY)
    assert slack.symbols == ["A", "B"]
    post(tmp_path, notices("C"), ["gone"], now=NOW)
    assert deliver(tmp_path, [slack], NOW + 8 * DAY).given_up == 1


@pytest.mark.parametrize("content", [b"", b"{", b'{"notice": 1}', b"\xff\xfe", None, b"other"], ids=repr)
def test_damaged_file_is_put_aside_and_the_others_are_sent(
    content: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slack = Named("slack")
    post(tmp_path, notices("A", "B"), ["slack"], now=NOW)
    victim = tmp_path / "outbox" / "pending" / f"{notices('A')[0].id}.json"
    if content == b"other":  # a whole file under another's name
        content = victim.with_name(f"{notices('B')[0].id}.json").read_bytes()
    victim.unlink()
    if content is None:
        victim.mkdir()
    else:
        victim.write_bytes(content)
    report = deliver(tmp_path, [slack], NOW)
    assert (report.damaged, report.sent) == (1, 1)
    assert slack.symbols == ["B"]
    assert (tmp_path / "outbox" / "damaged" / victim.name).exists()
    assert victim.name in caplog.text
    assert deliver(tmp_path, [slack], NOW) == DeliveryReport()


def test_damaged_file_that_cannot_be_moved_keeps_nothing_else_from_being_sent(tmp_path: Path) -> None:
    slack = Named("slack")
    post(tmp_path, notices("A"), ["slack"], now=NOW)
    (tmp_path / "outbox" / "damaged").write_text("in the way")
    (tmp_path / "outbox" / "pending" / "x.json").write_text("{")
    report = deliver(tmp_path, [slack], NOW)
    assert (report.damaged, report.sent) == (1, 1)


def test_fault_of_a_channel_silences_no_other_and_its_words_are_not_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Named):
        def send(self, notice: Notice) -> None:
            raise KeyError("https://hooks.test/s3cret")

    mail = Named("email")
    caplog.set_level(logging.DEBUG)
    post(tmp_path, notices("A"), ["slack", "email"], now=NOW)
    report = deliver(tmp_path, [Faulty("slack"), mail], NOW)
    assert mail.symbols == ["A"]
    assert "unexpected KeyError" in report.failures[0]
    assert "s3cret" not in caplog.text + repr(report) + repr(state(tmp_path, "slack"))


def test_sending_that_never_ends_is_left_to_itself(tmp_path: Path) -> None:
    over = threading.Event()

    class Endless(Named):
        def send(self, notice: Notice) -> None:
            over.wait(30)

    mail = Named("email")
    post(tmp_path, notices("A"), ["slack", "email"], now=NOW)
    report = deliver(tmp_path, [Endless("slack"), mail], NOW, send_seconds=0.05)
    over.set()
    assert mail.symbols == ["A"]
    assert report.failures == ("slack: the endpoint was not done after 0.05 s.",)
    assert (report.sent, report.waiting) == (1, 1)


def test_threads_that_deliver_at_once_send_once(tmp_path: Path) -> None:
    slack = Named("slack")
    post(tmp_path, notices(*"ABCDEFGH"), ["slack"], now=NOW)
    together = threading.Barrier(4)

    def work() -> None:
        together.wait(60)
        post(tmp_path, notices(*"ABCDEFGHIJ"), ["slack"], now=NOW)
        deliver(tmp_path, [slack], NOW)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, slack.symbols)) == list("ABCDEFGHIJ")


def test_old_records_and_half_written_files_go(tmp_path: Path) -> None:
    slack = Named("slack")
    post(tmp_path, notices("A", "B"), ["slack"], now=NOW)
    deliver(tmp_path, [slack], NOW)
    old, young = files(tmp_path, "sent")
    partial = tmp_path / "outbox" / "pending" / ".x.json.1-ab.partial"
    partial.write_bytes(b"{")
    for path, age in ((old, (KEPT_DAYS + 1) * DAY), (young, (KEPT_DAYS - 1) * DAY), (partial, 2 * DAY)):
        os.utime(path, times=((NOW - age).timestamp(),) * 2)
    deliver(tmp_path, [slack], NOW)
    assert files(tmp_path, "sent") == [young]
    assert not partial.exists()


def test_outbox_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("not a folder")
    with pytest.raises(FileExistsError, match="outbox"):
        post(tmp_path, notices("A"), ["slack"], now=NOW)
    assert deliver(tmp_path, [Named("slack")], NOW) == DeliveryReport()


def test_folder_that_is_lost_while_delivering_is_said_and_nothing_is_sent(tmp_path: Path) -> None:
    """What cannot be noted is not sent: it would be sent again and again."""
    post(tmp_path, notices("A"), ["slack"], now=NOW)
    slack = Named("slack")

    class Vandal(Named):
        def send(self, notice: Notice) -> None:
            (path,) = files(tmp_path, "pending")
            path.parent.rename(tmp_path / "elsewhere")
            path.parent.write_text("not a folder")

    report = deliver(tmp_path, [Vandal("slack"), slack], NOW)
    assert slack.calls == 0
    assert "cannot be used" in report.failures[0]


def test_without_a_record_each_channel_is_asked_until_it_fails() -> None:
    slack, mail = Named("slack", "failing"), Named("email")
    report = send_without_record([slack, mail], notices("A", "B"))
    assert (slack.calls, mail.symbols) == (1, ["A", "B"])
    assert report == DeliveryReport(sent=2, failures=("slack: failing",))


def test_sent_now_says_why_not() -> None:
    (notice,) = notices("A")
    assert send_now(Named("slack"), notice) is None
    assert str(send_now(Named("slack", "failing"), notice)) == "failing"


STEPS = st.lists(st.tuples(st.sampled_from(("healthy", *MOODS)), st.integers(0, 400)), max_size=6)


@settings(max_examples=10, deadline=None)
@given(first=STEPS, second=STEPS)
def test_whatever_the_channels_do_each_gets_every_message_once(
    first: Sequence[tuple[Mood, int]], second: Sequence[tuple[Mood, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    channels: list[Named] = [Named("slack"), Named("email")]
    notifiers: list[Notifier] = list(channels)
    now = NOW
    post(home, notices("A", "B"), ["slack", "email"], now=now)
    for step in range(max(len(first), len(second))):
        for channel, moods in zip(channels, (first, second), strict=True):
            channel.endpoint.mood = moods[step][0] if step < len(moods) else "healthy"
        now += (first[step : step + 1] or second[step : step + 1])[0][1] * MINUTE
        post(home, notices("A", "B"), ["slack", "email"], now=now)
        deliver(home, notifiers, now, give_up_days=100)
    for channel in channels:
        channel.endpoint.mend()
    report = deliver(home, notifiers, now + DAY, give_up_days=100)
    assert report.waiting == 0
    assert [sorted(map(str, channel.symbols)) for channel in channels] == [["A", "B"], ["A", "B"]]
