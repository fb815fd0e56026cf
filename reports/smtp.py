"""The one module that talks SMTP: one mail, one verdict.

What matters is the moment after the last dot: until it is sent, a lost connection means that nothing was taken and the
mail may be tried again; from then on nobody knows, and the mail must not be sent a second time by itself.
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import Literal

from reports.text import header_value

_MAILBOX_FULL = re.compile(rb"\s*5\.2\.2\b")  # RFC 3463: a permanent answer to what passes


class Outcome(StrEnum):
    """What became of a mail."""

    DELIVERED = "delivered"  # the server took it
    REFUSED = "refused"  # for good: a person has to change something
    RETRY = "retry"  # for now: try again later
    UNKNOWN = "unknown"  # lost after the last dot: it may or may not have been taken


@dataclass(frozen=True, kw_only=True)
class Account:
    """The mail server and how to log in; an empty ``user`` logs in nowhere."""

    host: str
    port: int
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: str = field(default="", repr=False)
    timeout_s: float = 30.0
    reply_timeout_s: float = 120.0  # for the answer to the whole mail: servers scan it first


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """The outcome in words, and the recipients that the server would not take."""

    outcome: Outcome
    detail: str
    refused: tuple[str, ...] = ()


class _Answer(Exception):
    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.delivery = Delivery(outcome=outcome, detail=detail)


def send(message: bytes, sender: str, recipients: Sequence[str], account: Account, *, tls: ssl.SSLContext | None = None) -> Delivery:
    """Hand ``message`` (RFC 5322, bare addresses in the envelope) to the server of ``account``.

    Never raises for what a server or network does; ``tls`` replaces the system's trust store.
    """
    context = tls or ssl.create_default_context()
    try:
        with contextlib.ExitStack() as closing:
            session = _connect(account, sender, context)
            closing.callback(session.close)
            _log_in(session, account, context)
            delivery = _hand_over(session, message, sender, recipients, account)
            with contextlib.suppress(smtplib.SMTPException, OSError):
                session.quit()
            return delivery
    except _Answer as answer:
        return answer.delivery
    except (smtplib.SMTPException, OSError) as error:
        return _from_error(error)


def _connect(account: Account, sender: str, context: ssl.SSLContext) -> smtplib.SMTP:
    greeting = _ehlo_name(sender)
    if account.security == "tls":
        return smtplib.SMTP_SSL(account.host, account.port, local_hostname=greeting, timeout=account.timeout_s, context=context)
    return smtplib.SMTP(account.host, account.port, local_hostname=greeting, timeout=account.timeout_s)


def _ehlo_name(sender: str) -> str:
    domain = sender.rpartition("@")[2]
    return domain if re.match(r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$", domain) else "localhost"


def _log_in(session: smtplib.SMTP, account: Account, context: ssl.SSLContext) -> None:
    session.ehlo_or_helo_if_needed()
    if account.security == "starttls":
        if not session.has_extn("starttls"):
            raise _Answer(Outcome.REFUSED, "the server offers no STARTTLS; use security = 'tls', or 'none' on a trusted network")
        session.starttls(context=context)
        session.ehlo()
    if account.user:
        if account.security == "none" and not _is_loopback(account.host):
            raise _Answer(Outcome.REFUSED, "a password is not sent over an unprotected connection; use security = 'starttls' or 'tls'")
        session.login(account.user, account.password)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _hand_over(session: smtplib.SMTP, message: bytes, sender: str, recipients: Sequence[str], account: Account) -> Delivery:
    _check_addresses(sender, *recipients)
    _accepted(*session.mail(sender, ["size=" + str(len(message))] if session.has_extn("size") else []), "sender")
    answers = [(recipient, *session.rcpt(recipient)) for recipient in recipients]
    refused = [(recipient, code, text) for recipient, code, text in answers if code not in (250, 251)]
    if len(refused) == len(answers):
        code, text = max((code, text) for _, code, text in refused) if refused else (550, b"no recipient")
        if any(400 <= code < 500 for _, code, _ in refused):
            code = 450
        _accepted(code, text, "all recipients")
    _accepted(*session.docmd("DATA"), "mail", wanted=354)
    session.send(_dotted(message))
    _finish(session, account)
    if refused:
        names = ", ".join(f"{recipient} ({_said(code, text)})" for recipient, code, text in refused)
        return Delivery(outcome=Outcome.DELIVERED, detail=f"taken, but not for {names}", refused=tuple(r for r, _, _ in refused))
    return Delivery(outcome=Outcome.DELIVERED, detail="taken by the server")


def _check_addresses(*addresses: str) -> None:
    for address in addresses:
        if not re.match(r"^[\x21-\x7e]+@[\x21-\x7e]+$", address) or re.search(r"[<>\s]", address):
            raise _Answer(Outcome.REFUSED, f"{header_value(address)!r} is no plain mail address")


def _accepted(code: int, text: bytes, what: str, wanted: int = 250) -> None:
    if code != wanted:
        outcome = Outcome.REFUSED if 500 <= code < 600 and not _MAILBOX_FULL.match(text) else Outcome.RETRY
        raise _Answer(outcome, f"the server did not take the {what}: {_said(code, text)}")


def _dotted(message: bytes) -> bytes:
    """Lines ended by CR LF, and a leading dot doubled (RFC 5321, 4.5.2)."""
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", message)
    lines = re.sub(rb"(?m)^\.", b"..", lines)
    return lines if lines.endswith(b"\r\n") else lines + b"\r\n"


def _finish(session: smtplib.SMTP, account: Account) -> None:
    """The last dot and its answer: whatever is lost from here on leaves the mail's fate unknown."""
    try:
        if session.sock is not None:
            session.sock.settimeout(account.reply_timeout_s)
        session.send(b".\r\n")
        code, text = session.getreply()
    except (smtplib.SMTPException, OSError) as error:
        raise _Answer(Outcome.UNKNOWN, f"the connection was lost after the mail had been sent: {_words(error)}") from error
    if 200 <= code < 300:  # 250 is the answer; a server that says yes in another way has the mail, too
        return
    if not 400 <= code < 600:
        raise _Answer(Outcome.UNKNOWN, f"the server's answer to the mail makes no sense: {_said(code, text)}")
    _accepted(code, text, "mail")


def _from_error(error: Exception) -> Delivery:
    if isinstance(error, smtplib.SMTPAuthenticationError):
        wrong = 500 <= error.smtp_code < 600
        text = f"{'wrong user or password' if wrong else 'log-in is not possible now'}: {_said(error.smtp_code, error.smtp_error)}"
        return Delivery(outcome=Outcome.RETRY, detail=text)  # nothing was handed over: it goes out once the password is right
    if isinstance(error, smtplib.SMTPResponseException):
        outcome = Outcome.REFUSED if 500 <= error.smtp_code < 600 else Outcome.RETRY
        return Delivery(outcome=outcome, detail=f"the server answered {_said(error.smtp_code, error.smtp_error)}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Delivery(outcome=Outcome.REFUSED, detail=f"the server's certificate is not trusted: {error.verify_message}")
    if isinstance(error, smtplib.SMTPException) and not isinstance(error, smtplib.SMTPServerDisconnected):
        return Delivery(outcome=Outcome.REFUSED, detail=_words(error))  # such as a log-in that the server does not offer
    return Delivery(outcome=Outcome.RETRY, detail=f"no connection: {_words(error)}")


def _said(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return header_value(f"{code} {words}")


def _words(error: Exception) -> str:
    return header_value(str(error) or type(error).__name__)
