"""Which channels the configuration and the environment open, and that telling people never fails anything."""

import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from models_lib.config import RunConfig, load_config
from models_lib.errors import ConfigError
from models_lib.notifications import Notice, post
from models_lib.steps.plan import plan_run
from tasks.adapters.channels import channel_names, open_channels
from tasks.adapters.dead_man import DEAD_MAN_URL
from tests.contracts.endpoints import CANARY, HttpEndpoint

NOW = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
EMAIL = "notifications.email={host: localhost, port: 1, user: bot, sender: bot@here.test, recipients: [me@there.test]}"


@pytest.fixture(autouse=True)
def _no_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CRPBOT_SLACK_WEBHOOK_URL", "CRPBOT_SMTP_PASSWORD", "CRPBOT_APPRISE_URLS", DEAD_MAN_URL):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpEndpoint]:
    """A healthy endpoint that the environment names."""
    endpoint = HttpEndpoint("healthy")
    monkeypatch.setenv("CRPBOT_SLACK_WEBHOOK_URL", endpoint.url)
    yield endpoint
    endpoint.close()


@pytest.fixture
def notify() -> ModuleType:
    """Imported before the test begins: Prefect sets logging up anew, and takes pytest's eyes away."""
    import tasks.notify

    return tasks.notify


def section(*settings: str) -> Any:
    return load_config(None, settings).notifications


def notices(*symbols: str, event: str = "held") -> list[Notice]:
    return [
        Notice.model_validate({"event": event, "run_id": "r1", "symbol": symbol, "reason": "why", "time": NOW})
        for symbol in symbols
    ]


def heard(endpoint: HttpEndpoint) -> list[str]:
    return [body["text"] for body in endpoint.requests]


def test_nothing_set_is_no_channel() -> None:
    assert channel_names(section()) == ()


def test_each_secret_and_each_address_is_a_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRPBOT_SLACK_WEBHOOK_URL", " https://hooks.slack.com/services/x\n")
    monkeypatch.setenv("CRPBOT_APPRISE_URLS", "json://a/x  ntfy://b\nnonsense")
    monkeypatch.setenv("CRPBOT_SMTP_PASSWORD", CANARY)
    names = ("slack", "email", "apprise-1", "apprise-2", "apprise-3")
    assert channel_names(section(EMAIL)) == names
    opened = open_channels(section(EMAIL))
    assert {name: getattr(channel, "name", channel) for name, channel in opened.items()} == {n: n for n in names}
    assert channel_names(section("notifications.slack=never")) == names[2:]


@pytest.mark.parametrize(
    ("settings", "channel", "variable"),
    [
        (["notifications.slack=required"], "slack", "CRPBOT_SLACK_WEBHOOK_URL"),
        ([EMAIL], "email", "CRPBOT_SMTP_PASSWORD"),
    ],
)
def test_channel_without_its_secret_counts_and_names_the_remedy(
    settings: list[str], channel: str, variable: str, notify: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    assert channel_names(section(*settings)) == (channel,)
    (fault,) = open_channels(section(*settings)).values()
    assert isinstance(fault, ConfigError)
    assert variable in str(fault)
    assert notify.ready_notifiers(section(*settings)) == []
    assert f"nothing can be told on {channel}" in caplog.text


def test_message_waits_for_the_secret_of_its_channel(notify: ModuleType, tmp_path: Path, monkeypatch: Any) -> None:
    required = section("notifications.slack=required")
    assert notify.tell_now(tmp_path, required, notices("A")).waiting == 1
    endpoint = HttpEndpoint("healthy")
    monkeypatch.setenv("CRPBOT_SLACK_WEBHOOK_URL", endpoint.url)
    try:
        assert notify.deliver_pending(tmp_path, required).sent == 1
    finally:
        endpoint.close()
    assert heard(endpoint) == ["A held: why"]


def test_only_wanted_events_are_told(slack: HttpEndpoint, notify: ModuleType, tmp_path: Path) -> None:
    told = [*notices("A"), *notices("B", event="failed"), *notices("C", event="started")]
    notify.tell_now(tmp_path, section("notifications.events=[failed, started]"), told)
    assert heard(slack) == ["B failed: why", "C started: why"]
    notify.tell_now(tmp_path, section("notifications.events=[]"), notices("D"))
    assert len(heard(slack)) == 2


def test_started_and_progress_are_told_only_when_asked_for() -> None:
    assert {"started", "progress"}.isdisjoint(RunConfig().notifications.events)
    assert len(RunConfig().notifications.events) == 14


def test_what_waited_is_told_together_with_the_new(slack: HttpEndpoint, notify: ModuleType, tmp_path: Path) -> None:
    post(tmp_path, notices("A"), ["slack"])
    assert notify.tell_now(tmp_path, section(), notices("B")).sent == 2
    assert notify.tell_now(tmp_path, section(), notices("A", "B")).sent == 0
    assert heard(slack) == ["A held: why", "B held: why"]


def test_outbox_that_cannot_be_written_keeps_nobody_in_the_dark(
    slack: HttpEndpoint, notify: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "outbox").write_text("in the way")
    (old,), (new,) = notices("A"), notices("B")
    new = new.model_copy(update={"time": datetime.now(UTC)})
    report = notify.tell_now(tmp_path, section(), [old, new])
    assert report.sent == 1, "the older one was sent by whoever asked when it was new"
    assert heard(slack) == ["B held: why"]
    assert "without a record" in caplog.text


def test_dead_man_that_cannot_be_asked_is_a_warning(
    notify: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert notify
    from tasks.dead_man import ping_dead_man

    plan = plan_run(RunConfig(), home=tmp_path, symbols=None, who="test", now=NOW)
    monkeypatch.setenv(DEAD_MAN_URL, f"http://elsewhere.test/{CANARY}")
    assert ping_dead_man.fn(plan) is False
    assert "the dead-man switch was not told" in caplog.text
    assert CANARY not in caplog.text
    monkeypatch.delenv(DEAD_MAN_URL)
    assert ping_dead_man.fn(plan) is False


@pytest.mark.parametrize(
    "setting",
    [
        f"notifications.slack=https://hooks.slack.com/{CANARY}",
        f"notifications.slack_webhook_url=https://hooks.slack.com/{CANARY}",
        f"notifications.email.password={CANARY}",
        f"notifications.email.host=smtp://bot:{CANARY}@host",
    ],
)
def test_secret_in_the_configuration_is_refused_with_the_remedy_and_not_repeated(setting: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(None, [EMAIL, setting])
    assert "CRPBOT_S" in str(refused.value)
    assert CANARY not in "".join(traceback.format_exception(refused.value)), "also with --debug"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"security": "none"}, "in clear"),
        ({"recipients": "[]"}, "at least 1 item"),
        ({"sender": "nobody"}, "email.sender"),
        ({"recipients": "['Me <me@there.test>']"}, "email.recipients"),
        ({"host": "'a b'"}, "email.host"),
        ({"port": "0"}, "email.port"),
    ],
)
def test_email_settings_that_cannot_work_are_refused(changes: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(None, [EMAIL, *(f"notifications.email.{key}={value}" for key, value in changes.items())])
