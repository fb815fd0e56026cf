"""``nightcrew status``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.common import ConfigOption, JsonOption, open_ledger, say, say_json, say_table, scopes_named

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from nightcrew.ledger.rows import ScopeRow
    from nightcrew.settings import Settings

_STATES = ("done", "degraded", "waiting", "rejected", "set_aside")
_MOST_REASONS = 12
_MOST_SETS = 20


def status(
    night: Annotated[
        str, typer.Argument(help="Night such as 2026-03-14 or 2026-03-14/INSTRUMENT, or a set such as sensor/set1; last: the newest night.")
    ] = "last",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """The balance of a night or set: what was seen, what became of it, what waits and for what; and whether the service runs."""
    from nightcrew.errors import Refused
    from nightcrew.settings import Settings

    settings = Settings.load(config)
    database = open_ledger(settings)
    service = _service(settings)
    paused = _paused(settings)
    with database.read() as connection:
        try:
            found = [_of_scope(connection, scope) for scope in scopes_named(connection, night)]
        except Refused:
            if night != "last":
                raise
            found = []
        rest = _without_scope(connection)
        outdated = _outdated(connection, settings)
        shown = {one["title"] for one in found}
        sets = _sets(connection, shown) if night == "last" else []
        others = _other_nights(connection, shown) if night == "last" else []
        untaken = _untaken(connection)
    if json:
        beside = {"sets": sets, "other_nights": others, "without_night": rest, "outdated": outdated}
        say_json({"service": service, "paused": paused, "untaken_runs": untaken, "scopes": found, **beside})
        return
    say(f"Service: {'runs, ' + service['ui_url'] + ', reports ' + service['pages_url'] if service['runs'] else 'does not run'}")
    if paused:
        say(f"Paused: the disk is nearly full: {paused}; it goes on by itself when there is room (`nightcrew doctor`)")
    for row in untaken:
        say(f"Waits: the run of {row['flow']} of {row['asked_at']} UTC, and nobody works on it (`nightcrew doctor`)")
    for one in found:
        _print(one)
    for title, key, lines in (
        ("Other nights that are open, or had files within a day:", "night", others),
        ("Sets:", "set", sets),
    ):
        if lines:
            say(f"\n{title}")
            say_table((key, "state", "files", *(word.replace("_", " ") for word in _STATES)), [list(one.values()) for one in lines])
    if rest["seen"]:
        say(f"\nWithout a night: {rest['seen']} files")
        _print_reasons(rest["reasons"])
    for old in outdated:
        say(f"\n{old['night']}  {old['instrument']}: at least {old['products']} products are outdated; `{old['command']}` remakes them")
    if not found:
        say("No night and no set is in the ledger yet.")


def _service(settings: Settings) -> dict[str, Any]:
    from deployments.endpoints import Endpoints, running_pid

    endpoints = Endpoints.read(settings.state.root)
    runs = running_pid(settings.state.root) is not None
    return {"runs": runs, "ui_url": endpoints.ui_url if endpoints else "", "pages_url": endpoints.pages_url if endpoints else ""}


def _paused(settings: Settings) -> str:
    """Why nothing is begun although files came: how full a disk is that is written to; "" while there is room."""
    from nightcrew.io.room import tightest

    try:
        room = tightest(settings)
    except OSError:  # the disk cannot be asked: `doctor` says so
        return ""
    return "" if room.enough else room.words


def _untaken(connection: Connection) -> list[dict[str, Any]]:
    """Runs that nobody works on although they were asked for long ago."""
    from datetime import UTC, datetime

    from nightcrew.ledger import run_signs

    found = run_signs.untaken(connection, datetime.now(UTC))
    return [{"flow": row.flow, "asked_at": row.created_at[:16]} for row in found]


def _of_scope(connection: Connection, scope: ScopeRow) -> dict[str, Any]:
    from nightcrew.ledger import arrivals

    rows = arrivals.of_scope(connection, scope.id)
    counts = Counter((row.kind or "unknown", row.state) for row in rows)
    kinds = sorted({kind for kind, _ in counts})
    balance = [{"kind": kind, **{state: counts[kind, state] for state in _STATES}} for kind in kinds]
    reasons = Counter((row.state, row.reason) for row in rows if row.state not in ("done",))
    return {
        "night": scope.name,
        "kind": scope.kind,
        "title": scope.title,
        "instrument": scope.instrument,
        "state": scope.state,
        "planned": scope.mark <= scope.planned_mark,
        "wakes_at": scope.wake_at,
        "seen": len(rows),
        "balance": balance,
        "reasons": _reasons(reasons),
    }


def _outdated(connection: Connection, settings: Settings) -> list[dict[str, Any]]:
    """Old nights whose products stand although newer masters or recipes overtook them."""
    from nightcrew.ledger import outdated
    from nightcrew.recipes.catalogue import RECIPES
    from reports.commands import command

    versions = {recipe.name: recipe.version for recipe in RECIPES.values()}
    return [
        {"night": scope.name, "instrument": scope.instrument, "products": count, "command": command("rerun", scope.title)}
        for scope, count in outdated.kept(connection, versions, settings.night.remake_nights)
    ]


def _sets(connection: Connection, shown: set[str]) -> list[dict[str, Any]]:
    """One line a set, those that files came for last first."""
    from nightcrew.ledger import scopes

    rows = sorted((s for s in scopes.find(connection) if s.kind != "night"), key=lambda s: s.last_arrival_at, reverse=True)
    return _lines(connection, "set", [row for row in rows[:_MOST_SETS] if row.title not in shown])


def _other_nights(connection: Connection, shown: set[str]) -> list[dict[str, Any]]:
    """One line a night beside the newest that is not over yet, or that files came for within a day: one camera more, an archive."""
    from datetime import UTC, datetime, timedelta

    from nightcrew.ledger import scopes
    from nightcrew.ledger.database import iso

    since = iso(datetime.now(UTC) - timedelta(days=1))
    rows = [s for s in scopes.find(connection, kind="night") if s.title not in shown]
    return _lines(connection, "night", [s for s in rows if s.state == "open" or s.last_arrival_at > since][:_MOST_SETS])


def _lines(connection: Connection, key: str, rows: list[ScopeRow]) -> list[dict[str, Any]]:
    from nightcrew.ledger import arrivals

    lines = []
    for scope in rows:
        counts: Counter[str] = Counter()
        for (_, state), count in arrivals.balance(connection, scope.id).items():
            counts[state] += count
        lines.append({key: scope.title, "state": scope.state, "files": counts.total(), **{word: counts[word] for word in _STATES}})
    return lines


def _without_scope(connection: Connection) -> dict[str, Any]:
    from nightcrew.ledger import arrivals

    rows = arrivals.without_scope(connection)
    return {"seen": len(rows), "reasons": _reasons(Counter((row.state, row.reason) for row in rows))}


def _reasons(counted: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"state": state, "reason": reason, "files": files} for (state, reason), files in counted.most_common()]


def _print(one: dict[str, Any]) -> None:
    say(f"\n{one['title'].replace('/', '  ', 1)}  {one['state']}" + ("" if one["planned"] else ", being planned"))
    rows: list[list[object]] = [[row["kind"], sum(row[s] for s in _STATES), *(row[s] for s in _STATES)] for row in one["balance"]]
    rows.append(["together", one["seen"], *(sum(row[s] for row in one["balance"]) for s in _STATES)])
    say_table(("kind", "seen", "done", "degraded", "waiting", "rejected", "set aside"), rows)
    _print_reasons(one["reasons"])


def _print_reasons(reasons: list[dict[str, Any]]) -> None:
    for row in reasons[:_MOST_REASONS]:
        say(f"  {row['files']:>5} x {row['state'].replace('_', ' ')}: {row['reason']}")
    if len(reasons) > _MOST_REASONS:
        say(f"  ... and {len(reasons) - _MOST_REASONS} further reasons (--json shows all)")
