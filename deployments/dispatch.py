"""From what is due in the ledger to runs in Prefect: a dispatch row per attempt, asked again until accepted.

The row's id is the idempotency key, so an answer that was lost starts nothing twice; a new row is made once the last run
ended, since Prefect gives the same failed run back for a repeated key.  Nothing here decides what is to be made.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from deployments.pauses import Pauses, Silence
from deployments.runs import WAITS, UnknownToPrefectError
from flows.catalogue import FLOW_OF_SCOPE
from nightcrew import failpoints
from nightcrew.errors import TransientError
from nightcrew.io.room import tightest
from nightcrew.ledger import arrivals, claims, clock_back, comparisons, dispatches, messages, run_signs, scopes
from nightcrew.ledger.database import iso
from nightcrew.ledger.dispatches import DispatchRow
from nightcrew.ledger.rows import ScopeRow
from nightcrew.ledger.run_signs import Worker
from nightcrew.settings import Settings
from tasks.workspace import Workspace

_LOG = logging.getLogger("nightcrew.dispatch")
_LOOK_S = 0.5
_CLOSE_EVERY_S = 2.0
_ALIVE_EVERY_S = 60.0
_SWEEP_PATIENCE_S = 600.0
_MORNING_PATIENCE_S = 600.0
_DIED = ("Crashed", "Lost")  # how the outcome of a run begins whose process went away
_WISHES = 3
_PATIENCE_S = {Worker.GONE: 60.0, Worker.NONE: 1800.0}  # until a run that has begun is believed to be lost
_LONGEST_UNTAKEN_S = 7200.0
_AT_ONCE = 1  # nights, the newest first, and beside them sets: a plan fills the machine by itself, yet no set holds up the night


class Runs(Protocol):
    """What the dispatcher needs of Prefect.  Both raise TransientError while the server cannot be reached."""

    def start(self, row: DispatchRow, scope: ScopeRow | None) -> str:
        """Ask for a run; the id of the run.  Asked again for the same row it gives the same run."""

    def outcome(self, run_id: str) -> str | None:
        """How a run ended (``Completed``, or another state with its message), ``WAITS`` before it begins, None while it runs."""

    def crash(self, run_id: str, message: str) -> None:
        """Mark a run as Crashed that has not ended and will not."""


class Dispatcher:
    """See the module; :meth:`step` is one look."""

    def __init__(self, space: Workspace, runs: Runs, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._space = space
        self._runs = runs
        self._clock = clock
        self._pauses = Pauses()
        self._server = Pauses(first_s=1.0, longest_s=30.0)
        self._silence = Silence()
        self._asked_s = clock()
        self._started = space.database.now()
        self._started_s = clock()
        self._close_at_s = clock()
        self._products_at_s = clock()
        self._alive_at_s = clock()
        self._future_at_s = clock()
        self._morning_at_s = clock() + _MORNING_PATIENCE_S  # a schedule that is late because we were away fires by itself
        self._paused = False
        self._room_at_s = clock()
        self._doubted: dict[int, float] = {}  # dispatch row -> since when nobody seems to work on its run
        self._waiting: dict[int, float] = {}  # dispatch row -> since when its run waits for a runner
        self._busy_s = clock()  # when a run of ours was last seen to be worked on
        self._untaken: dict[Hashable, int] = {}  # how often in a row nobody took the run of a flow and scope
        self._untold: list[tuple[str, str, str]] = []  # what is to be said (of whom, how bad) as soon as the ledger can be written

    def step(self) -> None:
        """Reconcile with Prefect, want what is due, ask for it."""
        try:
            self._mend_future()
            self._reconcile()
            self._want_ingest()
            self._close_nights()
            self._look_after_products()
            self._want_mail()
            self._want_missed_morning()
            self._want_nights()
            self._ask()
            self._tell()
            self._say_alive()
        except TransientError as error:
            _LOG.warning("%s", error)

    def _mend_future(self) -> None:
        """A clock that was set back would leave nights open and mails unsent until it has caught up."""
        now_s = self._clock()
        if now_s < self._future_at_s:
            return
        self._future_at_s = now_s + _ALIVE_EVERY_S
        night = self._space.settings.night
        longest_s = max(night.quiet_s, night.group_quiet_s, *(folder.quiet_s for folder in self._space.settings.folders))
        if clock_back.mend_future(self._space.database, longest_s):
            text = "the clock was set back: times of the ledger that lay in the future were taken for now; news may be told twice"
            _LOG.warning("%s", text)
            messages.happened(self._space.database, "service", "problem", text)

    def _living(self) -> list[DispatchRow]:
        with self._space.database.read() as connection:
            return dispatches.all_living(connection)

    def _reconcile(self) -> None:
        """End the rows whose runs have ended."""
        waiting: list[DispatchRow] = []
        for row in self._living():
            if not row.run_id or not self._server_may():
                continue
            try:
                outcome = self._runs.outcome(row.run_id)
                self._server_answered()
                if outcome == WAITS:
                    self._doubted.pop(row.id, None)
                    waiting.append(row)
                    continue
                outcome = outcome or self._lost(row)
            except TransientError as error:
                self._server_failed(error)
                return
            self._taken(row)
            if outcome is not None:
                self._end(row, outcome)
        self._end_untaken(waiting)

    def _end(self, row: DispatchRow, outcome: str) -> None:
        # What a person asked for is not forgotten with the process that died over it; after three deaths it is.
        lives = _WISHES if outcome.startswith(_DIED) else 0
        dispatches.end(self._space.database, row, outcome, lives=lives, uncounted=Worker.NONE.value)
        run_signs.end(self._space.database, row.run_id)
        self._doubted.pop(row.id, None)
        if outcome != "Completed":
            _LOG.warning("run %s of %s ended %s", row.run_id, row.flow, outcome)

    def _taken(self, row: DispatchRow) -> None:
        """A runner took this run: runners are at work."""
        self._busy_s = self._clock()
        self._waiting.pop(row.id, None)
        self._untaken.pop((row.flow, row.scope_id), None)

    def _end_untaken(self, waiting: list[DispatchRow]) -> None:
        """Runs that no runner takes although none of ours is worked on are told, and asked for anew, ever more rarely.

        While runners are at work a run waits for its turn as long as it takes.
        """
        for row in waiting:
            with self._space.database.read() as connection:
                if run_signs.worker(connection, row.run_id) is Worker.LIVES:  # between two attempts
                    self._busy_s = self._clock()
            since_s = max(self._waiting.setdefault(row.id, self._clock()), self._busy_s)
            times = self._untaken.get((row.flow, row.scope_id), 0)
            if self._clock() - since_s <= min(run_signs.UNTAKEN_S * 2 ** min(times, 9), _LONGEST_UNTAKEN_S):
                continue
            message = f"no runner took it for {(self._clock() - since_s) / 60:.0f} minutes, {Worker.NONE.value}"
            try:
                self._runs.crash(row.run_id, message)
            except TransientError as error:
                self._server_failed(error)
                return
            self._untaken[row.flow, row.scope_id] = times + 1
            self._waiting.pop(row.id, None)
            self._end(row, f"Lost: {message}")

    def _lost(self, row: DispatchRow) -> str | None:
        """How a run ended that Prefect believes to be running, and that nobody works on any more; None for a healthy one.

        The run's own process said who it is, or holds the plan of the scope.  Prefect is left some time to notice by itself
        that it is gone.
        """
        with self._space.database.read() as connection:
            worker = run_signs.worker(connection, row.run_id)
            if worker is Worker.NONE and row.scope_id is not None and claims.somebody_plans(connection, row.scope_id):
                worker = Worker.LIVES
        if worker is Worker.LIVES:
            self._doubted.pop(row.id, None)
            return None
        since_s = self._doubted.setdefault(row.id, self._clock())
        if self._clock() - since_s <= _PATIENCE_S[worker]:
            return None
        message = f"{worker.value}, and nobody told"
        self._runs.crash(row.run_id, message)
        return f"Crashed: {message}"

    def _want_ingest(self) -> None:
        database = self._space.database
        with database.read() as connection:
            if not comparisons.count_waiting(connection) or dispatches.living(connection, "ingest", None):
                return
            most = self._space.settings.limits.burst_files
            waiting = frozenset(row.id for row in (*arrivals.to_read(connection, most), *comparisons.doubted(connection, most)))
        if self._pauses.may("ingest", waiting, self._clock()):
            self._pauses.tried("ingest", waiting, self._clock())
            dispatches.request(database, "ingest", None)

    def _close_nights(self) -> None:
        now_s = self._clock()
        if now_s < self._close_at_s or not self._swept():
            return
        self._close_at_s = now_s + _CLOSE_EVERY_S
        database = self._space.database
        with database.read() as connection:
            # A file that cannot be opened must not keep the night open for ever: only those that nobody tried yet do.
            settled = not arrivals.count_untried(connection) and bool(scopes.find(connection, state="open"))
        if settled:
            for scope in self._space.close_what_is_over():
                _LOG.info("closed %s", scope.title)

    def _look_after_products(self) -> None:
        """A product that a person deleted comes back, and so do raw files that were away: their scopes are marked to look again."""
        now_s = self._clock()
        if now_s >= self._products_at_s:
            self._products_at_s = now_s + self._space.settings.watch.sweep_s
            returned = self._space.notice_returned_files()
            if returned:
                _LOG.info("%d raw files that were away are there again", returned)
            for title in self._space.notice_lost_products():
                _LOG.warning("files of products of %s are gone: they are made again", title)

    def _swept(self) -> bool:
        """Has every folder been swept since we started (or did one fail to answer for long)?  Else nothing is known to be missing."""
        with self._space.database.read() as connection:
            signs = messages.signs_of_life(connection)
        names = [messages.sweep_sign(str(folder.path)) for folder in self._space.settings.folders]
        fresh = all(name in signs and signs[name][0] >= self._started for name in names)
        return fresh or self._clock() - self._started_s > _SWEEP_PATIENCE_S

    def _has_room(self) -> bool:
        """Is there more free space than the reserve?  Below it nothing is started; said when it begins and when it ends.

        A disk that cannot be asked pauses as a full one does: what needs no room (reading what arrived, the mail) goes on.
        """
        if self._clock() < self._room_at_s:
            return not self._paused
        try:
            room = tightest(self._space.settings)
            enough = room.enough
            text = f"goes on, there is room again: {room.words}" if enough else f"paused, the disk is nearly full: {room.words}"
        except OSError as error:
            enough, text = False, f"paused, a disk cannot be asked for its room: {error}"
            self._room_at_s = self._clock() + _ALIVE_EVERY_S  # each look at one that does not answer leaves somebody waiting for it
        if enough is self._paused:
            self._paused = not enough
            self._untold.append(("disk", "problem" if self._paused else "info", text))
            _LOG.warning("%s", text)
        self._tell()
        return not self._paused

    def _want_nights(self) -> None:
        database = self._space.database
        if not self._has_room():
            return
        with database.read() as connection:
            to_plan = {scope.id: scope for scope in scopes.due(connection, database.now())}
            wanted = {**to_plan, **{scope.id: scope for scope in scopes.unreported(connection)}}
            due = [scope for scope in wanted.values() if scope.kind in FLOW_OF_SCOPE]
            if not due:
                return
            living = [scopes.get(connection, row.scope_id) for row in dispatches.all_living(connection) if row.scope_id is not None]
            asked = dispatches.newest(connection, [scope.id for scope in due if scope.kind != "night"])
        room = {of_night: _AT_ONCE - sum((one.kind == "night") is of_night for one in living) for of_night in (True, False)}
        busy = {one.id for one in living}
        # Nights the newest first; of sets the one that was not asked for the longest, so that one that always grows holds up no other.
        for scope in sorted(due, key=lambda scope: asked.get(scope.id, 0)):
            # A page that cannot be written pauses by itself: its runs move the time of the next plan, which is no progress of the page.
            plans, of_night = scope.id in to_plan, scope.kind == "night"
            key: Hashable = scope.id if plans else ("page", scope.id)
            progress = (scope.planned_mark, scope.wake_at if plans else "")
            if room[of_night] <= 0 or scope.id in busy or not self._pauses.may(key, progress, self._clock()):
                continue
            self._pauses.tried(key, progress, self._clock())
            dispatches.request(database, FLOW_OF_SCOPE[scope.kind], scope.id)
            room[of_night] -= 1

    def _want_mail(self) -> None:
        """A mail that could not be sent is tried again when its pause is over, not only the next morning."""
        if self._space.settings.mail.transport == "none":
            return
        database = self._space.database
        with database.read() as connection:
            due = [row for row in messages.mails(connection, "queued") if row.attempts and row.next_try_at <= database.now()]
        for row in due:
            if self._pauses.may(f"mail {row.morning}", row.attempts, self._clock()):
                self._pauses.tried(f"mail {row.morning}", row.attempts, self._clock())
                dispatches.request(database, "morning", None, {"morning": row.morning})

    def _want_missed_morning(self) -> None:
        """A morning that has no mail long after its time is asked for: its run was killed, or never started.

        The schedule only says when; that every morning has its mail is told by the ledger.
        """
        now_s = self._clock()
        if now_s < self._morning_at_s:
            return
        self._morning_at_s = now_s + _ALIVE_EVERY_S
        database, settings = self._space.database, self._space.settings
        now = database.clock().astimezone(ZoneInfo(settings.site.timezone))
        hour, _, minute = settings.reports.time.partition(":")
        due = now.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
        morning = now.date().isoformat()
        if now < due + timedelta(seconds=_MORNING_PATIENCE_S):
            return
        unsent = (None,) if settings.mail.transport == "none" else (None, ("queued", 0))  # where none goes out, they stay queued
        with database.read() as connection:
            missed = messages.mail_of(connection, morning) in unsent and messages.was_there(connection, iso(due))
        if missed and self._pauses.may("missed morning", morning, now_s):
            self._pauses.tried("missed morning", morning, now_s)
            _LOG.warning("the morning of %s has no mail yet: asked for again", morning)
            dispatches.request(database, "morning", None, {"morning": morning})

    def _ask(self) -> None:
        """Ask for the rows that have no run yet; a second wish for a scope waits until its first run has ended."""
        rows = self._living()
        busy = {row.scope_id for row in rows if row.run_id and row.scope_id is not None}
        for row in rows:
            if row.run_id or row.scope_id in busy or not self._server_may():
                continue
            failpoints.reach("dispatch.unasked")
            try:
                run_id = self._runs.start(row, self._scope(row))
            except TransientError as error:
                self._server_failed(error)
                return
            self._server_answered()
            failpoints.reach("dispatch.unrecorded")
            dispatches.change(self._space.database, row.id, "accepted", run_id=run_id)
            if row.scope_id is not None:
                busy.add(row.scope_id)
            _LOG.info("asked for %s, scope %s: run %s", row.flow, row.scope_id, run_id)

    def _scope(self, row: DispatchRow) -> ScopeRow | None:
        if row.scope_id is None:
            return None
        with self._space.database.read() as connection:
            return scopes.get(connection, row.scope_id)

    def _server_may(self) -> bool:
        self._asked_s = self._clock()
        return self._server.may("server", "down", self._asked_s)

    def _server_failed(self, error: TransientError) -> None:
        self._server.tried("server", "down", self._clock())
        _LOG.warning("%s", error)
        answered = isinstance(error, UnknownToPrefectError)  # no silence, and yet no use to ask at once again
        self._tell_later(self._silence.answered(self._clock()) if answered else self._silence.failed(self._asked_s, self._clock()))

    def _server_answered(self) -> None:
        self._server.succeeded("server")
        self._tell_later(self._silence.answered(self._clock()))

    def _tell_later(self, text: str) -> None:
        """Said when the ledger can be written: a ledger that is locked now is no failure of the server."""
        if text:
            self._untold.append(("service", "info" if "again" in text else "warning", text))

    def _tell(self) -> None:
        while self._untold:
            messages.happened(self._space.database, *self._untold[0])
            self._untold.pop(0)

    def _say_alive(self) -> None:
        if self._clock() >= self._alive_at_s:
            self._alive_at_s = self._clock() + _ALIVE_EVERY_S
            messages.alive(self._space.database, "dispatcher")


def dispatch_for_ever(settings: Settings, stop: threading.Event) -> None:
    """Dispatch until ``stop`` is set."""
    from deployments.runs import PrefectRuns

    dispatcher = Dispatcher(Workspace.open(settings), PrefectRuns.of_environment())
    while not stop.wait(_LOOK_S):
        dispatcher.step()
