"""The dead-man switch: asked for once, quiet about its address, and never the reason for anything."""

import logging

import pytest

from models_lib.errors import ConfigError, CrpbotError, NotificationError, TransientError
from tasks.adapters.dead_man import DEAD_MAN_URL, ping
from tests.contracts.endpoints import CANARY, HttpEndpoint, Mood


def test_no_address_is_no_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DEAD_MAN_URL, raising=False)
    assert ping(1.0) is False


def test_switch_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = HttpEndpoint("healthy")
    monkeypatch.setenv(DEAD_MAN_URL, endpoint.url)
    try:
        assert ping(5.0) is True
    finally:
        endpoint.close()
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("mood", "kind"),
    [
        ("failing", TransientError),
        ("silent", TransientError),
        ("refusing", TransientError),
        ("forbidding", NotificationError),
    ],
)
def test_fault_is_an_error_without_the_address(
    mood: Mood, kind: type[CrpbotError], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint = HttpEndpoint(mood)
    monkeypatch.setenv(DEAD_MAN_URL, endpoint.url)
    try:
        with pytest.raises(kind) as raised:
            ping(0.3)
    finally:
        endpoint.close()
    assert CANARY not in repr(raised.value) + caplog.text
    assert raised.value.__context__ is None


@pytest.mark.parametrize("url", ["http://elsewhere.test/x", "file:///etc/passwd", "nonsense"])
def test_address_that_is_none_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEAD_MAN_URL, url)
    with pytest.raises(ConfigError, match=DEAD_MAN_URL):
        ping(1.0)
