"""The e-mail channel: SMTP with STARTTLS or TLS, and a server whose certificate is verified.

What does not belong here: waiting and trying again, which the outbox does.
"""

import contextlib
import logging
import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY

from models_lib.config import EmailSection
from models_lib.errors import ConfigError, NotificationError, TransientError
from models_lib.notifications import Notice
from tasks.adapters.addresses import connection_failure

log = logging.getLogger("models_lib.notifications")


class EmailNotifier:
    """Sends one message to all recipients.

    Args:
        section: server, sender and recipients.
        password: of the section's user, a secret; not used without a user.
        timeout_seconds: the longest silence of the server.

    Raises:
        ConfigError: the file of the certificate authority cannot be read.
    """

    name = "email"

    def __init__(self, section: EmailSection, password: str, *, timeout_seconds: float) -> None:
        self._section = section
        self._password = password
        self._timeout_seconds = timeout_seconds
        self._tls = _verifying(section) if section.security != "none" else None

    def send(self, notice: Notice) -> None:
        """Delivers to the server, as the protocol says; a copy sent again has the same Message-ID."""
        failure = self._failure(notice)
        if failure is not None:
            raise failure  # outside of any `except`, so that no context carries what the server was told

    def _failure(self, notice: Notice) -> TransientError | NotificationError | None:
        try:
            self._deliver(written(notice, self._section))
        except (OSError, smtplib.SMTPException, ValueError) as error:
            return _named(error)
        return None

    def _deliver(self, message: EmailMessage) -> None:
        server = self._connected()
        try:
            if self._section.user is not None:
                server.login(self._section.user, self._password)
            refused = server.send_message(message)
            # The message is taken: whatever happens while saying goodbye must not send it again.
            with contextlib.suppress(OSError):
                server.quit()
        finally:
            server.close()
        if refused:
            log.warning("the mail server refused %d of %d recipients", len(refused), len(self._section.recipients))

    def _connected(self) -> smtplib.SMTP:
        host, port, seconds = self._section.host, self._section.port, self._timeout_seconds
        if self._section.security == "tls":
            return smtplib.SMTP_SSL(host, port, timeout=seconds, context=self._tls)
        server = smtplib.SMTP(host, port, timeout=seconds)
        if self._section.security == "starttls":
            try:
                server.starttls(context=self._tls)
            except BaseException:
                server.close()
                raise
        return server


def written(notice: Notice, section: EmailSection) -> EmailMessage:
    """The message; its Message-ID comes from the notice, so that mail programs see a repeated one as the same."""
    message = EmailMessage(policy=SMTP_POLICY)
    message["Subject"] = f"[crpbot] {notice.title()}"
    message["From"] = section.sender
    message["To"] = ", ".join(section.recipients)
    message["Date"] = notice.time
    message["Message-ID"] = f"<{notice.id[:40]}@{section.sender.partition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(notice.text())
    return message


def _verifying(section: EmailSection) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=section.ca_file)
    except OSError as error:
        raise ConfigError(
            f"notifications.email.ca_file={section.ca_file}: cannot be read ({error.strerror or 'not a PEM file'}). "
            f"It must hold the certificate of the authority that signed the mail server's."
        ) from error


def _named(error: Exception) -> TransientError | NotificationError:
    """What a failed sending means. The server's own words are left out: some repeat what they were told."""
    match error:
        case smtplib.SMTPNotSupportedError():
            return NotificationError(
                "the mail server offers no STARTTLS or no log-in. Check notifications.email.port and security."
            )
        case smtplib.SMTPRecipientsRefused():
            return _by_code(max(code for code, _ in error.recipients.values()), "every recipient")
        case smtplib.SMTPAuthenticationError():
            return _by_code(error.smtp_code, "the log-in; check notifications.email.user and CRPBOT_SMTP_PASSWORD")
        case smtplib.SMTPResponseException():
            return _by_code(error.smtp_code, "the message")
        case _:
            return connection_failure(
                error,
                whom="the mail server",
                remedy="Set notifications.email.host to the name in the certificate, or ca_file to its authority.",
            )


def _by_code(code: int, what: str) -> TransientError | NotificationError:
    """SMTP: 4xx and a lost connection pass by themselves, 5xx do not."""
    said = f"the mail server refuses {what} (status {code})."
    return NotificationError(said) if code >= 500 else TransientError(said)
