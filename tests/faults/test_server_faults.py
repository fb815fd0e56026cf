"""Prefect's server goes away, comes back empty, is locked, is slow, or never hears of a death: the nights do not notice."""

from __future__ import annotations

import html
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from deployments.endpoints import answers, free_port
from flows.catalogue import DEPLOYMENT
from flows.parent import die_with_parent
from nightcrew.ledger import claims, dispatches, messages, run_signs
from nightcrew.settings import Settings
from tests.service.running import Running, Watched, configure
from tests.support.small_nights import make_raw, small_plan

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.xdist_group("service-faults")]
CAMERA = "FAULTY"
LIMIT_S = 300.0
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A small night's frames."""
    out = tmp_path_factory.mktemp("raw")
    make_raw(out, small_plan("2025-05-18"))
    return sorted((out / "raw").iterdir())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """``nightcrew up`` over one folder."""
    made = Running(configure(tmp_path_factory.mktemp("service"), [Watched("faulty")]))
    try:
        made.start(LIMIT_S)
        yield made
    finally:
        made.stop()


def made_again(service: Running, what: str) -> None:
    """A catalogue is lost and comes back, once."""
    token = service.last_claim(CAMERA)
    lost = service.lose(CAMERA, "photometry")
    service.look_again(CAMERA)
    service.wait(lambda: service.made_since(CAMERA, token) == {(lost.recipe, lost.key): 1}, what, LIMIT_S)
    service.wait(lambda: service.idle(CAMERA), f"nothing runs, {what}", LIMIT_S)


def pages(service: Running) -> str:
    """The night's page and the index: the night may be an older one, and what happens now to the service stands on the index."""
    root = service.settings.reports.root
    return html.unescape("".join(path.read_text(encoding="utf-8") for path in (root / "index.html", *root.glob("night/*/index.html"))))


def settled(service: Running, files: int) -> bool:
    return service.settled(CAMERA, files, "faulty") is not None


def test_a_server_that_cannot_be_reached(service: Running, raw: list[Path], record_property: Record) -> None:
    """Prefect's server does not answer (SIGSTOP) for 40 s while a night arrives."""
    service.drop("faulty", raw[:1])
    service.wait(lambda: service.files("faulty") and service.idle(CAMERA), "the service has begun to work", LIMIT_S)
    server = service.server
    server.suspend()
    try:
        service.drop("faulty", raw[1:])
        service.wait(lambda: len(service.files("faulty")) == len(raw), "what arrives is recorded without the server", LIMIT_S)
        time.sleep(40.0)
    finally:
        server.resume()
    service.wait(lambda: settled(service, len(raw)), "the night is reduced and reported", LIMIT_S)
    assert {row.state for row in service.files("faulty")} == {"done"}
    assert service.all_there(CAMERA)
    with service.space.database.read() as connection:
        told = [text for _, _, _, text in messages.happenings(connection, "")]
    assert any("Prefect's server answers again, after" in text for text in told)
    assert "Prefect's server does not answer: what arrives is recorded" in pages(service)
    record_property("evidence", f"told; {len(raw)} files recorded meanwhile, the night reduced and reported afterwards")


def test_a_server_whose_database_is_locked(service: Running, raw: list[Path], record_property: Record) -> None:
    """Another process holds Prefect's SQLite locked for 30 s."""
    service.wait(lambda: settled(service, len(raw)), "the night is there", LIMIT_S)
    begun = time.monotonic()
    with closing(sqlite3.connect(service.settings.state.root / "prefect" / "prefect.db", timeout=60)) as database:
        database.execute("BEGIN EXCLUSIVE")
        token = service.last_claim(CAMERA)
        lost = service.lose(CAMERA, "stack")
        service.look_again(CAMERA)
        time.sleep(30.0)
        database.rollback()
    service.wait(lambda: service.made_since(CAMERA, token)[lost.recipe, lost.key] == 1, "a stack after the lock", LIMIT_S)
    service.wait(lambda: service.idle(CAMERA), "nothing runs", LIMIT_S)
    assert service.all_there(CAMERA)
    record_property("evidence", f"what was lost during the lock was made once, {time.monotonic() - begun:.0f} s after its beginning")


def test_a_server_that_comes_back_with_an_empty_database(service: Running, raw: list[Path], record_property: Record) -> None:
    """Prefect's database is removed and its server killed, while a dispatched run is on its way."""
    service.wait(lambda: settled(service, len(raw)), "the night is there", LIMIT_S)
    runner = service.child("runner")
    server = service.server
    server.suspend()
    for path in (service.settings.state.root / "prefect").glob("prefect.db*"):
        path.unlink()
    server.kill()
    made_again(service, "a catalogue after the database was lost")
    assert service.child("runner") not in (None, runner)
    with service.space.database.read() as connection:
        told = [text for _, _, _, text in messages.happenings(connection, "")]
    assert any("server was killed" in text for text in told)
    service.wait(lambda: "server was killed" in pages(service), "the pages name it", LIMIT_S)
    record_property("evidence", "the flows are known to the empty server again, what was lost was made once, and the restart is told")


def test_a_run_that_died_unheard_is_ended_and_a_healthy_one_is_not(service: Running, raw: list[Path], record_property: Record) -> None:
    """Prefect shows a run as Running whose process is gone; beside it a healthy one runs."""
    import httpx

    service.wait(lambda: settled(service, len(raw)), "the night is there", LIMIT_S)
    scope = service.scope(CAMERA)
    assert scope is not None
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        text = f"{claims.host()} {gone.pid} {claims.start_time(gone.pid)}"
    with service.without_dispatcher():
        deployment = httpx.get(f"{service.api}/deployments/name/night/{DEPLOYMENT}", timeout=20).json()["id"]
        body = {"parameters": {"scope": scope.title}, "state": {"type": "RUNNING"}}
        run_id = httpx.post(f"{service.api}/deployments/{deployment}/create_flow_run", json=body, timeout=20).json()["id"]
        row = dispatches.request(service.space.database, "night", scope.id)
        dispatches.change(service.space.database, row.id, "accepted", run_id=run_id)
        messages.alive(service.space.database, f"run {run_id}", text)
    ended = service.ended(row, LIMIT_S)
    assert ended.outcome == "Crashed: its process is gone, and nobody told"
    assert service.flow_run(run_id)["state_type"] == "CRASHED"

    service.plant({"at": "unit", "of": CAMERA, "recipe": "stack", "do": "sleep", "s": 90.0})  # longer than the patience with a dead one
    try:
        service.lose(CAMERA, "stack")
        healthy = service.ask(CAMERA)
        service.wait(lambda: service.claims(CAMERA, "running"), "a worker makes a product", LIMIT_S)
        living = next(one for one in service.dispatched(CAMERA) if one.state != "ended" and one.run_id)
        with service.space.database.read() as connection:
            assert run_signs.worker(connection, living.run_id) is run_signs.Worker.LIVES
    finally:
        service.plant()
    assert service.ended(healthy, LIMIT_S).outcome == "Completed"
    record_property("faults", 1)
    record_property("evidence", "the dead run was ended and its night started anew; a run with a unit of 90 s was left alone and completed")


class SlowProxy:
    """A port of this machine's own whose every question and every answer is late."""

    def __init__(self, target: int, delay_s: float) -> None:
        self._target, self._delay_s = target, delay_s
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])
        self._open: set[socket.socket] = {self._door}
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> SlowProxy:
        self._go(self._serve)
        return self

    def __exit__(self, *_: object) -> None:
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._door.close()

    def _go(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _serve(self) -> None:
        with suppress(OSError):  # the door was shut
            while True:
                self._go(self._converse, self._door.accept()[0])

    def _converse(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as server:
            self._open |= {client, server}
            back = self._go(self._pipe, server, client)
            self._pipe(client, server)
            back.join()
            self._open -= {client, server}

    def _pipe(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                time.sleep(self._delay_s)
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def server_of_ones_own(home: Path) -> Iterator[int]:
    """A Prefect server that the service does not supervise; its port."""
    port, parent = free_port("127.0.0.1"), os.getpid()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(home), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-P", "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509  # one thread forks
    )
    try:
        end = time.monotonic() + LIMIT_S
        while not answers(f"http://127.0.0.1:{port}/api/health"):
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.5)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_a_slow_server(raw: list[Path], tmp_path: Path, record_property: Record) -> None:
    """Each question to Prefect's server and each answer is 0.5 s late (a loopback proxy)."""
    (tmp_path / "prefect").mkdir()
    with server_of_ones_own(tmp_path / "prefect") as port, SlowProxy(port, 0.5) as slow:
        settings = configure(tmp_path / "service", [Watched("faulty")])
        assert settings.file is not None
        settings.file.write_text(
            settings.file.read_text().replace("[prefect]\n", f'[prefect]\napi_url = "http://127.0.0.1:{slow.port}/api"\n')
        )
        service = Running(Settings.load(settings.file))
        try:
            service.start(LIMIT_S)
            begun = time.monotonic()
            service.drop("faulty", raw)
            service.wait(lambda: settled(service, len(raw)), "the night is reduced and reported", LIMIT_S)
            assert {row.state for row in service.files("faulty")} == {"done"}
            assert {row.outcome for row in service.dispatched(CAMERA) if row.state == "ended"} == {"Completed"}
        finally:
            service.stop()
    record_property("evidence", f"the night was reduced and reported {time.monotonic() - begun:.0f} s after its first file")
