"""All names below the report folder are made here, so that a hostile campaign or figure name can reach no other place."""

from __future__ import annotations

import hashlib
import re

from nightcrew.planning.set_names import safe_part
from reports.model import ScopeKind

PAGE = "index.html"
ENTRY = "entry.json"
NUMBERS = "numbers"
FIGURES = "figures"


def slug(text: str, limit: int = 60) -> str:
    """``text`` as one file-name part: letters, digits, ``.``, ``_`` and ``-``; altered ones get a hash, so none collide."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:limit]
    if plain == text and plain:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain}-{digest}" if plain else digest


def page_folder(kind: ScopeKind, name: str) -> str:
    """Folder of a page below the report folder: ``night/2026-03-14``, ``sensor/set1``."""
    return f"{kind}/{slug(name) if kind == 'night' else safe_part(name)}"


def page_path(kind: ScopeKind, name: str) -> str:
    """Path of a page below the report folder: ``night/2026-03-14/index.html``."""
    return f"{page_folder(kind, name)}/{PAGE}"


def old_revision(revision: int) -> str:
    """File name of a page that a newer revision replaced."""
    return f"revision-{revision}.html"
