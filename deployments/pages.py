"""The page server: report pages and product files, read only, with no way to anything else."""

from __future__ import annotations

import functools
import html
import http.server
import logging
import os
import posixpath
import urllib.parse
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

_LOG = logging.getLogger("nightcrew.pages")
_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; script-src 'self' 'unsafe-inline'"
)
_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_TYPES = {
    ".ecsv": "text/plain; charset=utf-8",
    ".fits": "application/fits",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".log": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}


class PageHandler(http.server.SimpleHTTPRequestHandler):
    """Serves ``roots``: the first part of the path chooses a folder (``products``), everything else is a report."""

    server_version = "nightcrew"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 30
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, **_TYPES}  # noqa: RUF012  # as the base class has it

    def __init__(self, *arguments: Any, roots: Mapping[str, Path], bound: str, **options: Any) -> None:
        self._bound = bound
        self._roots = {name: Path(os.path.realpath(root)) for name, root in roots.items()}
        super().__init__(*arguments, directory=str(self._roots[""]), **options)

    def translate_path(self, path: str) -> str:
        """The file behind a URL; one that does not exist when the URL leads out of the folders, also through links."""
        plain = posixpath.normpath(urllib.parse.unquote(path.partition("?")[0].partition("#")[0], errors="surrogateescape"))
        parts = [part for part in plain.split("/") if part]
        if any(part.startswith(".") or "\0" in part for part in parts):
            return str(self._roots[""] / ".nothing")
        root = self._roots[""]
        if parts and parts[0] in self._roots:
            root = self._roots[parts.pop(0)]
        target = Path(os.path.realpath(root.joinpath(*parts)))
        return str(target if target.is_relative_to(root) else root / ".nothing")

    def send_head(self) -> Any:
        """As the base class, but only for a host name that is ours: no page of another site may look at us through a browser."""
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0].strip("[]")
        if host and self._bound in _LOCAL_NAMES and host not in _LOCAL_NAMES:
            self.send_error(HTTPStatus.FORBIDDEN, "unknown host name")
            return None
        return super().send_head()

    def list_directory(self, path: str | os.PathLike[str]) -> Any:
        """Plain names of a product folder; report folders have pages of their own."""
        folder = Path(path)
        if not folder.is_dir() or folder == self._roots[""]:
            self.send_error(HTTPStatus.NOT_FOUND, "no report has been written yet")
            return None
        names = sorted(child.name + ("/" if child.is_dir() else "") for child in folder.iterdir() if not child.name.startswith("."))
        rows = "".join(f'<li><a href="{urllib.parse.quote(name, errors="surrogateescape")}">{_shown(name)}</a></li>' for name in names)
        title = _shown(folder.name)
        body = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><h1>{title}</h1><ul>{rows}</ul></html>".encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return None

    def end_headers(self) -> None:
        """Every answer carries the policy: nothing from elsewhere, nothing guessed, no stale report."""
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # the base class's name
        """Into our log, without control characters."""
        _LOG.info("%s %s", self.address_string(), (format % arguments).encode("unicode_escape").decode())


def _shown(name: str) -> str:
    return html.escape(name.encode(errors="surrogateescape").decode(errors="replace"))


def page_server(address: str, port: int, *, reports: Path, products: Path) -> http.server.ThreadingHTTPServer:
    """A server that listens on ``address``; call ``serve_forever``.  Raises OSError when the port is taken."""
    reports.mkdir(parents=True, exist_ok=True)
    handler = functools.partial(PageHandler, roots={"": reports, "products": products}, bound=address)
    server = http.server.ThreadingHTTPServer((address, port), handler)
    server.daemon_threads = True
    return server
