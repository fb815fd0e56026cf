"""What a run shows in Prefect's pages: tables of masters and of rejected files, links to report and products."""

from __future__ import annotations

import html
import re
from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.pages import link_of
from nightcrew.ledger import arrivals, products
from nightcrew.ledger.rows import ScopeRow
from nightcrew.recipes.catalogue import RECIPES
from reports.text import visible
from tasks.naming import folder_of_files
from tasks.workspace import Workspace

_MOST_ROWS = 200


def artifact_key(*parts: str) -> str:
    """A key as Prefect wants it: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def as_markdown(text: str) -> str:
    """``text`` as plain words in Markdown, no link among them: the name of a set may hold anything."""
    plain = html.escape(re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", text), quote=False)
    return re.sub(r"(?i)(?<=www)\.|(?<=:)//|@", lambda found: "".join(f"&#{ord(char)};" for char in found[0]), plain)


def _cells(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first rows of a table; Prefect's pages take a cell for Markdown, and names and reasons hold what files hold."""
    return [{name: as_markdown(visible(v)) if isinstance(v, str) else v for name, v in row.items()} for row in table[:_MOST_ROWS]]


def tell_of_masters(space: Workspace, scope: ScopeRow) -> None:
    """A table of the scope's current masters."""
    with space.database.read() as connection:
        rows = products.current_of_scope(connection, scope.id)
    table: list[dict[str, Any]] = [
        {
            "master": RECIPES[row.recipe].title,
            "of": row.key.replace("_", " "),
            "frames": row.metrics.get("n_frames"),
            "level (ADU)": _rounded(row.metrics.get("level_adu")),
            "noise (ADU)": _rounded(row.metrics.get("noise_adu")),
            "grade": row.grade,
            "used": "yes" if row.usable else row.barred_because,
        }
        for row in rows
        if row.recipe in RECIPES and RECIPES[row.recipe].is_master
    ]
    if table:
        create_table_artifact(
            key=artifact_key("masters", scope.name, scope.instrument),
            table=_cells(table),
            description=f"Masters of {as_markdown(scope.title)}",
        )


def tell_of_rejected(space: Workspace, scope: ScopeRow) -> None:
    """A table of the scope's rejected files, each with its reason."""
    with space.database.read() as connection:
        rows = [row for row in arrivals.of_scope(connection, scope.id) if row.state == "rejected"]
    if rows:
        table = [{"file": _shown(row.path), "kind": row.kind, "reason": row.reason} for row in rows]
        create_table_artifact(
            key=artifact_key("rejected", scope.name, scope.instrument),
            table=_cells(table),
            description=f"Rejected files of {as_markdown(scope.title)}",
        )


def link_to_report(space: Workspace, page: str, title: str) -> None:
    """A link to a report page; ``page`` is its path below the report folder."""
    link, text = link_of(space, page), f"Report of {as_markdown(title)}"
    if not link:
        return
    create_link_artifact(key=artifact_key("report", title), link=link, link_text=text, description=text)


def tell_of_products(space: Workspace, scope: ScopeRow) -> None:
    """A table of the scope's reduced lights and stacks, with their files."""
    with space.database.read() as connection:
        rows = [row for row in products.current_of_scope(connection, scope.id) if row.recipe in ("reduce_light", "stack")]
    if rows:
        table = [
            {"product": RECIPES[row.recipe].title, "of": row.key.replace("_", " "), "grade": row.grade, "file": row.files[0].path}
            for row in rows
        ]
        create_table_artifact(
            key=artifact_key("products", scope.name, scope.instrument),
            table=_cells(table),
            description=f"Products of {as_markdown(scope.title)}, files below `{space.settings.products.root}`",
        )


def tell_of_set(space: Workspace, scope: ScopeRow) -> None:
    """A table of a set's current products, with their folders."""
    with space.database.read() as connection:
        rows = [row for row in products.current_of_scope(connection, scope.id) if row.files]
    if rows:
        table = [
            {"product": RECIPES[row.recipe].title, "of": row.key, "grade": row.grade, "folder": str(folder_of_files(row.files))}
            for row in rows
        ]
        create_table_artifact(
            key=artifact_key("products", scope.kind, scope.name),
            table=_cells(table),
            description=f"Products of {as_markdown(scope.title)}, folders below `{space.settings.products.root}`",
        )


def _rounded(value: Any) -> float | None:
    return round(float(value), 3) if isinstance(value, int | float) else None


def _shown(path: bytes) -> str:
    return path.decode(errors="replace")
