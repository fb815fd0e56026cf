"""The morning mail: short HTML with a few pictures inside, and the same as plain text.

One mail a calendar morning covers every night touched since the last.  Its Message-ID is fixed by the morning, so that a
second copy is recognised by every mail program.  Header values are one line, whatever a file's header held.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from nightcrew.errors import Refused
from reports import views
from reports.figures import EmptyFigureError
from reports.figures_counts import grid_figure
from reports.model import STATES, Action, NightPage, Notice, State, Status, Verdict
from reports.render import mail_html
from reports.text import header_value, joined, plural, visible
from reports.values import Figure, Picture

ACTIONS_SHOWN = 8
STACKS_SHOWN = 2
SETS_SHOWN = 20
_BARE = re.compile(r"[^@\s<>,;:\"\\]+@[^@\s<>,;:\"\\]+")
_NAMED = re.compile(rf"[^@<>,;:\"\\]*<{_BARE.pattern}>")
_WORST: tuple[Status, ...] = ("bad", "attention", "good", "empty")


@dataclass(frozen=True, kw_only=True)
class MorningNight:
    """One night in the mail: its page as published, and where a reader finds it."""

    page: NightPage
    verdict: Verdict
    link: str = ""  # http(s) address of the page; "" when pages are not served
    figures: tuple[Figure, ...] = ()  # drawn for the page; the mail takes the most telling


@dataclass(frozen=True, kw_only=True)
class MorningSet:
    """One set (sensor, laboratory, campaign, photon lists) in the mail: what its page says, in words."""

    title: str
    status: Status
    word: str
    sentence: str
    numbers: tuple[tuple[str, str], ...] = ()  # (name, value) of the key quantities
    needs: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()  # where something needs a person
    link: str = ""


@dataclass(frozen=True, kw_only=True)
class Morning:
    """All that one morning's mail tells."""

    date: str  # local calendar date, ISO
    site: str
    nights: tuple[MorningNight, ...] = ()
    sets: tuple[MorningSet, ...] = ()
    notices: tuple[Notice, ...] = ()  # such as an earlier mail whose delivery is unknown
    failed: str = ""  # why the morning's report could not be written
    index_link: str = ""


@dataclass(frozen=True)
class MailPicture:
    """A picture inside the mail, with the Content-ID by which the HTML names it."""

    title: str
    alt: str
    cid: str
    width: int
    picture: Picture


@dataclass(frozen=True)
class MailNight:
    """A night as the mail's template shows it."""

    page: NightPage
    verdict: Verdict
    link: str
    heading: str
    actions: tuple[Action, ...]
    more: int
    urgent: bool
    states: tuple[State, ...]  # those that any file is in
    pictures: tuple[MailPicture, ...]
    numbers: tuple[str, ...] = ()  # the key numbers that neither the sentence nor the balance tells


def compose(morning: Morning, *, sender: str, to: Sequence[str], sent_at: datetime) -> EmailMessage:
    """The mail of a morning; ``sent_at`` must know its time zone.  ``Refused`` for addresses that are none."""
    nights = tuple(_mail_night(night, place) for place, night in enumerate(morning.nights))
    line, morning = subject(morning), _short(morning)
    message = EmailMessage(policy=SMTP)
    message["Subject"] = line
    message["From"] = _address(sender)
    message["To"] = ", ".join(_address(one) for one in to)
    message["Date"] = format_datetime(sent_at)
    message["Message-ID"] = message_id(morning.date, sender, morning.site)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(plain_text(morning, nights), cte="quoted-printable")
    message.add_alternative(mail_html(morning, nights, line), subtype="html", cte="quoted-printable")
    page_part = message.get_payload()[1]  # type: ignore[index]  # an alternative: always a list here
    for picture in (picture for night in nights for picture in night.pictures):
        kind, _, sub = picture.picture.media_type.partition("/")
        name = f"{picture.cid.partition('@')[0]}.{'jpg' if sub == 'jpeg' else sub}"
        page_part.add_related(picture.picture.data, kind, sub, cid=f"<{picture.cid}>", filename=name, disposition="inline")  # type: ignore[union-attr]  # a message: it was added above
    return message


def _short(morning: Morning) -> Morning:
    """The morning with as many of its sets as a mail can tell: the worst ones."""
    more = len(morning.sets) - SETS_SHOWN
    if more <= 0:
        return morning
    worst = sorted(morning.sets, key=lambda one: _WORST.index(one.status))[:SETS_SHOWN]  # as they came within a status
    notice = Notice(level="notice", text=f"{plural(more, 'more set', 'more sets')} changed: see the index of pages")
    return replace(morning, sets=tuple(worst), notices=(*morning.notices, notice))


def _first(needs: tuple[str, ...]) -> tuple[str, ...]:
    more = len(needs) - ACTIONS_SHOWN
    return (*needs[:ACTIONS_SHOWN], f"and {more} more on the page") if more > 0 else needs


def message_id(date: str, sender: str, site: str) -> str:
    """The fixed Message-ID of one morning at one site."""
    domain = re.sub(r"[^A-Za-z0-9.-]", "", parseaddr(sender)[1].rpartition("@")[2]) or "localhost"
    digest = hashlib.sha256(f"{site}\n{sender}".encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"<nightcrew.{re.sub(r'[^0-9A-Za-z-]', '', date)}.{digest}@{domain}>"


def _address(text: str) -> str:
    """A checked address for a header; ``Refused`` for line breaks, lists and what is no address."""
    clean = header_value(text)
    if clean != text.strip() or not (_BARE.fullmatch(clean) or _NAMED.fullmatch(clean)):
        raise Refused(f"mail: {clean!r} is no mail address, such as 'observer@example.org'")
    return clean


def bare_addresses(texts: Sequence[str]) -> tuple[str, ...]:
    """The addresses alone, for the envelope; ``Refused`` for what is none."""
    return tuple(parseaddr(_address(text))[1] for text in texts)


def subject(morning: Morning) -> str:
    """``Nightcrew 2026-03-15: Good night, 40 of 40 lights reduced ...``: the verdict in the list of mails."""
    start = f"Nightcrew {morning.date}"
    if morning.failed:
        return header_value(f"{start}: the morning report failed")
    if not morning.nights and not morning.sets:
        troubles = sum(notice.level in ("problem", "warning") for notice in morning.notices)
        but = f", but {plural(troubles, 'trouble')} of the service" if troubles else ""
        return header_value(f"{start}: nothing new{but}")
    if not morning.nights:
        return header_value(f"{start}: {_sets_subject(morning.sets)}")
    more = f"; {_sets_subject(morning.sets)}" if morning.sets else ""
    worst = min(morning.nights, key=lambda night: _WORST.index(night.verdict.status))
    if len(morning.nights) == 1:
        return header_value(f"{start}: {worst.verdict.word} - {worst.verdict.sentence.rstrip('.')}{more}")
    words = [night.verdict.word for night in sorted(morning.nights, key=lambda night: _WORST.index(night.verdict.status))]
    return header_value(f"{start}: {_counted(words)}{more}")


def _sets_subject(sets: Sequence[MorningSet]) -> str:
    if len(sets) == 1:
        return f"{sets[0].title}: {sets[0].word}"
    return f"{len(sets)} sets: {_counted([one.word for one in sorted(sets, key=lambda one: _WORST.index(one.status))])}"


def _counted(words: list[str]) -> str:
    return joined([f"{words.count(word)} x {word}" if words.count(word) > 1 else word for word in dict.fromkeys(words)])


def _mail_night(night: MorningNight, place: int) -> MailNight:
    actions = night.verdict.actions
    return MailNight(
        page=night.page,
        verdict=night.verdict,
        link=night.link,
        heading=views.title(night.page),
        actions=actions[:ACTIONS_SHOWN],
        more=max(0, len(actions) - ACTIONS_SHOWN),
        urgent=any(action.level in ("problem", "warning") for action in actions),
        states=tuple(state for state in STATES if night.page.total(state)),
        pictures=tuple(_pictures(night, place)),
        numbers=tuple(_numbers(night)),
    )


def _numbers(night: MorningNight) -> Iterator[str]:
    """The key numbers of the page's head, as ``Median FWHM: 3.37 px (3.04 to 3.62)``."""
    for tile in views.tiles(night.page, night.verdict):
        if tile.label in views.MAILED_TILES:
            yield f"{tile.label}: {tile.value}" + (f" ({tile.detail})" if tile.detail else "")


def _pictures(night: MorningNight, place: int) -> Iterator[MailPicture]:
    """The most telling pictures: the calibration grid, trends that left their limits, sharpness, two stacks."""
    chosen: list[tuple[str, Picture]] = []
    try:
        grid = grid_figure(night.page.calibrations)
        chosen.append((grid.title, grid.picture))
    except EmptyFigureError:
        pass  # a night without lights asks for no calibration: the text says so
    outside = {f"{trend.label} ({trend.unit})" if trend.unit else trend.label for trend in night.page.trends if trend.outside}
    chosen += [(figure.title, figure.picture) for figure in night.figures if figure.title in outside][:2]
    chosen += [(figure.title, figure.picture) for figure in night.figures if figure.name.startswith("course-fwhm")][:1]
    stacks = [stack for stack in night.page.stacks if stack.picture is not None]
    chosen += [(f"{stack.target} {stack.filter}", stack.picture) for stack in stacks[:STACKS_SHOWN] if stack.picture is not None]
    for number, (title, picture) in enumerate(chosen):
        width = min(picture.width_px // 2 if picture.media_type == "image/png" else picture.width_px, 360)
        yield MailPicture(title, visible(picture.alt), f"night{place}-picture{number}@nightcrew", width, picture)


def plain_text(morning: Morning, nights: Sequence[MailNight]) -> str:
    """The mail without HTML: every fact of it but the pictures."""
    lines = [f"Nightcrew{f', {morning.site}' if morning.site else ''}: morning of {morning.date}", ""]
    if morning.failed:
        lines += ["THE MORNING REPORT FAILED", morning.failed, ""]
    for notice in morning.notices:
        lines += [f"! {notice.text}", *([f"  {notice.command}"] if notice.command else []), ""]
    if not nights and not morning.sets and not morning.failed:
        lines += ["Nothing new: no file arrived and nothing was made since the last mail.", ""]
    for night in nights:
        lines += _night_lines(night)
    for one in morning.sets:
        lines += _set_lines(one)
    if morning.index_link:
        lines += [f"All nights: {morning.index_link}", ""]
    return "\n".join(visible(line) for line in lines) + "\n"


def _night_lines(night: MailNight) -> list[str]:
    lines = [f"{night.heading}: {night.verdict.word.upper()}", night.verdict.sentence, *night.verdict.untold]
    lines += list(night.numbers)
    lines += list(night.page.revision_notes[-1:])
    if night.link:
        lines += [f"Report: {night.link}"]
    if night.actions:
        lines += ["", "What needs a person:" if night.urgent else "Remarks:"]
    for action in night.actions:
        lines += [f"- {action.text}", *([f"    {action.command}"] if action.command else [])]
    if night.more:
        lines += [f"- and {plural(night.more, 'more', 'more')} on the page"]
    if night.page.balance:
        lines += ["", "What came in:", *_balance_lines(night.page), ""]
    return [*lines, ""]


def _set_lines(one: MorningSet) -> list[str]:
    lines = [f"{one.title}: {one.word.upper()}", one.sentence, *(f"- {name}: {value}" for name, value in one.numbers)]
    if one.link:
        lines += [f"Report: {one.link}"]
    if one.needs:
        lines += ["What needs a person:", *(f"- {text}" for text in _first(one.needs))]
    return [*lines, *(f"    {command}" for command in one.commands), ""]


def _balance_lines(page: NightPage) -> Iterator[str]:
    for row in page.balance:
        states = [f"{row.count(state)} {views.STATE_WORDS[state]}" for state in STATES if row.count(state)]
        yield f"- {row.kind}{f' ({row.instrument})' if row.instrument else ''}: {row.seen} seen, {', '.join(states) or 'none counted'}"
