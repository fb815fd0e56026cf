"""The dead man's switch: told by a timer of its own, it mails when the service gives no sign of life.

It shares nothing with the service but its configuration and its ledger, which it only reads; a ledger that cannot be read is a
silence, too.  One mail a silence and day; one that could not be handed over is tried again at the next call.  Where nothing can be
remembered (a full disk), it mails only in the half hour after the time of the morning report.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from nightcrew.errors import NightcrewError, Refused
from nightcrew.settings import Settings

_NAME = "watchdog.json"
_WINDOW_MIN = 30  # the timer's own interval
SIGN = "dispatcher"
"""The part of the service whose sign of life counts: it says every minute that it could write the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look found: ``silence`` "" while the service lives, else what is wrong; ``since`` its last sign ("" for none)."""

    silence: str
    since: str = ""
    mailed: bool = False
    delivery: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the last call left: when it looked, and the silence and day that its last mail told of."""

    looked_at: str = ""
    told: str = ""

    @classmethod
    def read(cls, state_root: Path) -> Memory:
        """The last call's; an empty one when there was none, or it cannot be read."""
        try:
            values = json.loads((state_root / _NAME).read_text(encoding="utf-8"))
            return cls(looked_at=str(values["looked_at"]), told=str(values["told"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def write(self, state_root: Path) -> None:
        """Leave it for the next call; ``TransientError`` or ``Refused`` when that cannot be done."""
        from nightcrew.io.atomic import write_text

        write_text(state_root / _NAME, json.dumps({"looked_at": self.looked_at, "told": self.told}) + "\n", overwrite=True)


def watch(settings: Settings, now: datetime, longest: timedelta) -> Look:
    """Look once, and mail when there was no sign of life for ``longest``.

    ``now`` must know its time zone.  Raises ``Refused`` when a mail is due and none can be sent (``mail.transport`` is ``none``).
    """
    silence, since = _silence(settings, now, longest)
    before = Memory.read(settings.state.root)
    key = f"{since or 'never'} {now.astimezone(ZoneInfo(settings.site.timezone)):%Y-%m-%d}"
    if not silence:
        return _remembered(settings, now, before.told, Look(silence="", since=since))
    if before.told == key:
        return _remembered(settings, now, key, Look(silence=silence, since=since))
    if not _remember(settings, now, key) and not _at_report_time(settings, now):
        return Look(silence=silence, since=since, delivery=f"not now: {settings.state.root} cannot be written")
    delivery = _send(settings, silence, key, now)
    sent = delivery in ("delivered", "unknown")  # an unknown delivery is not repeated by itself
    if not sent:
        _remember(settings, now, before.told)
    return Look(silence=silence, since=since, mailed=sent, delivery=delivery)


def _remember(settings: Settings, now: datetime, told: str) -> bool:
    """Leave a memory for the next call, before a mail goes out; False when that cannot be done."""
    try:
        Memory(looked_at=_iso(now), told=told).write(settings.state.root)
    except (NightcrewError, OSError):
        return False
    return True


def _remembered(settings: Settings, now: datetime, told: str, look: Look) -> Look:
    _remember(settings, now, told)
    return look


def _at_report_time(settings: Settings, now: datetime) -> bool:
    """Is it the half hour after the time of the morning report, at the site?"""
    local = now.astimezone(ZoneInfo(settings.site.timezone))
    hour, _, minute = settings.reports.time.partition(":")
    return 0 <= (local.hour * 60 + local.minute - int(hour) * 60 - int(minute)) % (24 * 60) < _WINDOW_MIN


def _silence(settings: Settings, now: datetime, longest: timedelta) -> tuple[str, str]:
    """What is wrong ("" for nothing) and the last sign of life."""
    from sqlalchemy.exc import SQLAlchemyError

    from nightcrew.ledger import messages
    from nightcrew.ledger.database import Database, address

    url = address(settings.ledger_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():  # opening it would make one
        return f"there is no ledger at {url.database}: the service never ran here, or its disk is not mounted", ""
    try:
        database = Database(settings.ledger_url)
        with database.read() as connection:
            since = messages.signs_of_life(connection).get(SIGN, ("", ""))[0]
        database.close()
    except (NightcrewError, SQLAlchemyError) as error:
        return f"the ledger cannot be read: {str(error).splitlines()[0]}", ""
    if not since:
        return "the service has not given a sign of life yet", ""
    age = now - datetime.fromisoformat(since).replace(tzinfo=UTC)
    if age < -longest:
        return f"its last sign of life lies in the future, at {since[:16].replace('T', ' ')} UTC: this machine's clock was set back", since
    if age <= longest:
        return "", since
    hours = age.total_seconds() / 3600
    return f"its last sign of life was at {since[:16].replace('T', ' ')} UTC, {hours:.1f} hours ago", since


def _send(settings: Settings, silence: str, key: str, now: datetime) -> str:
    """Hand the mail over; what became of it."""
    from flows.post import hand_over

    if settings.mail.transport == "none":
        raise Refused(f"the service did not run ({silence}), and mail.transport is none: nobody can be told")
    message = _message(settings, silence, key, now)
    try:
        return hand_over(settings.mail, message.as_bytes(), f"{key.rsplit(maxsplit=1)[-1]}-watchdog").outcome.value
    except NightcrewError as error:
        return str(error)


def _message(settings: Settings, silence: str, key: str, now: datetime) -> EmailMessage:
    from reports.mail import message_id
    from reports.text import header_value

    local = now.astimezone(ZoneInfo(settings.site.timezone))
    message = EmailMessage(policy=SMTP)
    message["Subject"] = header_value(f"Nightcrew: the service did not run ({socket.gethostname()})")
    message["From"] = header_value(settings.mail.sender)
    message["To"] = ", ".join(header_value(one) for one in settings.mail.to)
    message["Date"] = format_datetime(local)
    message["Message-ID"] = message_id(f"{local:%Y-%m-%d}-watchdog", settings.mail.sender, key)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(
        f"Nightcrew on {socket.gethostname()} did not run: {silence}.\n\n"
        "Frames are not lost: what arrives meanwhile is found by the sweep at the next start.\n\n"
        "What to do, on that machine:\n"
        "  nightcrew doctor                    says what is wrong and how to mend it\n"
        "  systemctl status nightcrew          or start it by hand: nightcrew up\n\n"
        "This mail comes from the watchdog's own timer, once a day while the silence lasts.\n",
        cte="quoted-printable",
    )
    return message


def _iso(now: datetime) -> str:
    return now.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
