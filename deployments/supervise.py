"""``nightcrew up``: starts the parts of the service, restarts what dies, stops them in order.

Order of starting: Prefect's server, and beside it watcher, dispatcher and page server, which do without it for a while;
the runner of the flows when the server is healthy.  Order of stopping: watcher, dispatcher, runner, pages, server, so
that runs can still say how they ended.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from deployments.endpoints import Endpoints, answers, free_port, url
from deployments.environment import child_environment, prefect_home
from deployments.process import Child, trim_log
from nightcrew.endings import ending
from nightcrew.errors import Refused
from nightcrew.settings import Settings, is_loopback

_LOG = logging.getLogger("nightcrew.up")
STOP_ORDER = ("watcher", "dispatcher", "runner", "pages", "server")
_LOOK_S = 0.5
_TRIM_S = 3600.0
_REPEAT_S = 3600.0
Tell = Callable[[str, str], None]
"""(level, text): something that a person may want to know."""


def _without_times(text: str) -> str:
    return re.sub(r"\d+", "#", text)


class Supervisor:
    """Keeps children alive until told to stop.

    Parameters
    ----------
    children
        By name; a child that ``needs`` another starts once ``healthy`` says that this one answers, and anew when it was restarted.
    healthy
        Whether the child of that name answers.
    tell
        Gets what a person may want to know.
    """

    def __init__(self, children: dict[str, Child], healthy: Callable[[str], bool], tell: Tell) -> None:
        self.children = children
        self._healthy = healthy
        self._tell = tell
        self._trim_at_s = time.monotonic() + _TRIM_S
        self._told: dict[str, tuple[str, float]] = {}  # child -> what was said of its end, and when to say it again

    def run(self, stop: threading.Event) -> None:
        """Supervise until ``stop`` is set, then stop everything in order."""
        try:
            while not stop.wait(_LOOK_S):
                self.step()
        finally:
            self.stop_all()

    def step(self) -> None:
        """One look at every child."""
        now = time.monotonic()
        for child in self.children.values():
            code = child.died()
            if code is not None:
                self._tell_of_end(child, code)
            if child.lives:
                self._follow(child)
            elif now >= child.start_at_s:
                self._start(child)
        if now >= self._trim_at_s:
            self._trim_at_s = now + _TRIM_S
            for child in self.children.values():
                trim_log(child.log)

    def _tell_of_end(self, child: Child, code: int) -> None:
        """Say it once an hour, not at every try: a share that is away all night is one line."""
        last = child.last_words(1)  # whatever it said last: of who was killed it is no cause
        words = f"{child.name} {ending(code)}; " + (f"its last line was: {last}" if last else "it had said nothing")
        now = time.monotonic()
        if now >= self._told.get(child.name, ("", 0.0))[1] or self._told[child.name][0] != _without_times(words):
            self._told[child.name] = (_without_times(words), now + _REPEAT_S)
            self._tell("problem", f"{words}; it is started again")

    def _start(self, child: Child) -> None:
        needed = self.children.get(child.needs)
        if child.needs and not ((needed is None or needed.lives) and self._healthy(child.needs)):
            return
        child.needed_starts = needed.starts if needed is not None else 0
        child.start()
        _LOG.info("%s started (process %s)", child.name, child.process.pid if child.process else "?")

    def _follow(self, child: Child) -> None:
        """Restart a child whose needed one was restarted and answers again."""
        needed = self.children.get(child.needs)
        if needed is not None and needed.lives and needed.starts != child.needed_starts and self._healthy(child.needs):
            self._tell("info", f"{child.name} is restarted, since {needed.name} was")
            child.stop()
            self._start(child)

    def stop_all(self) -> None:
        """Stop every child, in the order of the module's docstring."""
        for name in sorted(self.children, key=lambda name: STOP_ORDER.index(name) if name in STOP_ORDER else 0):
            child = self.children[name]
            if child.process is not None:
                polite = child.stop()
                _LOG.info("%s stopped%s", name, "" if polite else " by force")


def plan_children(settings: Settings) -> tuple[dict[str, Child], Endpoints]:
    """The children of ``up`` and where they will listen.

    Raises ``Refused`` for settings that cannot be served (no file; an open door, see ``PrefectSettings``).
    """
    state = settings.state.root
    port = settings.prefect.port or free_port(settings.prefect.address)
    server_url = url(settings.prefect.address, port)
    api_url = settings.prefect.api_url or f"{server_url}/api"
    pages_port = settings.reports.port or free_port(settings.reports.address)
    pages_url = settings.reports.link or url(settings.reports.address, pages_port)
    environment = child_environment(settings, api_url)
    environment["NIGHTCREW_REPORTS__PORT"] = str(pages_port)
    if not settings.reports.link:
        environment["NIGHTCREW_REPORTS__LINK"] = pages_url
    (state / "logs").mkdir(parents=True, exist_ok=True)
    prefect_home(settings).mkdir(mode=0o700, parents=True, exist_ok=True)

    def child(name: str, *arguments: str, needs: str = "", stop_s: float = 10.0) -> Child:
        command = (sys.executable, "-P", "-m", *arguments)
        return Child(name, command, environment, state, state / "logs" / f"{name}.log", needs=needs, stop_s=stop_s)

    children = [
        child("watcher", "deployments.children", "watcher"),
        child("pages", "deployments.children", "pages"),
        child("dispatcher", "deployments.children", "dispatcher"),
        child("runner", "deployments.children", "runner", needs="server", stop_s=30.0),
    ]
    if not settings.prefect.api_url:
        serving = ("server", "start", "--host", settings.prefect.address, "--port", str(port), "--log-level", "WARNING")
        children.insert(0, child("server", "deployments.prefect_server", *serving, stop_s=20.0))
    ui_url = api_url.removesuffix("/api")
    return {one.name: one for one in children}, Endpoints(api_url=api_url, ui_url=ui_url, pages_url=pages_url, pid=os.getpid())


def open_doors(settings: Settings) -> list[str]:
    """What other machines can reach, a sentence each; none while everything listens on loopback."""
    doors = ((settings.reports.address, "the report pages", "the password"), (settings.prefect.address, "Prefect's server", "the log-in"))
    return [
        f"Open to other machines: {what} on {address}, to whoever knows {key}; the connection is not encrypted"
        for address, what, key in doors
        if not is_loopback(address) and not (what.startswith("Prefect") and settings.prefect.api_url)
    ]


class OnlyOne:
    """The right to run the service of one state folder, held until the end of the process."""

    def __init__(self, state_root: Path) -> None:
        try:
            state_root.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(state_root / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise Refused(f"the state folder {state_root} cannot be written ({error.strerror})") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise Refused(f"the service of {state_root} runs already (process {holder})") from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Give it back."""
        os.close(self._descriptor)


def is_healthy(endpoints: Endpoints, name: str) -> bool:
    """Whether a child answers: only the server is ever asked."""
    return name != "server" or answers(f"{endpoints.api_url}/health")
