"""The watcher of one folder: subscribe, look at what is already there, wait, look again.

It knows no database and no Prefect: what it sees goes to the callables of its :class:`Sink`.  Arrivals are handed over
in bursts of bounded size, so that five thousand files make a dozen requests and not five thousand.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import stat
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nightcrew.errors import TransientError
from watchers.events import FolderEvents, Hint
from watchers.names import NameFilter
from watchers.settle import IsComplete, Settled, SettleRule
from watchers.sweep import Entry, Trouble, entry_of, walk

_LOG = logging.getLogger("nightcrew.watcher")
_LONGEST_PAUSE_S = 60.0
_FIRST_DOUBT_S, _LONGEST_DOUBT_S = 1800.0, 86400.0
Stats = tuple[int, int, int]  # size, mtime_ns, ctime_ns
_BURST_PATIENCE = 5  # a burst that does not end is handed over after so many times burst_s


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How one folder is watched; times in seconds."""

    folder: Path
    recursive: bool = True
    polling: bool = False
    ignore: tuple[str, ...] = ()
    skip: frozenset[bytes] = frozenset()  # absolute folders that are ours, not the camera's
    settle_s: float = 2.0
    patience_s: float = 300.0
    sweep_s: float = 300.0
    poll_s: float = 5.0
    burst_s: float = 1.0
    burst_files: int = 500


@dataclass(frozen=True, kw_only=True)
class Sink:
    """Where the watcher's findings go.  A TransientError from any of them is tried again later."""

    record: Callable[[Sequence[Settled]], None]
    vanished: Callable[[Sequence[bytes]], None]
    swept: Callable[[Sequence[str]], None]  # a sweep ended; what it could not look into


@dataclass
class _Burst:
    """Settled paths on their way to the sink."""

    settled: list[Settled] = field(default_factory=list)
    first_s: float = 0.0
    last_s: float = 0.0

    def add(self, item: Settled, now_s: float) -> None:
        self.first_s = self.first_s if self.settled else now_s
        self.last_s = now_s
        self.settled.append(item)

    def due_s(self, rules: Rules, next_look_s: float | None) -> float | None:
        """When to hand over; None when empty.

        A single file is handed over at once; it waits for companions only when another path is about to settle.
        """
        if not self.settled:
            return None
        alone = next_look_s is None or next_look_s > self.last_s + rules.burst_s
        if alone or len(self.settled) >= rules.burst_files:
            return self.first_s
        return min(self.last_s + rules.burst_s, self.first_s + _BURST_PATIENCE * rules.burst_s)


class Watcher:
    """See the module.

    Parameters
    ----------
    rules, sink
        How to watch and where findings go.
    known
        (size, mtime_ns, ctime_ns) of every path that the ledger has for this folder; ctime_ns 0: not known.
    is_complete
        Structural test of a file that stands still.
    clock
        Seconds that only ever grow.
    """

    def __init__(
        self,
        rules: Rules,
        sink: Sink,
        known: Mapping[bytes, Stats],
        is_complete: IsComplete,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules = rules
        self.root = os.fsencode(os.path.realpath(rules.folder))
        self._sink = sink
        self._known = dict(known)
        self._clock = clock
        self._names = NameFilter(rules.ignore)
        self._settle = SettleRule(rules.settle_s, rules.patience_s, is_complete)
        self._hints: queue.SimpleQueue[Hint | None] = queue.SimpleQueue()
        self._burst = _Burst()
        self._doubts: dict[bytes, tuple[float, float]] = {}  # told of for its change time alone: not again before, and that pause
        self._gone: list[bytes] = []
        self._reports: list[tuple[float, list[str]]] = []  # sweeps: from when on to tell of them, their troubles
        self._sweep_at_s = clock()
        self._failures = 0
        self._retry_at_s = clock()
        self._events: FolderEvents | None = None
        self._root_id: tuple[int, int] | None = None

    def wake(self) -> None:
        """Make a waiting :meth:`run` look at its stop event now."""
        self._hints.put(None)

    def run(self, stop: threading.Event) -> None:
        """Watch until ``stop`` is set (then call :meth:`wake`); what has settled by then is handed over."""
        try:
            while not stop.is_set():
                self.step(stop)
                self._wait()
        finally:
            self._unsubscribe()
            self._hand_over(force=True)

    def step(self, stop: threading.Event | None = None) -> None:
        """One look: hints, a sweep when it is due, what has settled, and handing over."""
        self._take_hints()
        if self._clock() >= self._sweep_at_s:
            self._sweep(stop)
        room = self.rules.burst_files - len(self._burst.settled)
        now = self._clock()
        for settled in self._settle.due(now, room):
            self._tell(settled, now)
        self._hand_over(force=False)

    def _wait(self) -> None:
        now = self._clock()
        handing = self._burst.due_s(self.rules, self._settle.next_look_s())
        full = len(self._burst.settled) >= self.rules.burst_files
        times = [
            self._sweep_at_s,
            None if full else self._settle.next_look_s(),
            None if handing is None else max(handing, self._retry_at_s),
        ]
        if self._gone and handing is None:
            times.append(self._retry_at_s)
        if self._reports:
            times.append(max(self._reports[0][0], self._retry_at_s))
        pause = min(moment for moment in times if moment is not None) - now
        with contextlib.suppress(queue.Empty):
            hint = self._hints.get(timeout=min(max(pause, 0.0), _LONGEST_PAUSE_S)) if pause > 0 else self._hints.get_nowait()
            self._hear(hint)

    def _take_hints(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._hear(self._hints.get_nowait())

    def _hear(self, hint: Hint | None) -> None:
        if hint is None:
            return
        if hint.path == self.root:
            _LOG.info("sweeping %s: %s", os.fsdecode(self.root), hint.reason)
            self._sweep_at_s = self._clock()
        elif self._inside_hidden(hint.path if hint.folder else hint.path.rpartition(b"/")[0]):
            return
        elif hint.folder:
            for entry in walk(hint.path, self._names, Trouble(), recursive=self.rules.recursive, skip=self.rules.skip):
                self._note(entry, hinted=True)
        else:
            self._look_at(hint.path)

    def _inside_hidden(self, folder: bytes) -> bool:
        """Whether a folder lies in (or is) one that a sweep would not enter."""
        parts = folder[len(self.root) :].split(b"/")[1:]
        return any(self._names.skips_folder(name) for name in parts) or any(
            (folder + b"/").startswith(ours + b"/") for ours in self.rules.skip
        )

    def _look_at(self, path: bytes) -> None:
        try:
            status = os.lstat(path)
        except OSError:
            if path in self._known:  # renamed or deleted
                self._gone.append(path)
            return
        if not stat.S_ISDIR(status.st_mode):
            self._note(entry_of(path, status, self._names), hinted=True)

    def _note(self, entry: Entry, *, hinted: bool = False) -> None:
        """Hear of a path; what differs from what we know waits until it settles.

        Where only the change time differs, the content most often does not.  A sweep tells of that once in a while, so that a share
        whose change times never stand still does not have everything hashed with each sweep; an event is always followed.
        """
        known = self._known.get(entry.path)
        if known == (entry.size, entry.mtime_ns, entry.ctime_ns):
            return
        now = self._clock()
        if known is not None and known[:2] == (entry.size, entry.mtime_ns):
            if not known[2]:  # an older Nightcrew did not write it down: taken over as it is, at once
                self._tell(Settled(entry.path, entry.size, entry.mtime_ns, entry.verdict, entry.ctime_ns), now)
                return
            if not hinted and now < self._doubts.get(entry.path, (now, 0.0))[0]:
                return
        self._settle.note(entry.path, entry.size, entry.mtime_ns, now, entry.verdict)

    def _tell(self, settled: Settled, now: float) -> None:
        """Put a path into the burst that goes to the sink."""
        known = self._known.get(settled.path)
        if known is not None and known[2] and known[:2] == (settled.size, settled.mtime_ns):
            pause_s = min(2 * self._doubts.get(settled.path, (0.0, _FIRST_DOUBT_S / 2))[1], _LONGEST_DOUBT_S)
            self._doubts[settled.path] = (now + pause_s, pause_s)
        self._burst.add(settled, now)
        self._known[settled.path] = (settled.size, settled.mtime_ns, settled.ctime_ns)

    def _sweep(self, stop: threading.Event | None) -> None:
        """Walk the whole folder; only a walk without trouble tells what has vanished."""
        self._subscribe()
        trouble = Trouble()
        met: set[bytes] = set()
        for entry in walk(self.root, self._names, trouble, recursive=self.rules.recursive, skip=self.rules.skip):
            if stop is not None and stop.is_set():
                return
            met.add(entry.path)
            self._note(entry)
        if not trouble.reasons and not met and self._known:
            trouble.add(self.root, f"the folder is empty although {len(self._known)} files of it are known; is its disk mounted?")
        if not trouble.reasons:
            self._gone.extend(path for path in self._known if path not in met)
        # What the sweep found standing still will have been handed over by then: "swept" means "and it is in the ledger".
        told_s = self._clock() + self.rules.settle_s + (_BURST_PATIENCE + 1) * self.rules.burst_s
        self._reports.append((told_s, trouble.reasons))
        listens = self._events is not None
        self._sweep_at_s = self._clock() + (self.rules.sweep_s if listens else min(self.rules.poll_s, self.rules.sweep_s))

    def _subscribe(self) -> None:
        """Listen to the folder; again when another one stands under its name (unmounted, mounted, made anew)."""
        if self.rules.polling:
            return
        try:
            status = Path(os.fsdecode(self.root)).stat()
            root_id = (status.st_dev, status.st_ino)
            if self._events is not None and root_id == self._root_id:
                return
            self._unsubscribe()
            events = FolderEvents(self.root, self._hints.put, recursive=self.rules.recursive)
            events.start()
        except OSError as error:
            self._unsubscribe()
            _LOG.warning("no events from %s (%s): looking every %s s", os.fsdecode(self.root), error, self.rules.poll_s)
            return
        self._events, self._root_id = events, root_id

    def _unsubscribe(self) -> None:
        if self._events is not None:
            self._events.stop()
            self._events = None

    def _hand_over(self, *, force: bool) -> None:
        """Give the sink what is due; after a transient failure the same again, later."""
        now = self._clock()
        if not force and now < self._retry_at_s:
            return
        due = self._burst.due_s(self.rules, self._settle.next_look_s())
        try:
            if due is not None and (force or now >= due):
                self._sink.record(self._burst.settled)
                self._burst = _Burst()
            if self._gone and not self._burst.settled:
                self._sink.vanished(self._gone)
                for path in self._gone:
                    self._known.pop(path, None)
                self._gone = []
            while self._reports and now >= self._reports[0][0] and not self._burst.settled:
                self._sink.swept(self._reports[0][1])
                self._reports.pop(0)
            self._failures = 0
        except TransientError as error:
            self._failures += 1
            pause = min(2.0 ** min(self._failures, 6), _LONGEST_PAUSE_S)
            self._retry_at_s = self._clock() + pause
            _LOG.warning("%s; handing over again in %.0f s", error, pause)
