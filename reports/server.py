"""A small read-only server for the report pages: GET and HEAD, files below one folder, nothing else.

It listens on loopback; on another address only with a password, which is compared in constant time.  A path is opened
part by part without following links, so no name, link or race leads out of the folder.  No directory listing, no
scripts: the headers forbid them even if a page held one.  So many clients are answered at once, each request has so
long to arrive; how log-ins are compared stands in ``reports.log_in``.
"""

from __future__ import annotations

import base64
import contextlib
import io
import logging
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6, socket
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from nightcrew.errors import Refused
from reports.log_in import NOTE, NOTE_S, LogIn
from reports.names import PAGE
from reports.text import visible

_log = logging.getLogger(__name__)

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".ecsv": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".npz": "application/octet-stream",
    ".png": "image/png",
    ".jpg": "image/jpeg",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::[0-9]*)?")
MOST_CONNECTIONS = 100
REQUEST_S = 20.0  # for all of a request, however its bytes drip in, and for a silent connection


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may read: everybody on this machine, or whoever knows user and password."""

    user: str = "observer"
    password: str = field(default="", repr=False)

    def expected(self) -> bytes | None:
        """The Authorization header that is asked for; None when none is."""
        if not self.password:
            return None
        return b"Basic " + base64.b64encode(f"{self.user}:{self.password}".encode())


class PageServer(ThreadingHTTPServer):
    """Serves ``root``; ``serve_forever`` until ``shutdown``.  Port 0 takes any free one (see ``url``)."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, root: Path, address: str = "127.0.0.1", port: int = 8765, access: Access | None = None) -> None:
        access = access or Access()
        if not is_loopback(address) and not access.password:
            raise Refused(
                f"the report pages would be open to everybody who reaches {visible(address)!r}: keep reports.address on 127.0.0.1, "
                "or set a password for them"
            )
        self.root = root
        expected = access.expected()
        self.log_in = None if expected is None else LogIn(expected)
        self.names_checked = is_loopback(address)
        self.address_family = AF_INET6 if ":" in address else AF_INET
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((address, port), _Handler)

    @property
    def url(self) -> str:
        """The address of the index, such as ``http://127.0.0.1:8765/``."""
        host, port = self.server_address[0], self.server_address[1]
        shown = host.decode() if isinstance(host, bytes | bytearray) else str(host)
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for each connection, up to a limit; beyond it a connection is closed at once."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One connection, in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error; anything else is logged with its trace."""
        del request
        if isinstance(sys.exception(), OSError):
            _log.debug("page server: a connection from %s broke off", client_address)
        else:
            _log.exception("page server: a request from %s failed", client_address)


def is_loopback(address: str) -> bool:
    """Does ``address`` reach this machine only?"""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


class _Patient(io.RawIOBase):
    """What a client sends, until a moment: the socket's own limit begins anew with every byte."""

    def __init__(self, connection: socket) -> None:
        super().__init__()
        self._connection = connection
        self._until_s = time.monotonic() + REQUEST_S

    def begin(self) -> None:
        """Another request may take its time."""
        self._until_s = time.monotonic() + REQUEST_S

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As of a raw stream; TimeoutError when the time is over."""
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("a request that took too long")
        usual_s = self._connection.gettimeout()
        self._connection.settimeout(left_s)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(usual_s)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version = "Nightcrew"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # an answer to HTTP/0.9 has no headers, and the headers are our rules
    timeout = REQUEST_S  # for what we send
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(message)s\n"

    def setup(self) -> None:
        super().setup()
        self._new_note = ""
        self._incoming = _Patient(self.connection)
        self.rfile = io.BufferedReader(self._incoming)

    def handle_one_request(self) -> None:
        self._incoming.begin()
        self._new_note = ""
        super().handle_one_request()

    def do_GET(self) -> None:
        """A file with its bytes."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """A file's headers."""
        self._answer(with_body=False)

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if self._new_note:
            self.send_header("Set-Cookie", f"{NOTE}={self._new_note}; Path=/; Max-Age={NOTE_S}; HttpOnly; SameSite=Strict")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name of the base class
        _log.debug("page server: %s", visible(format % args))

    def _answer(self, *, with_body: bool) -> None:
        if self._brings_something():
            # nobody reads it: what came with this request would be taken for the next one
            self.send_error(HTTPStatus.BAD_REQUEST, "a request to read brings nothing along")
            return
        if not self._admitted():
            return
        parts = path_parts(self.path)
        with contextlib.ExitStack() as closing:
            found = _open_below(self.server.root, parts, closing) if parts is not None else None
            if found is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            if isinstance(found, str):
                self._redirect(found)
                return
            descriptor, suffix = found
            self._send_file(descriptor, suffix, with_body=with_body)

    def _admitted(self) -> bool:
        if self.server.names_checked and not self._named_rightly():
            # another name for this address: a page elsewhere may have rebound its own name to us
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return False
        log_in = self.server.log_in
        if log_in is None:
            return True
        given = self.headers.get("Authorization", "").encode("utf-8", "replace")
        note = self._note()
        right = log_in.is_right(given, str(self.client_address[0]), note) if given else False
        if right and not log_in.knows(note):
            self._new_note = log_in.note()
        if right is None:
            self.send_error(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong log-ins, try again later")
        elif not right:
            self.send_response(HTTPStatus.UNAUTHORIZED)
            self.send_header("WWW-Authenticate", 'Basic realm="Nightcrew reports", charset="UTF-8"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        return bool(right)

    def _note(self) -> str:
        """The note that the browser shows, "" for none."""
        for pair in ";".join(self.headers.get_all("Cookie", [])).split(";"):
            name, _, value = pair.strip().partition("=")
            if name == NOTE:
                return value
        return ""

    def _brings_something(self) -> bool:
        """Does more come with the request, or does it say so by words that another reader may take otherwise?"""
        lengths = self.headers.get_all("Content-Length", [])
        unclear = bool(self.headers.defects or self.headers.get_payload() or self.headers.get_unixfrom())
        return unclear or "Transfer-Encoding" in self.headers or any(length.strip() != "0" for length in lengths)

    def _named_rightly(self) -> bool:
        hosts = self.headers.get_all("Host", [])
        named = _HOST.fullmatch(hosts[0].strip()) if len(hosts) == 1 else None
        return named is not None and is_loopback(named[1].strip("[]").lower())

    def _redirect(self, target: str) -> None:
        self.send_response(HTTPStatus.MOVED_PERMANENTLY)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_file(self, descriptor: int, suffix: str, *, with_body: bool) -> None:
        size = os.fstat(descriptor).st_size
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPES[suffix])
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if with_body:
            sent = 0
            for piece in _pieces(descriptor, size):
                self.wfile.write(piece)
                sent += len(piece)
            self.close_connection = self.close_connection or sent < size


def path_parts(target: str) -> tuple[str, ...] | None:
    """The parts of a request's path, decoded once; None for hidden names, ``..``, NUL, back-slashes and the like."""
    try:
        path = unquote(urlsplit(target).path, errors="strict")
    except (ValueError, UnicodeDecodeError):
        return None
    if not path.startswith("/") or "\0" in path or "\\" in path:
        return None
    parts = tuple(path.split("/")[1:])
    bad = any(part.startswith(".") or (part == "" and place < len(parts) - 1) for place, part in enumerate(parts))
    return None if bad else parts


def _open_below(root: Path, parts: tuple[str, ...], closing: contextlib.ExitStack) -> tuple[int, str] | str | None:
    """(descriptor, suffix) of a regular file below ``root``, the place to go to for a folder without ``/``, or None."""
    names = (*parts[:-1], parts[-1] or PAGE)
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        closing.callback(os.close, folder)
        for name in names[:-1]:
            folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            closing.callback(os.close, folder)
        last = os.open(names[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        closing.callback(os.close, last)
    except (OSError, ValueError):
        return None
    mode = os.fstat(last).st_mode
    if stat.S_ISDIR(mode):
        return f"{quote(names[-1], safe='')}/"
    suffix = os.path.splitext(names[-1])[1].lower()  # noqa: PTH122  a name, not a path
    return (last, suffix) if stat.S_ISREG(mode) and suffix in CONTENT_TYPES else None


def _pieces(descriptor: int, size: int) -> Iterator[bytes]:
    """Exactly ``size`` bytes; fewer only when the file shrank meanwhile."""
    offset = 0
    while offset < size:
        piece = os.pread(descriptor, min(1 << 18, size - offset), offset)
        if not piece:
            return
        offset += len(piece)
        yield piece
