"""`crpbot notify test`: one line a channel, and the exit status that a script acts on."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import cli
from tests.contracts.endpoints import CANARY, HttpEndpoint

EMAIL = "notifications.email={host: localhost, user: bot, sender: bot@here.test, recipients: [me@there.test]}"
Heard = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CRPBOT_SLACK_WEBHOOK_URL", "CRPBOT_SMTP_PASSWORD", "CRPBOT_APPRISE_URLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpEndpoint]:
    endpoint = HttpEndpoint("healthy")
    monkeypatch.setenv("CRPBOT_SLACK_WEBHOOK_URL", endpoint.url)
    yield endpoint
    endpoint.close()


def test_every_channel_works(slack: HttpEndpoint, capsys: Heard) -> None:
    assert cli.main(["notify", "test"]) == 0
    heard = capsys.readouterr()
    assert [line.split() for line in heard.out.splitlines()] == [["channel", "result", "why"], ["slack", "ok"]]
    assert heard.err == ""
    assert "this channel works" in slack.requests[0]["text"]


def test_each_test_is_a_message_of_its_own(slack: HttpEndpoint, capsys: Heard) -> None:
    messages = []
    for _ in range(2):
        assert cli.main(["notify", "test", "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["channels"] == {"slack": {"ok": True, "error": None}}
        messages.append(answer["message"])
    assert len(set(messages)) == len(slack.requests) == 2


def test_channel_that_fails_is_named_with_its_remedy_and_the_others_are_tried(
    slack: HttpEndpoint, capsys: Heard, home: Path
) -> None:
    assert cli.main(["notify", "test", "--set", EMAIL]) == 1
    heard = capsys.readouterr()
    assert "CRPBOT_SMTP_PASSWORD is not in the environment" in heard.out
    assert heard.err == "crpbot: not everybody would be told: email failed\n"
    assert len(slack.requests) == 1

    slack.mood = "failing"
    assert cli.main(["notify", "test", "--json"]) == 1
    heard = capsys.readouterr()
    assert json.loads(heard.out)["channels"]["slack"]["error"].startswith("the endpoint answers with status 500")
    assert CANARY not in heard.out + heard.err
    assert not home.exists(), "a test leaves nothing behind"


def test_no_channel_is_said_with_what_to_set(capsys: Heard) -> None:
    assert cli.main(["notify", "test"]) == 2
    heard = capsys.readouterr()
    assert heard.out == ""
    assert heard.err.startswith("crpbot: no channel is configured")


def test_configuration_is_read_as_everywhere(capsys: Heard, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("notifications: {slack: required}\n")
    assert cli.main(["notify", "test", "--config", str(tmp_path / "own.yaml")]) == 1
    assert "CRPBOT_SLACK_WEBHOOK_URL" in capsys.readouterr().out
    assert cli.main(["notify", "test", "--set", "notifications.colour=red"]) == 2
    assert "unknown key" in capsys.readouterr().err
