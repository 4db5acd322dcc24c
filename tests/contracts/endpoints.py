"""Real endpoints on loopback that people's messages go to, each in a mood that a test chooses and mends.

An endpoint starts in one mood; `mend` makes it healthy at the same address. What arrived is text for people.
"""

import asyncio
import base64
import contextlib
import datetime as dt
import email
import email.policy
import http.server
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from models_lib.config import EmailSection
from models_lib.errors import NotificationError, TransientError
from models_lib.notifications import Notice, Notifier
from tasks.adapters.apprise import AppriseNotifier
from tasks.adapters.email import EmailNotifier
from tasks.adapters.slack import SlackNotifier

Mood = Literal["healthy", "failing", "busy", "silent", "refusing", "untrusted", "forbidding"]
MOODS: tuple[Mood, ...] = ("failing", "busy", "silent", "refusing", "untrusted", "forbidding")
CANARY = "c4n4ry-Secret-Zx9"
SECRETS = (CANARY, base64.b64encode(CANARY.encode()).decode())
TIMEOUT_SECONDS = 0.4
RETRY_AFTER_SECONDS = 240


@dataclass(frozen=True)
class Authority:
    """A certificate authority of our own, and a server's certificate for localhost that it signed."""

    ca: Path
    server: ssl.SSLContext


def make_authority(folder: Path) -> Authority:
    now = dt.datetime.now(dt.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])

    def certificate(name: x509.Name, public: Any) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(ca_name).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=2))

    ca = (
        certificate(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    own = (
        certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), key.public_key())
        .add_extension(names, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "server.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()) + own.public_bytes(pem)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    return Authority(folder / "ca.pem", server)


def trust(authority: Authority, monkeypatch: Any) -> None:
    """What a machine does whose administrator installs the authority."""
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(variable, str(authority.ca))


class HttpEndpoint:
    """Takes JSON by POST at one secret path, and answers GET there.

    Args:
        mood: how it behaves until it is mended.
        tls: speaks HTTPS with this.
    """

    def __init__(self, mood: Mood, tls: ssl.SSLContext | None = None) -> None:
        self.mood = mood
        self.requests: list[dict[str, Any]] = []
        self.came = threading.Event()
        self.go_on = threading.Event()
        self._closed = threading.Event()
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                endpoint.answer(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def do_GET(self) -> None:
                endpoint.answer(self, {})

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self._server.daemon_threads = True
        if tls is not None:
            # The handshake belongs to the request's thread: a client that breaks it off must not end the server.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._server.server_bind()
        self.scheme = "http" if tls is None else "https"
        self.port = self._server.server_address[1]
        self.url = f"{self.scheme}://localhost:{self.port}/hook/{CANARY}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        if mood != "refusing":
            self._listen()

    def _listen(self) -> None:
        self._server.server_activate()
        self._thread.start()

    def mend(self) -> None:
        if not self._thread.is_alive():
            self._listen()
        self.mood = "healthy"

    def answer(self, handler: http.server.BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        headers: dict[str, str] = {}
        match self.mood:
            case "failing":
                status, said = 500, f"crashed at {handler.path}"
            case "busy":
                status, said, headers = 429, "rate_limited", {"Retry-After": str(RETRY_AFTER_SECONDS)}
            case "forbidding":
                status, said = 404, f"{handler.path} was not found"
            case "silent":
                self._closed.wait(60)
                return
            case _ if CANARY not in handler.path:
                status, said = 403, "invalid_token"
            case _:
                status, said = 200, "ok"
                self.requests.append(body)
                self.came.set()
                self.go_on.wait(0 if self.mood == "healthy" else 60)
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(said)))
        handler.end_headers()
        handler.wfile.write(said.encode())

    def close(self) -> None:
        self._closed.set()
        self.go_on.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class SmtpEndpoint:
    """Takes mail from one user with one password, after STARTTLS alone."""

    def __init__(self, mood: Mood, tls: ssl.SSLContext) -> None:
        self.mood = mood
        self.messages: list[email.message.EmailMessage] = []
        self._closed = asyncio.Event()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        reserved = self._socket

        class OnReservedPort(Controller):
            def _create_server(self) -> Any:
                return self.loop.create_server(self._factory_invoker, sock=reserved)

        self._controller = OnReservedPort(
            self,
            hostname="127.0.0.1",
            port=self.port,
            tls_context=tls,
            require_starttls=True,
            auth_required=True,
            authenticator=self._authenticate,
            ready_timeout=20,
        )
        self._listening = False
        if mood != "refusing":
            self._listen()

    def _listen(self) -> None:
        self._controller.start()
        self._listening = True

    def _authenticate(self, _server: Any, _session: Any, _envelope: Any, mechanism: str, data: Any) -> AuthResult:
        right = mechanism in ("LOGIN", "PLAIN") and (data.login, data.password) == (b"bot", CANARY.encode())
        # handled=False, or the server sends no 535 and the client waits for ever.
        return AuthResult(success=right and self.mood != "forbidding", handled=False)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        match self.mood:
            case "failing":
                return "451 4.3.0 out of order"
            case "busy":
                return "450 4.7.1 greylisted, try again later"
            case "silent":
                await self._closed.wait()
                return "421 4.3.2 closing"
            case _:
                message = email.message_from_bytes(envelope.content, policy=email.policy.default)
                assert isinstance(message, email.message.EmailMessage)
                self.messages.append(message)
                return "250 OK"

    def mend(self) -> None:
        self.mood = "healthy"
        if not self._listening:
            self._listen()

    def close(self) -> None:
        if self._listening:
            self._controller.loop.call_soon_threadsafe(self._closed.set)
            self._controller.stop()
        else:
            self._controller.loop.close()
        self._socket.close()


class SlackChannel:
    """Slack's form of message to a real HTTP server."""

    kind = "slack"
    refusals: tuple[Mood, ...] = ("forbidding", "untrusted")

    def __init__(self, mood: Mood, authority: Authority) -> None:
        self.endpoint = HttpEndpoint(mood, authority.server if mood == "untrusted" else None)

    def notifier(self) -> Notifier:
        return SlackNotifier(self.endpoint.url, timeout_seconds=TIMEOUT_SECONDS)

    def arrived(self) -> list[str]:
        return [json.dumps(body, ensure_ascii=False) for body in self.endpoint.requests]


class AppriseChannel(SlackChannel):
    """Apprise's JSON plug-in to a real HTTP server."""

    kind = "apprise"
    refusals = ()  # it says no to everything in the same way

    def notifier(self) -> Notifier:
        scheme = "json" if self.endpoint.scheme == "http" else "jsons"
        address = f"{scheme}://bot:{CANARY}@localhost:{self.endpoint.port}/hook/{CANARY}"
        return AppriseNotifier("apprise-1", address, timeout_seconds=TIMEOUT_SECONDS)


class EmailChannel:
    """SMTP with STARTTLS and AUTH to a real server."""

    kind = "email"
    refusals: tuple[Mood, ...] = ("forbidding", "untrusted")

    def __init__(self, mood: Mood, authority: Authority) -> None:
        self.endpoint = SmtpEndpoint(mood, authority.server)

    def notifier(self) -> Notifier:
        section = EmailSection(
            host="localhost", port=self.endpoint.port, user="bot", sender="bot@here.test", recipients=("me@there.test",)
        )
        return EmailNotifier(section, CANARY, timeout_seconds=TIMEOUT_SECONDS)

    def arrived(self) -> list[str]:
        return [f"{message['Subject']}\n{message.get_content()}" for message in self.endpoint.messages]


@dataclass
class MemoryEndpoint:
    """Keeps in memory what it takes."""

    mood: Mood
    taken: list[Notice] = field(default_factory=list)

    def mend(self) -> None:
        self.mood = "healthy"

    def close(self) -> None:
        """Nothing is open."""


class MemoryChannel:
    """The fake that the outbox is tested with; as a notifier it behaves as the real ones do."""

    kind = "memory"
    name = "memory"
    refusals: tuple[Mood, ...] = ("forbidding", "untrusted")

    def __init__(self, mood: Mood = "healthy", _authority: Authority | None = None) -> None:
        self.endpoint = MemoryEndpoint(mood)
        self.calls = 0

    def notifier(self) -> Notifier:
        return self

    def arrived(self) -> list[str]:
        return [f"{notice.title()}\n{notice.text()}" for notice in self.endpoint.taken]

    def send(self, notice: Notice) -> None:
        self.calls += 1
        match self.endpoint.mood:
            case "healthy":
                self.endpoint.taken.append(notice)
            case "busy":
                raise TransientError("busy", retry_after_seconds=RETRY_AFTER_SECONDS)
            case "untrusted" | "forbidding" as mood:
                raise NotificationError(mood)
            case mood:
                raise TransientError(mood)


Channel = SlackChannel | EmailChannel | AppriseChannel | MemoryChannel
CHANNELS: dict[str, type[Channel]] = {
    kind.kind: kind for kind in (SlackChannel, EmailChannel, AppriseChannel, MemoryChannel)
}


@contextlib.contextmanager
def opened(kind: str, mood: Mood, authority: Authority) -> Iterator[Channel]:
    channel = CHANNELS[kind](mood, authority)
    try:
        yield channel
    finally:
        channel.endpoint.close()
