"""The run log of a reduction: for each group of lights, which frames made it; and every decision of its plan."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from sqlalchemy import Connection

from nightcrew.frames.model import FrameHeader
from nightcrew.ledger import products
from nightcrew.ledger.rows import ProductRow, ScopeRow
from nightcrew.planning.model import Plan
from nightcrew.planning.snapshot import frames_of

Group = tuple[str, str, str, float | None]


def decisions(plan: Plan) -> Iterator[str]:
    """Every decision of a plan, a line each: for ``--level DEBUG``."""
    for planned in plan.products:
        made_of = ", ".join(f"{item.role} {item.fingerprint[:12]}" for item in planned.inputs)
        why = f" ({'; '.join(planned.grade_reasons)})" if planned.grade_reasons else ""
        yield f"{planned.name}: {planned.status}, grade {planned.grade}{why}; of {made_of}; parameters {planned.parameters}"
        for choice in planned.choices:
            yield f"{planned.name}: {choice.need}: " + (f"{choice.fingerprint[:12]}, grade {choice.grade}" if choice.found else "none fits")
    for frame_id, reason in sorted({**plan.waiting, **plan.excluded, **plan.gone}.items()):
        yield f"frame {frame_id}: {reason}"


def run_log(connection: Connection, scopes: Iterable[ScopeRow]) -> str:
    """Text: one paragraph a group (target, filter, gain, exposure), one line a kind of frame in it, ``n x type``."""
    parts = []
    for scope in scopes:
        parts.append(f"{scope.title}\n")
        headers = {frame.id: frame.header for frame in frames_of(connection, scope.id)}
        rows = products.current_of_scope(connection, scope.id)
        parts += _groups(connection, rows, headers)
    return "\n".join(parts)


def _groups(connection: Connection, rows: list[ProductRow], headers: dict[int, FrameHeader]) -> list[str]:
    groups: dict[Group, list[ProductRow]] = defaultdict(list)
    for row in rows:
        if row.recipe == "reduce_light":
            groups[_group(_light(connection, row, headers), row)].append(row)
    texts = []
    for (target, filter_name, gain, exposure_s), members in sorted(groups.items(), key=lambda item: str(item[0])):
        lines = [f"  {target or 'no target'}, {filter_name or 'no filter'}, gain {gain or '-'}, {_seconds(exposure_s)}"]
        lines += [f"    {len(members)} x light, {filter_name or 'no filter'}, gain {gain or '-'}, {_seconds(exposure_s)}"]
        paragraphs = [
            _master_lines(connection, master, users, len(members), headers) for master, users in _masters(connection, members).items()
        ]
        lines += [line for paragraph in sorted(paragraphs) for line in paragraph]
        texts.append("\n".join(lines) + "\n")
    return texts


def _light(connection: Connection, row: ProductRow, headers: dict[int, FrameHeader]) -> FrameHeader | None:
    ids = [item.frame_id for item, _ in products.inputs_of(connection, row.id) if item.frame_id is not None]
    return headers.get(ids[0]) if ids else None


def _group(header: FrameHeader | None, row: ProductRow) -> Group:
    if header is None:
        return str(row.facts.get("target", "")), str(row.facts.get("filter", "")), "", row.facts.get("exposure_s")
    return header.target, header.filter, header.gain_setting, header.exposure_s


def _masters(connection: Connection, members: list[ProductRow]) -> Counter[str]:
    """Fingerprints of the masters that the lights used, each with the number of lights."""
    used: Counter[str] = Counter()
    for row in members:
        used.update({item.fingerprint for item, _ in products.inputs_of(connection, row.id) if item.frame_id is None})
    return used


def _master_lines(connection: Connection, fingerprint: str, users: int, lights: int, headers: dict[int, FrameHeader]) -> list[str]:
    row = products.by_fingerprint(connection, fingerprint)
    if row is None:
        return []
    frames: Counter[str] = Counter()
    for item, left_out in products.inputs_of(connection, row.id):
        if item.frame_id is not None:
            frames[_words(headers.get(item.frame_id)) + (f" (left out: {left_out})" if left_out else "")] += 1
    share = "" if users == lights else f", for {users} of {lights} lights"
    title = f"    {row.recipe.replace('_', ' ')} {row.key}, grade {row.grade}{share}"
    return [title, *(f"      {count} x {words}" for words, count in sorted(frames.items()))]


def _words(header: FrameHeader | None) -> str:
    if header is None:
        return "frame of another night"
    shown_filter = f", {header.filter}" if header.kind in ("light", "flat") and header.filter else ""
    return f"{header.kind}{shown_filter}, gain {header.gain_setting or '-'}, {_seconds(header.exposure_s)}"


def _seconds(exposure_s: float | None) -> str:
    return "unknown exposure" if exposure_s is None else f"{exposure_s:g} s"
