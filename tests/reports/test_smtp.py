from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from reports.smtp import Account, Outcome, _dotted, send

MESSAGE = b"Subject: hello\r\nFrom: a@x.example\r\n\r\nfirst\r\n.second line begins with a dot\r\n"


class Inbox:
    """Takes every mail, unless told to answer otherwise at some step."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.mails: list[Envelope] = []
        self.cut_after_data = False

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802  aiosmtpd's name
        del server, session, options
        if "RCPT" in self.answers and ("only" not in self.answers or address == self.answers["only"]):
            return self.answers["RCPT"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802  aiosmtpd's name
        del server, session
        envelope.mail_from, envelope.mail_options = address, options
        return self.answers.get("MAIL", "250 OK")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd's name
        del session
        if self.cut_after_data:
            transport = server.transport
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
            await asyncio.sleep(0.05)
        self.mails.append(envelope)
        return self.answers.get("DATA", "250 OK")


def check_password(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any) -> AuthResult:
    del server, session, envelope, mechanism
    good = isinstance(given, LoginPassword) and (given.login, given.password) == (b"crew", b"right")
    return AuthResult(success=good, handled=False)


@contextmanager
def serving(inbox: Inbox, **options: Any) -> Iterator[int]:
    """A real SMTP server on a free port of loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    controller = Controller(inbox, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def account(port: int, **changes: Any) -> Account:
    values: dict[str, Any] = {"host": "127.0.0.1", "port": port, "security": "none", "timeout_s": 5.0, "reply_timeout_s": 5.0}
    return Account(**(values | changes))


def to_server(inbox: Inbox, *, tls: ssl.SSLContext | None = None, options: dict[str, Any] | None = None, **changes: Any) -> Any:
    with serving(inbox, **(options or {})) as port:
        return send(MESSAGE, "a@x.example", ["b@y.example", "c@y.example"], account(port, **changes), tls=tls)


def test_delivered_as_it_was_written() -> None:
    inbox = Inbox()
    assert to_server(inbox).outcome is Outcome.DELIVERED
    assert inbox.mails[0].content == MESSAGE
    assert inbox.mails[0].rcpt_tos == ["b@y.example", "c@y.example"]
    assert inbox.mails[0].mail_from == "a@x.example"


@pytest.mark.parametrize("raw", [b"a\n.b", b"a\r\n..\r\n", b".\n.", b"\r\n.\r\nMAIL FROM:<x@y>", b"a\rb"])
def test_dots_and_line_ends_never_end_the_mail_early(raw: bytes) -> None:
    sent = _dotted(raw)
    assert b"\r\n.\r\n" not in b"\r\n" + sent
    assert sent.endswith(b"\r\n")
    inbox = Inbox()
    with serving(inbox) as port:
        assert send(raw, "a@x.example", ["b@y.example"], account(port)).outcome is Outcome.DELIVERED
    assert len(inbox.mails) == 1


@pytest.mark.parametrize(
    ("answers", "outcome", "words"),
    [
        ({"MAIL": "550 no such sender"}, Outcome.REFUSED, "sender: 550 no such sender"),
        ({"MAIL": "451 come later"}, Outcome.RETRY, "451 come later"),
        ({"RCPT": "550 unknown user"}, Outcome.REFUSED, "all recipients: 550 unknown user"),
        ({"RCPT": "450 greylisted"}, Outcome.RETRY, "greylisted"),
        ({"DATA": "554 looks like spam"}, Outcome.REFUSED, "554 looks like spam"),
        ({"DATA": "452 disk full"}, Outcome.RETRY, "452 disk full"),
        ({"DATA": "552 5.2.2 over quota"}, Outcome.RETRY, "552 5.2.2 over quota"),
        ({"RCPT": "552 5.2.2 mailbox full"}, Outcome.RETRY, "552 5.2.2 mailbox full"),
        ({"DATA": "552 5.2.3 message too long"}, Outcome.REFUSED, "552 5.2.3"),
    ],
)
def test_refusals_by_the_servers_own_code(answers: dict[str, str], outcome: Outcome, words: str) -> None:
    delivery = to_server(Inbox(**answers))
    assert delivery.outcome is outcome
    assert words in delivery.detail


def test_one_wrong_recipient_does_not_keep_the_mail_from_the_other() -> None:
    inbox = Inbox(RCPT="550 unknown user", only="b@y.example")
    delivery = to_server(inbox)
    assert delivery.outcome is Outcome.DELIVERED
    assert delivery.refused == ("b@y.example",)
    assert "b@y.example (550 unknown user)" in delivery.detail
    assert inbox.mails[0].rcpt_tos == ["c@y.example"]


def test_lost_after_data_is_unknown() -> None:
    inbox = Inbox()
    inbox.cut_after_data = True
    delivery = to_server(inbox)
    assert delivery.outcome is Outcome.UNKNOWN
    assert "lost after the mail had been sent" in delivery.detail


def test_a_silent_server_after_data_is_unknown_too() -> None:
    class Silent(Inbox):
        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd's name
            await asyncio.sleep(1)
            return await super().handle_DATA(server, session, envelope)

    assert to_server(Silent(), reply_timeout_s=0.2).outcome is Outcome.UNKNOWN


def test_nobody_listening_is_tried_again() -> None:
    with serving(Inbox()) as port:
        pass
    delivery = send(MESSAGE, "a@x.example", ["b@y.example"], account(port))
    assert delivery.outcome is Outcome.RETRY
    assert "no connection" in delivery.detail


def test_a_server_that_hangs_up_at_once_is_tried_again() -> None:
    async def hang_up(reader: Any, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.close()

    assert in_loop(hang_up).outcome is Outcome.RETRY


def test_a_server_that_says_421_is_tried_again() -> None:
    async def busy(reader: Any, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(b"421 too busy\r\n")
        await writer.drain()
        writer.close()

    assert in_loop(busy).outcome is Outcome.RETRY


def in_loop(handler: Callable[[Any, asyncio.StreamWriter], Any]) -> Any:
    async def run() -> Any:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await asyncio.to_thread(send, MESSAGE, "a@x.example", ["b@y.example"], account(port))

    return asyncio.run(run())


@pytest.mark.parametrize("bad", ["a b@x", "a@x>\r\nRCPT TO:<v@y", "a@x\n", "täst@x.example", ""])
def test_envelope_injection_never_reaches_the_server(bad: str) -> None:
    inbox = Inbox()
    with serving(inbox) as port:
        assert send(MESSAGE, "a@x.example", [bad], account(port)).outcome is Outcome.REFUSED
        assert send(MESSAGE, bad, ["b@y.example"], account(port)).outcome is Outcome.REFUSED
    assert inbox.mails == []


LOGIN = {"authenticator": check_password, "auth_required": True, "auth_require_tls": False}


@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")
def test_logging_in() -> None:
    inbox = Inbox()
    assert to_server(inbox, options=LOGIN, user="crew", password="right").outcome is Outcome.DELIVERED
    assert len(inbox.mails) == 1


@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")
def test_a_wrong_password_is_tried_again_and_not_shown() -> None:
    delivery = to_server(Inbox(), options=LOGIN, user="crew", password="secret-word")
    assert delivery.outcome is Outcome.RETRY  # nothing was handed over, and the password may be mended
    assert "wrong user or password: 535" in delivery.detail
    assert "secret-word" not in delivery.detail
    assert "secret-word" not in repr(account(1, password="secret-word"))


def test_a_password_never_crosses_an_open_network() -> None:
    with serving(Inbox()) as port:
        open_account = account(port, host="127.0.0.1", user="crew", password="right")
        assert send(MESSAGE, "a@x.example", ["b@y.example"], open_account).outcome is Outcome.REFUSED  # no AUTH offered
    from reports.smtp import _is_loopback

    assert not _is_loopback("mail.example.org")
    assert not _is_loopback("192.0.2.7")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def test_starttls_with_log_in(certificate: Path) -> None:
    inbox = Inbox()
    options = {"tls_context": server_side(certificate), "require_starttls": True, "authenticator": check_password, "auth_required": True}
    trust = ssl.create_default_context(cafile=str(certificate))
    delivery = to_server(inbox, tls=trust, options=options, security="starttls", user="crew", password="right")
    assert delivery.outcome is Outcome.DELIVERED
    assert inbox.mails[0].content == MESSAGE


def test_tls_from_the_start(certificate: Path) -> None:
    inbox = Inbox()
    trust = ssl.create_default_context(cafile=str(certificate))
    assert to_server(inbox, tls=trust, options={"ssl_context": server_side(certificate)}, security="tls").outcome is Outcome.DELIVERED
    assert len(inbox.mails) == 1


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_an_untrusted_certificate_is_refused(certificate: Path, security: str) -> None:
    side = server_side(certificate)
    options = {"ssl_context": side} if security == "tls" else {"tls_context": side}
    inbox = Inbox()
    delivery = to_server(inbox, options=options, security=security)
    assert delivery.outcome is Outcome.REFUSED
    assert "certificate is not trusted" in delivery.detail
    assert inbox.mails == []


def test_no_fall_back_to_an_open_connection() -> None:
    inbox = Inbox()
    delivery = to_server(inbox, security="starttls")
    assert delivery.outcome is Outcome.REFUSED
    assert "offers no STARTTLS" in delivery.detail
    assert inbox.mails == []
