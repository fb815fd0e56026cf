from __future__ import annotations

import base64
import http.client
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nightcrew.errors import Refused
from reports import log_in
from reports import server as server_module
from reports.server import HEADERS, Access, PageServer, path_parts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A report folder with one night, and a secret beside it."""
    folder = tmp_path / "reports"
    (folder / "night" / "2026-03-14" / "numbers").mkdir(parents=True)
    (folder / "index.html").write_text("<p>index</p>", encoding="utf-8")
    (folder / "night" / "2026-03-14" / "index.html").write_text("<p>night</p>", encoding="utf-8")
    (folder / "night" / "2026-03-14" / "numbers" / "lights.csv").write_text("a\n1\n", encoding="utf-8")
    (folder / "run.sh").write_text("x", encoding="utf-8")
    (folder / ".hidden.html").write_text("x", encoding="utf-8")
    (tmp_path / "secret.html").write_text("secret", encoding="utf-8")
    return folder


@contextmanager
def serving(root: Path, access: Access | None = None, address: str = "127.0.0.1") -> Iterator[PageServer]:
    server = PageServer(root, address=address, port=0, access=access)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(server: PageServer, path: str, method: str = "GET", source: str = "127.0.0.1", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    address = ("127.0.0.1", server.server_address[1])
    connection = http.client.HTTPConnection(*address, timeout=5, source_address=(source, 0))
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def say(server: PageServer, text: bytes) -> bytes:
    """All that comes back for bytes that no browser would send."""
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=5) as connection:
        connection.sendall(text)
        with connection.makefile("rb") as answers:
            return answers.read()


def test_pages_and_numbers_are_served(root: Path) -> None:
    with serving(root) as server:
        assert ask(server, "/")[:2] == (200, b"<p>index</p>")
        assert ask(server, "/night/2026-03-14/")[:2] == (200, b"<p>night</p>")
        status, body, headers = ask(server, "/night/2026-03-14/numbers/lights.csv?x=1")
        assert (status, body, headers["content-type"]) == (200, b"a\n1\n", "text/csv; charset=utf-8")
        assert server.url == f"http://127.0.0.1:{server.server_address[1]}/"


def test_strict_headers_on_every_answer(root: Path) -> None:
    with serving(root) as server:
        for path in ("/", "/nothing"):
            headers = ask(server, path)[2]
            assert headers["content-security-policy"].startswith("default-src 'none'; img-src 'self' data:")
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["server"].strip() == "Nightcrew"


@pytest.mark.parametrize(
    "text",
    [
        b"GET /\r\nHost: localhost\r\n\r\n",  # as HTTP/0.9 asked, whose answers had no headers
        b"<script>\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_strict_headers_on_answers_to_no_browser(root: Path, text: bytes) -> None:
    with serving(root) as server:
        assert HEADERS["Content-Security-Policy"].encode() in say(server, text)


@pytest.mark.parametrize(
    "words",
    [
        b"Content-Length: 60",
        b"Content-Length: +60",
        b"Content-Length: ",
        b"Content-Length: 0\r\nContent-Length: 60",
        b"Content-Length: 60\r\nContent-Length: 0",
        b"Content-Length: 0\r\n 60",
        b"Content-Length : 60",
        b"Content-Length\t: 60",
        b"X: y\r\rContent-Length: 60",
        b"no header\r\nContent-Length: 60",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding : chunked",
    ],
)
def test_what_a_request_brings_along_is_never_taken_for_the_next_one(root: Path, words: bytes) -> None:
    hidden = b"GET /night/2026-03-14/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(root) as server:
        said = say(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + words + b"\r\n\r\n" + hidden)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"<p>" not in said


def test_a_request_that_drips_in_has_an_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_S", 0.3)
    with serving(root) as server, pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
        _drip(server)


def _drip(server: PageServer) -> None:
    """A letter at a time for ten seconds, if the other side lets us."""
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(200):
            connection.sendall(b"a")
            time.sleep(0.05)


def test_so_many_connections_and_no_more(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MOST_CONNECTIONS", 3)
    with serving(root) as server:
        address = ("127.0.0.1", server.server_address[1])
        before = threading.active_count()
        silent = [socket.create_connection(address, timeout=5) for _ in range(3)]
        with socket.create_connection(address, timeout=5) as beyond:
            assert beyond.recv(1) == b""  # closed at once
        assert threading.active_count() <= before + 3
        for connection in silent:
            connection.close()
        deadline = time.monotonic() + 5
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ask(server, "/")[0] == 200


def test_head_has_no_body(root: Path) -> None:
    with serving(root) as server:
        status, body, headers = ask(server, "/", "HEAD")
        assert (status, body, headers["content-length"]) == (200, b"", "12")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_reading_is_all_that_is_possible(root: Path, method: str) -> None:
    with serving(root) as server:
        assert ask(server, "/", method)[0] == 501


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.html",
        "/%2e%2e/secret.html",
        "/night/../../secret.html",
        "/night/..%2f..%2fsecret.html",
        "/..%5csecret.html",
        "/%2e%2e%2fsecret.html",
        "//etc/passwd",
        "/etc/passwd",
        "/.hidden.html",
        "/run.sh",
        "/night/",
        "/night/2026-03-14/numbers/",
        "/index.html%00.png",
        "/%ff",
        "/link.html",
        "/linked/secret.html",
        "/pipe.html",
        "/" + "a/" * 200,
        "/" + "a" * 5000 + ".html",
    ],
)
def test_nothing_else_comes_out(root: Path, path: str) -> None:
    (root / "link.html").symlink_to(root.parent / "secret.html")
    (root / "linked").symlink_to(root.parent)
    os.mkfifo(root / "pipe.html")
    with serving(root) as server:
        status, body, _ = ask(server, path)
    assert status == 404
    assert b"secret" not in body


def test_folders_lead_to_their_page(root: Path) -> None:
    with serving(root) as server:
        status, _, headers = ask(server, "/night/2026-03-14")
        assert (status, headers["location"]) == (301, "2026-03-14/")
        (root / "noche \u65e5:").mkdir()
        status, _, headers = ask(server, "/noche%20%E6%97%A5%3A")
        assert (status, headers["location"]) == (301, "noche%20%E6%97%A5%3A/")


def test_a_foreign_host_name_is_turned_away(root: Path) -> None:
    with serving(root) as server:
        assert ask(server, "/", Host="evil.example")[0] == 421
        assert ask(server, "/", Host="evil.example:8765")[0] == 421
        for good in ("localhost:1", "127.0.0.1", "[::1]:80", "LOCALHOST"):
            assert ask(server, "/", Host=good)[0] == 200
        for hosts in (b"Host: localhost\r\nHost: evil.example", b"Host: [::1]evil.example", b"Host: localhost evil", b"Host: ", b"X: y"):
            assert say(server, b"GET / HTTP/1.1\r\n" + hosts + b"\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 421 ")


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_a_password_is_asked_for_and_checked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_in, "_GUESS_S", 0.0)
    with serving(root, Access(user="observer", password="pässword")) as server:
        status, body, headers = ask(server, "/")
        assert (status, body) == (401, b"")
        assert headers["www-authenticate"].startswith("Basic realm=")
        assert ask(server, "/", Authorization=basic("observer:wrong"))[0] == 401
        assert ask(server, "/", Authorization="Bearer x")[0] == 401
        assert ask(server, "/", Authorization=basic("observer:pässword"))[0] == 200
    assert "pässword" not in repr(Access(password="pässword"))


class Pauses:
    """The waiting of those who guess: begun pauses, which end when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[float] = []
        self.at_once = self.most = 0
        self.over = threading.Event()
        monkeypatch.setattr(log_in, "_pause", self._pause)

    def _pause(self, seconds: float) -> None:
        self.begun.append(seconds)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        assert self.over.wait(30)
        self.at_once -= 1


@contextmanager
def guessing(server: PageServer, count: int, pauses: Pauses) -> Iterator[list[int]]:
    """So many wrong passwords, all waiting for their answers, which come when the pauses are over."""
    answers: list[int] = []

    def guess(word: str) -> None:
        answers.append(ask(server, "/", Authorization=basic(f"observer:{word}"))[0])

    guessers = [threading.Thread(target=guess, args=(f"planted{number}",)) for number in range(count)]
    for thread in guessers:
        thread.start()
    log_in = server.log_in
    assert log_in is not None
    deadline = time.monotonic() + 5
    while log_in._waiting < count and time.monotonic() < deadline:
        time.sleep(0.005)
    assert log_in._waiting == count
    try:
        yield answers
    finally:
        pauses.over.set()
        for thread in guessers:
            thread.join()


def test_guessing_a_password_takes_long_and_is_told(root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pauses = Pauses(monkeypatch)
    with caplog.at_level(logging.WARNING), serving(root, Access(password="right")) as server:
        with guessing(server, 4, pauses) as answers:
            assert ask(server, "/", Authorization=basic("observer:right"))[0] == 200  # who knows it does not wait for who does not
            assert answers == []
        assert answers == [401] * 4
    assert pauses.begun == [log_in._GUESS_S] * 4
    assert pauses.most == 1  # one at a time, however many ask
    (told,) = caplog.messages
    assert "4 wrong log-in(s), the last from 127.0.0.1" in told
    assert "planted" not in caplog.text


def test_so_many_guess_at_once_and_the_others_learn_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = Pauses(monkeypatch)
    monkeypatch.setattr(log_in, "_MOST_GUESSERS", 8)
    monkeypatch.setattr(log_in.LogIn, "_is_looked_at", lambda _: False)
    most = log_in._MOST_GUESSERS
    wrong, right = basic("observer:wrong"), basic("observer:right")
    with serving(root, Access(password="right")) as server:
        with guessing(server, most, pauses) as answers:
            for word in (wrong, right) * 20:  # no difference: nothing was compared
                assert ask(server, "/", Authorization=word)[0] == 429
            assert ask(server, "/", source="127.0.0.2", Authorization=right)[0] == 200  # a reader elsewhere goes on reading
            assert ask(server, "/", source="127.0.0.3", Authorization=wrong)[0] == 429
            assert ask(server, "/", source="127.0.0.3", Authorization=right)[0] == 429
            assert ask(server, "/", source="127.0.0.2", Authorization=right)[0] == 200
            monkeypatch.setattr(log_in, "_MOST_ADDRESSES", 2)
            assert ask(server, "/", source="127.0.0.4", Authorization=right)[0] == 429  # so many addresses: any may be a guesser's
            assert (answers, len(pauses.begun)) == ([], 1)
        assert answers == [401] * most
        assert len(pauses.begun) == most
        assert ask(server, "/", Authorization=right)[0] == 200


def test_a_guesser_at_the_same_address_keeps_nobody_out_who_logged_in_before(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a reverse proxy, where all have one address."""
    pauses = Pauses(monkeypatch)
    monkeypatch.setattr(log_in, "_MOST_GUESSERS", 4)
    monkeypatch.setattr(log_in, "_LOOK_S", 3600.0)
    wrong, right = basic("observer:wrong"), basic("observer:right")
    with serving(root, Access(password="right")) as server:
        cookie = ask(server, "/", Authorization=right)[2]["set-cookie"]
        assert cookie.endswith("; HttpOnly; SameSite=Strict")
        note = cookie.partition(";")[0]
        status, _, headers = ask(server, "/", Authorization=right, Cookie=note)
        assert (status, "set-cookie" in headers) == (200, False)
        assert ask(server, "/", Cookie=note)[0] == 401  # it opens nothing by itself
        with guessing(server, 4, pauses):
            for _ in range(20):
                assert ask(server, "/", Authorization=right, Cookie=f"other=1; {note}")[0] == 200
            assert ask(server, "/", Authorization=wrong)[0] == 429  # the one that is looked at, and learns nothing
            forged = note[:-1] + ("0" if note[-1] != "0" else "1")
            for bad in ("", forged, f"{log_in.NOTE}=", f"{log_in.NOTE}=x.y", note.partition(".")[0]):
                assert ask(server, "/", Authorization=right, Cookie=bad)[0] == 429
            for _ in range(log_in._MOST_WRONG):  # whoever has the note and not the password has as many tries
                assert ask(server, "/", Authorization=wrong, Cookie=note)[0] == 429
            assert ask(server, "/", Authorization=right, Cookie=note)[0] == 429
    with serving(root, Access(password="right")) as server:
        assert "set-cookie" in ask(server, "/", Authorization=right, Cookie=note)[2]  # a note of another start is none


def test_while_so_many_guess_one_log_in_a_while_is_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = Pauses(monkeypatch)
    now_s = [time.monotonic()]
    monkeypatch.setattr(log_in, "_MOST_GUESSERS", 4)
    wrong, right = basic("observer:wrong"), basic("observer:right")
    with serving(root, Access(password="right")) as server:
        door = server.log_in
        assert door is not None
        with guessing(server, 4, pauses) as answers, monkeypatch.context() as clock:
            clock.setattr("reports.log_in.time.monotonic", lambda: now_s[0])
            looked_at = []
            for _ in range(40):
                looked_at.append(door.is_right(right.encode(), "127.0.0.1"))
                looked_at += [door.is_right(wrong.encode(), "127.0.0.1") for _ in range(20)]
                now_s[0] += log_in._LOOK_S / 4
            assert looked_at.count(True) == 10  # and of wrong ones none: they are told from the unread ones by nothing
            assert set(looked_at) == {True, None}
        assert answers == [401] * 4


def test_bytes_that_come_after_the_time_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """However soon they would come then: each byte in time would let the next one be late."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        patient = server_module._Patient(ours)
        theirs.sendall(b"a")
        assert patient.readinto(bytearray(1)) == 1
        monkeypatch.setattr(patient, "_until_s", time.monotonic())
        theirs.sendall(b"a")
        with pytest.raises(TimeoutError):
            patient.readinto(bytearray(1))
        patient.begin()
        assert patient.readinto(bytearray(1)) == 1


def test_each_request_on_a_connection_has_its_own_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads page after page for longer than one request may take is not cut off."""
    now_s = [1000.0]
    monkeypatch.setattr("reports.server.time.monotonic", lambda: now_s[0])
    with serving(root) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=5)
        for _ in range(6):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"<p>index</p>"
            now_s[0] += 0.6 * server_module.REQUEST_S
        connection.close()


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_no_open_door_without_a_password(root: Path, address: str) -> None:
    with pytest.raises(Refused, match="set a password"):
        PageServer(root, address=address, port=0)


def test_other_addresses_with_a_password(root: Path) -> None:
    with serving(root, Access(password="right"), address="0.0.0.0") as server:
        assert ask(server, "/")[0] == 401
        assert ask(server, "/", Authorization=basic("observer:right"))[0] == 200


def test_nonsense_does_not_stop_the_server(root: Path) -> None:
    with serving(root) as server:
        for raw in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=5) as client:
                client.sendall(raw)
                client.recv(4096)
        with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=5) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")  # and go away at once
        assert ask(server, "/")[0] == 200


def test_two_requests_on_one_connection(root: Path) -> None:
    with serving(root) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=5)
        for path, status in (("/", 200), ("/nothing", 404), ("/night/2026-03-14/", 200)):
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == status
            answer.read()
        connection.close()


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("/", ("",)),
        ("/a/b.html", ("a", "b.html")),
        ("/a%20b.png", ("a b.png",)),
        ("/a//b", None),
        ("a", None),
        ("/./a", None),
        ("/a/", ("a", "")),
    ],
)
def test_paths_are_taken_apart_once(target: str, parts: tuple[str, ...] | None) -> None:
    assert path_parts(target) == parts
