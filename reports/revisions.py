"""What a page looked like before: its line in the index, a digest of its contents, and what changed since, in words."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports import names
from reports.model import GRADES, STATES, IndexEntry, NightPage, Verdict
from reports.text import joined, minute, visible
from reports.verdict import grade_counts, light_counts

FORMAT = 1
# what may differ between two looks at the same night without making a new revision of its page
_PASSING: dict[str, Any] = {
    "made_at": "",
    "revision": 0,
    "revision_notes": (),
    "folders": (),
    "notices": (),
    "trends": (),
    "links": (),
    "sections": (),
    "last_night_with_files": "",
    "config": "",
}


@dataclass(frozen=True)
class Stored:
    """What ``entry.json`` beside a page keeps of it; all empty for a page that is new."""

    entry: IndexEntry | None = None
    digest: str = ""
    notes: tuple[str, ...] = ()
    numbers: dict[str, int] = field(default_factory=dict)


def content_digest(page: NightPage) -> str:
    """A digest of what the page says about the night, without making time, sweeps and other passing matters."""
    text = repr(dataclasses.replace(page, **_PASSING))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def page_numbers(page: NightPage) -> dict[str, int]:
    """The counts by which two revisions are compared."""
    counts = {f"{row.kind} files|{row.instrument}": row.seen for row in page.balance}
    counts |= {f"files {state.replace('_', ' ')}|": page.total(state) for state in STATES}
    counts |= {f"lights of grade {name}|": count for name, count in zip(GRADES, grade_counts(page), strict=True)}
    counts |= {"masters|": len(page.masters), "stacks|": len(page.stacks)}
    counts["calibrations missing|"] = sum(cell.state == "missing" for cell in page.calibrations)
    counts["failures|"] = sum(cause.count for cause in page.causes if cause.state == "failed")
    return counts


def revision_note(before: dict[str, int], page: NightPage, revision: int) -> str:
    """One sentence: which counts changed since the revision with the counts ``before``."""
    now = page_numbers(page)
    changes = []
    for key in sorted(before.keys() | now.keys(), key=lambda key: list(now).index(key) if key in now else len(now)):
        old, new = before.get(key, 0), now.get(key, 0)
        if old != new:
            label, _, instrument = key.partition("|")
            changes.append(f"{label}{f' of {instrument}' if instrument else ''} {old} \N{RIGHTWARDS ARROW} {new}")
    what = joined(changes) if changes else "products were made again; no count changed"
    return visible(f"Revision {revision}, {minute(page.made_at)}: {what}.")


def index_entry(page: NightPage, verdict: Verdict) -> IndexEntry:
    """The page's line in the index of nights."""
    lights, reduced = light_counts(page)
    return IndexEntry(
        night=visible(page.night),
        kind=page.kind,
        link=names.page_path(page.kind, page.night),
        status=verdict.status,
        word=verdict.word,
        sentence=visible(verdict.sentence),
        revision=page.revision,
        instruments=tuple(visible(name) for name in page.instruments),
        seen=page.seen,
        lights=lights,
        reduced=reduced,
        grades=grade_counts(page),
        needs=sum(action.level in ("problem", "warning") for action in verdict.actions),
        made_at=page.made_at,
    )


def entry_text(page: NightPage, verdict: Verdict, digest: str) -> str:
    """``entry.json`` of a page."""
    body = {
        "format": FORMAT,
        "entry": dataclasses.asdict(index_entry(page, verdict)),
        "digest": digest,
        "notes": list(page.revision_notes),
        "numbers": {visible(key): value for key, value in page_numbers(page).items()},
    }
    return json.dumps(body, ensure_ascii=True, indent=1) + "\n"


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def read_stored(folder: Path) -> Stored:
    """What is kept of the page in ``folder``; an empty ``Stored`` when there is none or it cannot be read (a new page then)."""
    try:
        body = json.loads((folder / names.ENTRY).read_text(encoding="utf-8"))
        if body["format"] != FORMAT:
            return Stored()
        entry: dict[str, Any] = {key: _frozen(value) for key, value in body["entry"].items()}
        return Stored(IndexEntry(**entry), body["digest"], tuple(body["notes"]), dict(body["numbers"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Stored()
