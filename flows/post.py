"""The outbox: every queued mail goes out once, and what became of it is written down.  No Prefect here."""

from __future__ import annotations

import logging
from datetime import timedelta

from nightcrew import failpoints
from nightcrew.errors import Refused, TransientError
from nightcrew.ledger import messages
from nightcrew.ledger.database import Database, iso
from nightcrew.ledger.messages import MailRow
from nightcrew.settings import MailSettings
from reports.mail import bare_addresses
from reports.mailbox_folder import deliver
from reports.smtp import Account, Delivery, Outcome, send

_LOG = logging.getLogger("nightcrew.mail")
_FIRST_PAUSE = timedelta(minutes=2)
_LONGEST_PAUSE = timedelta(hours=1)


def own_up(database: Database, morning: str) -> None:
    """Mails of other mornings that are still "sending" belong to a process that died: their fate is unknown.

    They are not sent again by themselves; ``doctor`` and the next mail show them.
    """
    with database.read() as connection:
        lost = [row for row in messages.mails(connection, "sending") if row.morning != morning]
    for row in lost:
        messages.end_sending(database, row.id, "unknown", error="the process that sent it ended in the middle")


def requeue(database: Database, morning: str) -> None:
    """A person asks to send a mail again whose fate is unknown, or that was refused."""
    with database.read() as connection:
        rows = [row for row in messages.mails(connection, "unknown", "refused") if row.morning == morning]
    for row in rows:
        messages.end_sending(database, row.id, "queued")


def deliver_queued(database: Database, settings: MailSettings) -> list[tuple[str, str]]:
    """Send every queued mail whose time has come, oldest first; (morning, state) of each that was tried."""
    with database.read() as connection:
        queued = [row for row in messages.mails(connection, "queued") if row.next_try_at <= database.now()]
    return [(row.morning, _deliver(database, settings, row)) for row in queued if messages.begin_sending(database, row.id)]


def _deliver(database: Database, settings: MailSettings, row: MailRow) -> str:
    failpoints.reach("mail.sending")
    try:
        delivery = hand_over(settings, row.message, row.morning)
    except TransientError as error:
        delivery = Delivery(outcome=Outcome.RETRY, detail=str(error))
    except Refused as error:
        delivery = Delivery(outcome=Outcome.REFUSED, detail=str(error))
    failpoints.reach("mail.sent")
    if delivery.outcome is Outcome.RETRY:
        pause = min(_FIRST_PAUSE * 2**row.attempts, _LONGEST_PAUSE)
        messages.end_sending(database, row.id, "queued", error=delivery.detail, next_try_at=iso(database.clock() + pause))
    else:
        detail = "" if delivery.outcome is Outcome.DELIVERED and not delivery.refused else delivery.detail
        messages.end_sending(database, row.id, delivery.outcome.value, error=detail)
    if delivery.outcome is not Outcome.DELIVERED:
        messages.happened(database, "mail", "problem", f"the mail of {row.morning}: {delivery.outcome.value}: {delivery.detail}")
    _LOG.info("the mail of %s: %s %s", row.morning, delivery.outcome.value, delivery.detail)
    return "queued" if delivery.outcome is Outcome.RETRY else delivery.outcome.value


def hand_over(settings: MailSettings, message: bytes, name: str) -> Delivery:
    """Give one mail to the configured server or folder, where it is called ``name``.

    Raises ``TransientError`` and ``Refused`` as the mailbox folder does, and ``Refused`` for a password file that others can read.
    """
    if settings.transport == "mailbox":
        path = deliver(message, settings.mailbox, name)
        return Delivery(outcome=Outcome.DELIVERED, detail=f"in {path.name}")
    account = Account(
        host=settings.host, port=settings.port, security=settings.security, user=settings.user, password=settings.secret() or ""
    )
    sender = bare_addresses([settings.sender])[0]
    return send(message, sender, bare_addresses(settings.to), account)
