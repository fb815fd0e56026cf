"""The night in one sentence, and what needs a person: computed from the page's model alone."""

from __future__ import annotations

from collections.abc import Iterator

from nightcrew.ledger.rows import MARKED_BAD
from reports.commands import all_asking, command
from reports.model import GRADES, LEVELS, Action, CalibrationCell, Cause, Level, NightPage, Status, TruthRow, Verdict
from reports.text import adaptive, joined, noun, number, plural, quantity, sentence, shortened, signed

FAULT = "a fault in Nightcrew"  # how a unit's own bug is written into the ledger
PLATE_FAILURES_PERCENT = 25.0  # of the lights that were to be solved: more asks for a look
BAD_FRACTION = 0.5  # of the lights without a product: the night is bad
WORDS: dict[Status, str] = {"good": "Good night", "attention": "Needs a look", "bad": "Bad night", "empty": "Empty night"}
CAMPAIGN_WORDS: dict[Status, str] = {"good": "All well", "attention": "Needs a look", "bad": "Failed", "empty": "Nothing came"}


def judge(page: NightPage, faults: tuple[str, ...] = ()) -> Verdict:
    """Verdict of ``page``; ``faults`` are what the report's check of its own contents found."""
    actions = all_asking(tuple(sorted(_actions(page, faults), key=lambda action: LEVELS.index(action.level))), page.config)
    status = _status(page, actions)
    words = WORDS if page.kind == "night" else CAMPAIGN_WORDS
    word = "The night failed" if page.failed and page.kind == "night" else words[status]
    reasons = empty_reasons(page) if status == "empty" else ()
    return Verdict(status=status, word=word, sentence=_sentence(page, actions), actions=actions, reasons=reasons)


def grade_counts(page: NightPage) -> tuple[int, int, int, int]:
    """Lights with a product, by grade A to D."""
    made = [light.grade for light in page.lights if light.state in ("done", "degraded")]
    return (made.count("A"), made.count("B"), made.count("C"), made.count("D"))


def light_counts(page: NightPage) -> tuple[int, int]:
    """(lights that count, lights with a product); duplicates set aside do not count."""
    reduced = page.total("done", "light") + page.total("degraded", "light")
    return reduced + page.total("waiting", "light") + page.total("rejected", "light"), reduced


def _status(page: NightPage, actions: tuple[Action, ...]) -> Status:
    lights, reduced = light_counts(page)
    if page.failed:
        return "bad"
    if page.seen == 0 and (page.kind == "night" or not page.sections):
        return "empty"
    if lights and reduced < (1 - BAD_FRACTION) * lights and page.closed:
        return "bad"
    if page.kind != "night" and any(section.status == "bad" for section in page.sections):
        return "bad"
    return "attention" if any(action.level in ("problem", "warning") for action in actions) else "good"


def _sentence(page: NightPage, actions: tuple[Action, ...]) -> str:
    if page.failed:
        return f"Processing stopped: {page.failed.rstrip('.')}. What was finished before is kept; the next run makes the rest."
    if page.seen == 0 and page.kind == "night":
        others = f" Analysed meanwhile: {joined([section.title for section in page.sections])}." if page.sections else ""
        return f"No files arrived for this night.{others}"
    if page.seen == 0 and not page.sections:
        return "No files arrived."
    text = f"{_what_was_made(page)}; {_what_it_asks(actions)}."
    text = text[0].upper() + text[1:]
    return text if page.closed else f"{text} The {_thing(page)} is still open: this page is preliminary."


def _thing(page: NightPage) -> str:
    return "night" if page.kind == "night" else "campaign"


def _what_was_made(page: NightPage) -> str:
    lights, reduced = light_counts(page)
    masters = plural(len(page.masters), "master")
    if lights:
        grades = [f"{count} with grade {name}" for name, count in zip(GRADES, grade_counts(page), strict=True) if count]
        if len(grades) == 1:
            grades = [("both" if reduced == 2 else "all" if reduced > 1 else "it") + f" with grade {grades[0][-1]}"]
        return f"{number(reduced, 0)} of {plural(lights, 'light')} reduced" + (f", {joined(grades)}" if grades else "")
    if page.sections and not page.seen:
        return joined([section.title for section in page.sections]) + " analysed"
    if page.masters:
        return f"no lights; {masters} made of {plural(sum(m.frames for m in page.masters), 'calibration frame')}"
    if page.sections:
        return f"{plural(page.seen, 'file')} seen, {joined([section.title for section in page.sections])} analysed"
    return f"{plural(page.seen, 'file')} seen, none of them a light"


def _what_it_asks(actions: tuple[Action, ...]) -> str:
    urgent = sum(action.level in ("problem", "warning") for action in actions)
    known = sum(action.level == "notice" for action in actions)
    if urgent:
        return plural(urgent, "thing needs", "things need") + " a person"
    return "nothing needs a person" + (f" ({plural(known, 'remark')})" if known else "")


def empty_reasons(page: NightPage) -> tuple[str, ...]:
    """Why nothing came, as far as the service can know; at least one sentence."""
    reasons: list[str] = []
    for folder in page.folders:
        if not folder.reachable:
            reasons.append(f"The watched folder {folder.path} could not be reached. {folder.note}".strip())
        elif not folder.last_sweep_at:
            reasons.append(f"The watched folder {folder.path} was not walked during this night. {folder.note}".strip())
        elif not folder.walked:
            text = f"The watched folder {folder.path} was last walked at {folder.last_sweep_at}: what came later was not looked for, "
            reasons.append(f"{text}the service or its watcher did not run. {folder.note}".strip())
        else:
            last = f"the last file there came at {folder.last_file_at}" if folder.last_file_at else "no file was ever seen there"
            reasons.append(f"The watched folder {folder.path} was walked until {folder.last_sweep_at}; {last}. {folder.note}".strip())
    if not page.folders:
        reasons.append("No folder is watched: add one under [[folders]] in nightcrew.toml.")
    troubles = [notice.text for notice in page.notices if notice.level in ("problem", "warning")]
    reasons += troubles
    if page.last_night_with_files:
        reasons.append(f"The last night with files was {page.last_night_with_files}.")
    if all(folder.reachable and folder.last_sweep_at and folder.walked for folder in page.folders) and page.folders and not troubles:
        reasons.append(
            "The service was running and the folders were reachable, "
            "so most likely nothing was taken (clouds, a closed dome, another path)."
        )
    return tuple(reasons)


def _actions(page: NightPage, faults: tuple[str, ...]) -> Iterator[Action]:
    yield from (Action(level="problem", text=f"The report itself is incomplete: {fault}", anchor="provenance") for fault in faults)
    if page.failed:
        text = f"The {_thing(page)}'s run failed: {sentence(page.failed)} It is started again by itself; look why it failed"
        yield Action(level="problem", text=text, command=command("status", page.night), anchor="failures")
    yield from _balance_actions(page)
    yield from (Action(level=n.level, text=n.text, command=n.command) for n in page.notices if n.level != "info")
    yield from _cause_actions(page)
    yield from _calibration_actions(page)
    yield from _master_actions(page)
    yield from _plate_actions(page)
    yield from _trend_actions(page)
    yield from _truth_actions(page.truth)
    for section in page.sections:
        if section.status in ("attention", "bad"):
            level: Level = "problem" if section.status == "bad" else "warning"
            if page.kind == "night":  # a set has its own page and its own verdict in the mail; the night is not worse for it
                level = "notice"
            yield Action(level=level, text=f"{section.title}: {section.verdict}", anchor="analyses")


def _balance_actions(page: NightPage) -> Iterator[Action]:
    for row in page.balance:
        if row.missing:
            text = (
                f"The balance of {row.instrument or 'files without instrument'}, {row.kind}, does not close: {row.seen} seen, "
                f"{row.seen - row.missing} accounted for. This is a bug of Nightcrew"
            )
            yield Action(level="problem", text=text, command=command("doctor"), anchor="balance")


def _cause_actions(page: NightPage) -> Iterator[Action]:
    yield from _fault_actions(page)
    lights, _ = light_counts(page)
    for cause in page.causes:
        what = plural(cause.count, noun(cause.kind))
        why = f"{cause.cause.rstrip('.')}. {sentence(cause.mend)}".strip()
        if FAULT in cause.cause:
            continue
        if cause.state == "failed":
            text = f"{plural(cause.count, 'product')} failed: {why}"
            yield Action(level="problem", text=text, command=cause.command, anchor="failures")
        elif cause.state == "waiting" and page.closed:
            yield Action(level="warning", text=f"{what} still waiting: {why}", command=cause.command, anchor="failures")
        elif cause.state == "rejected":
            heavy = cause.kind == "light" and cause.count > max(2, 0.1 * lights)
            level: Level = "warning" if heavy else "notice"
            yield Action(level=level, text=f"{what} rejected: {why}", command=cause.command, anchor="failures")
        elif cause.state == "set_aside" and cause.mend:
            yield Action(level="warning", text=f"{what} set aside: {why}", command=cause.command, anchor="balance")


def _fault_actions(page: NightPage) -> Iterator[Action]:
    """Bugs of Nightcrew itself, each once, however many files it hit."""
    hit: dict[str, list[Cause]] = {}
    for cause in page.causes:
        if FAULT in cause.cause:
            hit.setdefault(cause.cause.partition(FAULT)[2].strip(": "), []).append(cause)
    for fault, causes in hit.items():
        what = plural(sum(cause.count for cause in causes), "file or product", "files or products")
        text = f"A bug of Nightcrew stopped {what}: {sentence(fault)} Please report it; the command shows where"
        yield Action(level="problem", text=text, command=causes[0].command, anchor="failures")


def _calibration_actions(page: NightPage) -> Iterator[Action]:
    for cell in page.calibrations:
        if cell.state == "missing":
            users = f"; {plural(cell.users, 'light')} had to do without" if cell.users else ""
            text = f"No {cell.kind} for {_cell_name(cell)}{users}. {sentence(shortened(cell.reason, 240))}".strip()
            yield Action(level="warning", text=text, command=cell.command, anchor="calibration")
        elif cell.grade in ("C", "D"):
            text = f"The {cell.kind} for {_cell_name(cell)} is risky (grade {cell.grade}): {cell.reason}"
            yield Action(level="warning", text=text, command=cell.command, anchor="calibration")


def _cell_name(cell: CalibrationCell) -> str:
    return f"{cell.label} ({cell.instrument})" if cell.label else cell.instrument


def _master_actions(page: NightPage) -> Iterator[Action]:
    for master in page.masters:
        name = f"{master.kind} master {master.label}".strip() + f" ({master.instrument})"
        if not master.certified and master.certification.startswith(MARKED_BAD):  # a person knows, and said why
            text = f"The {name} is not used: {master.certification}"
            yield Action(level="notice", text=text, command=master.command, anchor="masters")
        elif not master.certified:
            yield Action(
                level="warning",
                text=f"The {name} failed its test and is not used: {master.certification}",
                command=master.command,
                anchor="masters",
            )
        elif master.changed:
            sigma = f" ({signed(master.change_sigma, 1)} sigma)" if master.change_sigma is not None else ""
            change = quantity(signed(master.change, 2), master.change_unit or master.level_unit)
            text = f"The {name} changed by {change}{sigma} against {master.compared_with}: look whether it should be used"
            yield Action(level="warning", text=text, command=master.command, anchor="masters")


def _plate_actions(page: NightPage) -> Iterator[Action]:
    """Coordinates are an addition: a solver that fails asks for a look, and never makes a night bad."""
    for plate in page.plates:
        if plate.unavailable and plate.unsolved:
            text = f"{plural(plate.unsolved, 'light')} of {plate.instrument} stayed without world coordinates: {plate.unavailable}"
            yield Action(level="warning", text=text, command=command("doctor"), anchor="lights")
        elif plate.failure_percent is not None and plate.failure_percent > PLATE_FAILURES_PERCENT:
            tried = plural(plate.solved + plate.failed, "light")
            why = shortened(plate.reasons[0][0], 160) if plate.reasons else ""
            text = (
                f"The plate solver failed on {plate.failed} of {tried} of {plate.instrument} ({number(plate.failure_percent, 0)} %): {why}"
            )
            yield Action(level="warning", text=text, command=command("rerun", page.night), anchor="lights")


def _trend_actions(page: NightPage) -> Iterator[Action]:
    for trend in page.trends:
        if trend.outside and trend.limits is not None and trend.points:
            value = quantity(adaptive(trend.points[-1].value), trend.unit)
            bounds = f"{adaptive(trend.limits.low)} to {quantity(adaptive(trend.limits.high), trend.unit)}"
            text = f"{trend.label} of {trend.instrument} is {value}; the last {trend.limits.nights} nights were within {bounds}"
            yield Action(level="warning", text=text, anchor="trends")


def _truth_actions(rows: tuple[TruthRow, ...]) -> Iterator[Action]:
    wrong = [row.name for row in rows if not row.passed]
    if wrong:
        yield Action(level="problem", text=f"Recovered values disagree with the simulated truth: {joined(wrong)}", anchor="truth")
