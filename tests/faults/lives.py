"""Nights of many deaths: one life after the other is killed by SIGKILL, at a failpoint or at a random moment, until one gets through.

``python -m tests.faults.lives FOLDER KILLS NIGHTS SEED`` runs them and prints what happened as JSON.  It is a process of its own:
it imports everything once, lets one night pass undisturbed, and then forks a child for each life.
"""

from __future__ import annotations

import email
import email.policy
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

from flows.pages import write_page
from nightcrew import failpoints
from nightcrew.ledger import claims, dispatches, history, messages, scopes
from nightcrew.settings import Settings
from tests.faults.harness import DAY, NIGHT, Life, make_material, settings_of
from tests.faults.picture import Picture, broken_promises, differences, picture_of, unowned
from tests.support.undrawn import undrawn

NEXT_DAY = "2026-05-18"
_LIVES = 60  # of one night; the ledger's clock has room for so many in a day
_ARRIVING = ("arrival.unrecorded", "ingest.unrecorded", "ingest.stored")
_UNKNOWN = "It is not known whether the mail of"


@dataclass
class Tale:
    """What happened to the nights."""

    kills: int = 0
    nights: int = 0
    at: dict[str, int] = field(default_factory=dict)  # failpoint, or "random moment" -> kills
    given_up: int = 0  # units that died three times and were asked for again by a person
    told: int = 0  # runs that a kill ended, each named in the ledger and on the page
    unknown_mails: int = 0  # killed between sending and knowing it: told the next morning, not sent again
    faults: list[str] = field(default_factory=list)  # broken promises; [] is what is hoped for
    seconds: float = 0.0


@dataclass(frozen=True)
class Undisturbed:
    """The same night without kills."""

    picture: Picture
    reached: dict[str, int]  # how often each failpoint is passed
    failed: list[str]  # units that failed even so
    seconds: float


def undisturbed(watched: Path, root: Path) -> Undisturbed:
    """One night in peace, in this process."""
    life = Life(settings_of(watched, root))
    begun = time.monotonic()
    with failpoints.counted() as counts:
        life.live()
    seconds = time.monotonic() - begun
    life.close()
    life = Life(settings_of(watched, root), morning=NEXT_DAY)
    life.live()
    found = picture_of(life.space)
    with life.space.database.read() as connection:
        failed = [one.reason for scope in scopes.find(connection) for one in history.failures(connection, scope.id).values()]
    life.close()
    return Undisturbed(found, dict(counts), failed, seconds)


def live_once(settings: Settings, number: int, failpoint: str, kill_after_s: float | None, morning: str = DAY) -> int:
    """A life in a child process; its exit status (``-9`` killed, 0 everything done, 1 a fault)."""
    child = begin_life(settings, number, failpoint, morning)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def begin_life(settings: Settings, number: int, failpoint: str = "", morning: str = DAY) -> int:
    """A life in a child process, which is this process's own: its number."""
    child = os.fork()
    if child == 0:
        _child(settings, number, failpoint, morning)
    return child


def _child(settings: Settings, number: int, failpoint: str, morning: str) -> None:
    code = 1
    try:
        failpoints.arm(failpoint)
        life = Life(settings, number, morning)
        life.live()
        life.close()
        code = 0
    except BaseException:  # noqa: BLE001  # the edge of the child: it says why, and ends here whatever it was
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def a_night_of_kills(watched: Path, root: Path, want: Undisturbed, tale: Tale, plan: list[str], rng: random.Random) -> None:
    """Kill at each place of ``plan`` ("" = at a random moment), then let it end, and look at what is left.

    Places that were not reached any more stay in ``plan``.
    """
    settings = settings_of(watched, root)
    number = 0
    while number < _LIVES:
        place = plan.pop(0) if plan else "the end"
        status = _disturbed(settings, number, place, want, rng)
        number += 1
        if status == 1:
            tale.faults.append(f"{root.name}: life {number} failed, see its trace")
            return
        if status == -signal.SIGKILL:
            tale.kills += 1
            where = place or "random moment"
            tale.at[where] = tale.at.get(where, 0) + 1
            tale.faults += [f"{root.name}, after a kill at {place or 'a random moment'}: {text}" for text in _now(settings, want)]
        elif status == 0:
            if place not in ("", "the end"):
                plan.insert(0, place)  # it was not reached any more
            break
        else:
            tale.faults.append(f"{root.name}: life {number} ended with {status}")
            return
    else:
        tale.faults.append(f"{root.name}: none of {_LIVES} lives came to its end")
        return
    tale.nights += 1
    _look(settings, number, want, tale, root.name)


def _disturbed(settings: Settings, number: int, place: str, want: Undisturbed, rng: random.Random) -> int:
    if place == "the end":
        return live_once(settings, number, "", None)
    if place == "":
        return live_once(settings, number, "", rng.uniform(0.05, 0.15) * want.seconds)
    most = 4 if place.startswith("file.") else 2 if place in _ARRIVING else 1  # so that each is reached again in a later life
    return live_once(settings, number, f"{place}:{rng.randint(1, min(want.reached[place], most))}", None)


def _now(settings: Settings, want: Undisturbed) -> list[str]:
    """Broken promises just after a kill."""
    if not (settings.state.root / "ledger.sqlite").exists():
        return []
    life = Life(settings)
    try:
        return broken_promises(life.space, want.picture)
    finally:
        life.close()


def _look(settings: Settings, number: int, want: Undisturbed, tale: Tale, name: str) -> None:
    """Compare what is left with the undisturbed night, and see that the report tells what it can know."""
    status = live_once(settings, 0, "", None, NEXT_DAY)  # the next morning comes
    if status != 0:
        tale.faults.append(f"{name}: the life of the next day ended with {status}")
    life = Life(settings, number)
    found = [*differences(want.picture, picture_of(life.space)), *broken_promises(life.space, want.picture)]
    found += [f"{path} is owned by no product" for path in unowned(life.space)]
    with life.space.database.read() as connection:
        happened = messages.happenings(connection, "")
        told = [text for _, _, level, text in happened if level == "problem"]
        mails = messages.mails(connection)
        left = claims.running(connection)
        asked = dispatches.recent(connection, 10_000)
    found += [f"a claim of {fingerprint[:12]} is left" for fingerprint in left]
    with undrawn():
        page = write_page(life.space, NIGHT).path.read_text(encoding="utf-8")
    crashed = [text for text in told if "Crashed" in text]
    ended = sum("Crashed" in row.outcome for row in asked)
    found += [] if len(crashed) == ended else [f"{ended} runs crashed, {len(crashed)} of them are told"]
    found += [f"the page does not name: {text}" for text in {*crashed, "started"} if text not in page]
    starts = sum(text == "started" for _, _, _, text in happened)
    found += [] if starts > number else [f"{number} lives and the next day's, {starts} starts are told"]
    found += _mail_faults(settings, {row.morning: row.state for row in mails}, tale)
    tale.given_up += sum(bool(row.wish.get("retry_failed")) for row in asked)
    tale.told += len(told)
    tale.faults += [f"{name}: {text}" for text in found]
    life.close()


def _mail_faults(settings: Settings, states: dict[str, str], tale: Tale) -> list[str]:
    """One mail a morning; one whose fate is unknown is told by the next."""
    found = [] if states.get(NEXT_DAY) == "delivered" else [f"the mail of the next morning is {states.get(NEXT_DAY)}"]
    if states.get(DAY) == "unknown":
        tale.unknown_mails += 1
        found += (
            [] if _UNKNOWN in _body(settings.mail.mailbox / f"{NEXT_DAY}.eml") else [f"the mail of {NEXT_DAY} does not say: {_UNKNOWN}"]
        )
    elif states.get(DAY) != "delivered":
        found.append(f"the mail of the morning is {states.get(DAY)}")
    return found


def _body(path: Path) -> str:
    """The plain text of a mail."""
    body = email.message_from_bytes(path.read_bytes(), policy=email.policy.default).get_body(("plain",))
    return "" if body is None else " ".join(str(body.get_content()).split())


def a_plan(wanted: list[str], rng: random.Random) -> list[str]:
    """Places of one night in the order in which a night passes them, with random moments ("") among those of its first half."""
    ordered = sorted(wanted, key=failpoints.PLACES.index)
    begun = sum(place in _ARRIVING for place in ordered)  # those places cannot be reached any more once everything is read
    for _ in range(max(1, len(ordered) // 5)):
        ordered.insert(rng.randint(begun, max(begun, len(ordered) // 2)), "")
    return ordered


def many_kills(folder: Path, kills: int, nights: int, seed: int) -> Tale:
    """At least ``kills`` kills, spread over at most ``nights`` nights."""
    tale = Tale()
    begun = time.monotonic()
    watched = make_material(folder / "material")
    want = undisturbed(watched, folder / "undisturbed")
    missing = sorted(set(failpoints.PLACES) - set(want.reached))
    tale.faults += [f"the night never reaches the failpoint {place}" for place in missing]
    tale.faults += [f"undisturbed: {text}" for text in want.failed]
    rng = random.Random(seed)
    left: list[str] = []
    for night in range(nights):
        if tale.kills >= kills or tale.faults:
            break
        if threading.active_count() > 1:
            raise RuntimeError("a process with threads must not fork")
        fresh = [place for place in sorted(want.reached) if place not in left]
        rng.shuffle(fresh)
        share = min(-(-(kills - tale.kills) // (nights - night)), len(want.reached))
        plan = a_plan([*left, *fresh][:share], rng)
        a_night_of_kills(watched, folder / f"night-{night}", want, tale, plan, rng)
        left = [place for place in plan if place]
    tale.seconds = time.monotonic() - begun
    return tale


def main(folder: str, kills: str, nights: str, seed: str) -> int:
    """Run, and print the tale."""
    tale = many_kills(Path(folder), int(kills), int(nights), int(seed))
    sys.stdout.write(json.dumps(asdict(tale)) + "\n")
    return 1 if tale.faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
