"""The e-mail channel's own: the message itself, the server's certificate, and goodbyes that must not send twice."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from models_lib.config import EmailSection
from models_lib.errors import ConfigError, NotificationError, TransientError
from models_lib.notifications import Notice
from tasks.adapters.email import EmailNotifier, written
from tests.contracts.endpoints import CANARY, TIMEOUT_SECONDS, Authority, SmtpEndpoint
from tests.ports import free_port

NOW = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)


def section(**changes: Any) -> EmailSection:
    return EmailSection.model_validate(
        {"host": "localhost", "user": "bot", "sender": "bot@here.test", "recipients": ["a@there.test"]} | changes
    )


def notice(**changes: Any) -> Notice:
    return Notice.model_validate(
        {"event": "held", "run_id": "r1", "symbol": "BTC-USD", "reason": "why", "time": NOW} | changes
    )


def test_message_has_what_mail_programs_ask_for() -> None:
    message = written(notice(), section(recipients=["a@there.test", "b@there.test"]))
    assert message["Subject"] == "[crpbot] BTC-USD held: why"
    assert (message["From"], message["To"]) == ("bot@here.test", "a@there.test, b@there.test")
    assert message["Date"].datetime == NOW
    assert message["Auto-Submitted"] == "auto-generated"


def test_repeated_message_has_the_same_message_id() -> None:
    once, again = written(notice(), section()), written(notice(reason="other words"), section())
    assert once["Message-ID"] == again["Message-ID"] == f"<{notice().id[:40]}@here.test>"
    assert written(notice(symbol="ETH-USD"), section())["Message-ID"] != once["Message-ID"]


def test_reason_adds_no_header() -> None:
    message = written(notice(reason="why\r\nBcc: all@there.test\n\nbody", symbol="X\rBcc: y@z.test"), section())
    assert message["Bcc"] is None
    assert "\n" not in message["Subject"]


def test_any_language_and_any_length_of_line_arrives(authority: Authority) -> None:
    endpoint = SmtpEndpoint("healthy", authority.server)
    reason = "größer als 日本 🙂 " + "x" * 3_000
    try:
        mail = section(port=endpoint.port, ca_file=authority.ca)
        EmailNotifier(mail, CANARY, timeout_seconds=5).send(notice(reason=reason))
    finally:
        endpoint.close()
    (message,) = endpoint.messages
    assert reason in message.get_content()


class Farewell(SmtpEndpoint):
    """Takes the message and is silent after it."""

    async def handle_QUIT(self, *_: Any) -> str:  # noqa: N802 - aiosmtpd's name
        await self._closed.wait()
        return "221 bye"


def test_server_that_is_silent_after_taking_the_message_has_taken_it(authority: Authority) -> None:
    endpoint = Farewell("healthy", authority.server)
    try:
        mail = section(port=endpoint.port, ca_file=authority.ca)
        EmailNotifier(mail, CANARY, timeout_seconds=TIMEOUT_SECONDS).send(notice())
    finally:
        endpoint.close()
    assert len(endpoint.messages) == 1


class Choosy(SmtpEndpoint):
    """Refuses recipients that are not at there.test."""

    status = "550"

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        await asyncio.sleep(0)
        if not address.endswith("@there.test"):
            return f"{self.status} no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"


def test_one_refused_recipient_is_a_warning(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = Choosy("healthy", authority.server)
    try:
        mail = section(port=endpoint.port, ca_file=authority.ca, recipients=["a@there.test", "b@nowhere.test"])
        EmailNotifier(mail, CANARY, timeout_seconds=5).send(notice())
    finally:
        endpoint.close()
    assert len(endpoint.messages) == 1
    assert "refused 1 of 2 recipients" in caplog.text


@pytest.mark.parametrize(("status", "kind"), [("550", NotificationError), ("450", TransientError)])
def test_every_recipient_refused_is_an_error(status: str, kind: type[Exception], authority: Authority) -> None:
    endpoint = Choosy("healthy", authority.server)
    endpoint.status = status
    try:
        mail = section(port=endpoint.port, ca_file=authority.ca, recipients=["b@nowhere.test"])
        with pytest.raises(kind, match=f"every recipient .status {status}"):
            EmailNotifier(mail, CANARY, timeout_seconds=5).send(notice())
    finally:
        endpoint.close()


def test_certificate_for_another_name_is_refused_before_the_password_is_sent(authority: Authority) -> None:
    endpoint = SmtpEndpoint("healthy", authority.server)
    asked: list[object] = []
    endpoint._controller.SMTP_kwargs["authenticator"] = lambda *said: asked.append(said)
    try:
        mail = section(host="127.0.0.1", port=endpoint.port, ca_file=authority.ca)
        with pytest.raises(NotificationError, match=r"certificate that is not trusted .*127\.0\.0\.1"):
            EmailNotifier(mail, CANARY, timeout_seconds=5).send(notice())
    finally:
        endpoint.close()
    assert asked == []
    assert endpoint.messages == []


def test_server_without_starttls_gets_no_password() -> None:
    from aiosmtpd.controller import Controller  # noqa: PLC0415 - a server without any certificate, for this test alone

    class Plain:
        taken = 0

        async def handle_DATA(self, *_: Any) -> str:  # noqa: N802 - aiosmtpd's name
            self.taken += 1
            return "250 OK"

    handler = Plain()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port(), ready_timeout=20)
    controller.start()
    try:
        mail = section(port=controller.port)
        with pytest.raises(NotificationError, match="no STARTTLS"):
            EmailNotifier(mail, CANARY, timeout_seconds=5).send(notice())
        EmailNotifier(section(port=controller.port, security="none", user=None), "", timeout_seconds=5).send(notice())
    finally:
        controller.stop()
    assert handler.taken == 1


def test_authority_that_cannot_be_read_is_named(tmp_path: Any) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    for name, fact in (("absent.pem", "No such file"), ("junk.pem", "ca_file")):
        with pytest.raises(ConfigError, match=fact):
            EmailNotifier(section(ca_file=tmp_path / name), CANARY, timeout_seconds=1)
