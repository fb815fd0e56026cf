"""Pages from the model: templates with escaping on, one self-contained HTML text a page.

Nothing is loaded from elsewhere: pictures are data URIs, the style is inline and admitted by its hash, scripts are
forbidden by the page's own Content-Security-Policy.  Every text passes :func:`reports.text.visible` before it is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from nightcrew.errors import NightcrewError
from reports import names, text, views
from reports.commands import asking
from reports.model import GRADES, STATES, IndexEntry, IndexPage, NightPage, Notice, Trend, Verdict
from reports.values import Figure, Picture
from reports.verdict import judge

if TYPE_CHECKING:
    from jinja2 import Environment

    from reports.mail import MailNight, Morning

_DATED = re.compile(r"^(\d{4})-(\d{2})-\d{2}$")
TEMPLATES = Path(__file__).parent / "templates"
LEVEL_WORDS = {"problem": "problem", "warning": "look at this", "notice": "remark", "info": "for information"}
SET_NEEDS_SHOWN = 5  # of one set in a mail
SET_TITLES: dict[str, str] = {"campaign": "Irradiation campaigns", "lab": "Laboratory", "mkid": "Photon lists", "sensor": "Sensors"}
STATUS_WORDS = {"good": "good", "attention": "needs a look", "bad": "bad", "empty": "empty"}
SECTIONS = {
    "needs": "To do",
    "balance": "What came in",
    "calibration": "Calibrations",
    "masters": "Masters",
    "lights": "Lights",
    "analyses": "Analyses",
    "failures": "Failures",
    "trends": "Trends",
    "truth": "Truth",
    "provenance": "Provenance",
}


class UnprintableValueError(NightcrewError):
    """A template met a value that it must not print: None or a not-finite number that no formatter took."""


def _finalize(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise UnprintableValueError("a template would print None or NaN")
    return text.visible(value) if isinstance(value, str) else value


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates' environment: escaping on, undefined names are errors, nothing prints None or NaN."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        auto_reload=False,
    )
    made.filters["asking"] = asking
    made.globals.update(
        number=text.number,
        signed=text.signed,
        quantity=text.quantity,
        adaptive=text.adaptive,
        plural=text.plural,
        noun=text.noun,
        shortened=text.shortened,
        clock=text.clock,
        dash=text.DASH,
        data_uri=data_uri,
        safe_link=safe_link,
        slug=names.slug,
        row_shares=views.row_shares,
        cell_detail=views.cell_detail,
        truth_digits=views.truth_digits,
        states=STATES,
        grades=GRADES,
        state_words=views.STATE_WORDS,
        state_meanings=views.STATE_MEANINGS,
        grade_meanings=views.GRADE_MEANINGS,
        level_words=LEVEL_WORDS,
        status_words=STATUS_WORDS,
    )
    return made


def prepare() -> None:
    """Read the templates of a night's page and the index: the longer part of making such a page, and it needs no contents."""
    for name in ("night.html.j2", "index.html.j2"):
        environment().get_template(name)


@lru_cache(maxsize=1)
def style() -> str:
    """The style sheet of all pages."""
    return (TEMPLATES / "page.css").read_text(encoding="utf-8")


def content_security_policy() -> str:
    """What a page may do: show pictures that it holds and its own style; nothing else, nothing from elsewhere."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode("ascii")
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def data_uri(picture: Picture) -> Markup:
    """A picture as a data URI: base64 and a known media type, so nothing in it needs escaping."""
    return Markup(f"data:{picture.media_type};base64,{base64.b64encode(picture.data).decode('ascii')}")  # noqa: S704  see above


def safe_link(target: str) -> str:
    """``target`` when it is a plain relative path or an http(s) address; ``"#"`` for everything else (``javascript:`` ...)."""
    if re.match(r"^https?://[^\s\"'<>]+$", target):
        return target
    return target if re.match(r"^(\.\./)*[\w.~-][\w./~-]*(#[\w-]+)?$", target, re.ASCII) else "#"


def night_html(page: NightPage, verdict: Verdict, courses: tuple[Figure, ...], trends: tuple[tuple[Trend, Figure], ...]) -> str:
    """The page of one night with its drawn figures, as one HTML text."""
    return environment().get_template("night.html.j2").render(**_night_context(page, verdict, courses, trends))


def _night_context(
    page: NightPage, verdict: Verdict, courses: tuple[Figure, ...], trends: tuple[tuple[Trend, Figure], ...]
) -> Mapping[str, Any]:
    failures = views.by_state(page.causes, "failed", "rejected", "waiting")
    degraded = views.by_state(page.causes, "degraded")
    anchors = _anchors(page, verdict, has_trends=bool(trends), has_failures=bool(failures or degraded or page.seen))
    return {
        "page": page,
        "verdict": verdict,
        "heading": views.title(page),
        "span": views.span(page),
        "made_at": text.minute(page.made_at) + (f" {page.timezone}" if page.timezone else ""),
        "csp": content_security_policy(),
        "css": Markup(style()),  # noqa: S704  our own file
        "urgent": any(action.level in ("problem", "warning") for action in verdict.actions),
        "tiles": views.tiles(page, verdict) if page.seen else (),
        "anchors": anchors,
        "jumps": tuple(anchors.items()),
        "total": views.total_row(page.balance),
        "closes": all(row.missing == 0 for row in page.balance),
        "set_aside": views.by_state(page.causes, "set_aside"),
        "shown_files": views.SHOWN_FILES,
        "cell_legend": views.cell_legend(page.calibrations),
        "cell_groups": views.cell_groups(page.calibrations),
        "light_groups": views.light_groups(page.lights),
        "lights": views.listed_lights(page.lights),
        "unmade": sum(light.thumbnail is None and light.pictured for light in page.lights),
        "unpictured": sum(not light.pictured for light in page.lights),
        "sheets_open": len(page.lights) <= views.OPEN_SHEETS,
        "course_text": views.course(page.lights),
        "courses": courses,
        "failures": failures,
        "degraded": degraded,
        "trends": trends,
        "agreeing": sum(row.passed for row in page.truth),
        "pulls": any(row.pull is not None for row in page.truth),
        "notices": tuple(notice for notice in page.notices if notice.at or notice.level == "info"),
    }


def _anchors(page: NightPage, verdict: Verdict, *, has_trends: bool, has_failures: bool) -> dict[str, str]:
    urgent = any(action.level in ("problem", "warning") for action in verdict.actions)
    shown = {
        "needs": bool(verdict.actions),
        "balance": bool(page.balance),
        "calibration": bool(page.calibrations),
        "masters": bool(page.masters),
        "lights": bool(page.lights),
        "analyses": bool(page.sections),
        "failures": has_failures,
        "trends": has_trends,
        "truth": bool(page.truth),
        "provenance": True,
    }
    labels = {**SECTIONS, "needs": SECTIONS["needs"] if urgent else "Remarks"}
    return {anchor: label for anchor, label in labels.items() if shown[anchor]}


def judged_html(page: NightPage) -> str:
    """The page without drawn figures: what stands when drawing itself failed."""
    return night_html(page, judge(page), (), ())


def index_html(page: IndexPage) -> str:
    """The index of nights as one HTML text, newest first, and of sets, by kind."""

    def dated(entry: IndexEntry) -> tuple[bool, str]:
        return _DATED.match(entry.night) is not None, entry.night

    nights = sorted((e for e in page.entries if e.kind == "night"), key=dated, reverse=True)
    sets = sorted((e for e in page.entries if e.kind != "night"), key=lambda entry: (SET_TITLES[entry.kind], entry.night))
    entries = [*nights, *sets]
    latest = nights[0] if nights else max(sets, key=lambda entry: entry.made_at, default=None)
    context: Mapping[str, Any] = {
        "page": page,
        "csp": content_security_policy(),
        "css": Markup(style()),  # noqa: S704  our own file
        "made_at": f"{text.minute(page.made_at)} {page.timezone}",
        "latest": latest,
        "latest_title": f"{latest.kind} {latest.night}" if latest else "",
        "notices": _urgent(page.notices),
        "months": tuple((name, tuple(group)) for name, group in groupby(entries, key=_month)),
    }
    return environment().get_template("index.html.j2").render(**context)


def mail_html(morning: Morning, nights: Sequence[MailNight], subject: str) -> str:
    """The HTML part of the morning mail."""
    return (
        environment()
        .get_template("mail.html.j2")
        .render(morning=morning, nights=nights, subject=subject, sets=morning.sets, needs_shown=SET_NEEDS_SHOWN)
    )


def _urgent(notices: tuple[Notice, ...]) -> tuple[Notice, ...]:
    return tuple(notice for notice in notices if notice.level in ("problem", "warning"))


def _month(entry: IndexEntry) -> str:
    if entry.kind != "night":
        return SET_TITLES[entry.kind]
    found = _DATED.match(entry.night)
    if found is None or not 1 <= int(found.group(2)) <= 12:
        return "Nights without a date"
    return f"{views.MONTHS[int(found.group(2)) - 1]} {found.group(1)}"
