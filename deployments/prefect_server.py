"""``python -m deployments.prefect_server server start ...``: Prefect's server, deaf to pages of other places.

Whoever may write to Prefect's server can have any command run, and without a log-in it believes everybody on this machine: also
the observer's browser, which any page on the web may ask to send something (Prefect answers with ``Access-Control-Allow-Origin: *``,
and its web sockets ask nobody where a page comes from), and to which a page may pretend to be of this machine by giving its own
name our address (DNS rebinding).  So a request must call us by a name of this machine, and one that a page sends must come from a
page of ours: from this machine, of the same port (Prefect's own pages, opened as ``localhost``, ask ``127.0.0.1``).  With a log-in
nothing is checked: a foreign page does not know it, and a browser does not add it unasked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from typing import Any

from nightcrew.settings import is_loopback

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]*)(?::([0-9]*))?")
_SCHEMES = {"http://": "80", "https://": "443"}  # with the port that an address without one means
_LOG_IN = "PREFECT_SERVER_API_AUTH_STRING"


def is_ours(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Does a request with these headers (names in small letters) call this machine by its name, and come from no foreign page?"""
    hosts, origins = _all(headers, b"host"), _all(headers, b"origin")
    port = _port_here(hosts[0]) if len(hosts) == 1 else None
    if port is None:
        return False
    return not origins or (len(origins) == 1 and _is_of_port(origins[0], port))


def _port_here(host: str) -> str | None:
    """The port ("": none given) in a name of this machine; None for a name of another."""
    named = _HOST.fullmatch(host)
    return (named[2] or "") if named is not None and is_loopback(named[1].strip("[]")) else None


def _is_of_port(origin: str, port: str) -> bool:
    """Is ``origin`` a place of this machine, and its port ``port``?  Its name may be another: all of them are ours."""
    for scheme, usual in _SCHEMES.items():
        own = _port_here(origin.removeprefix(scheme)) if origin.startswith(scheme) else None
        if own is not None:
            return (own or usual) == (port or usual)
    return False


def _all(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for key, value in headers if key == name]


def guarded(app: App) -> App:
    """``app``, which gets only requests that are :func:`is_ours`; others are answered 403, web sockets closed."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or is_ours(scope["headers"]):
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"pages of other places may not ask this server\n"})

    return guard


def guarding(create: Callable[..., App]) -> Callable[..., App]:
    """Prefect's ``create_app``, which guards the application that is served (``final``).

    Prefect's services ask for applications of their own, which no other process reaches, and call them by a name of their own.
    """

    def create_app(*given: Any, **named: Any) -> App:
        made = create(*given, **named)
        return guarded(made) if named.get("final") else made

    return create_app


def main() -> None:
    """Prefect's own command line, its application guarded when it asks for no log-in."""
    from prefect.cli import app
    from prefect.server.api import server

    if not os.environ.get(_LOG_IN):
        setattr(server, "create_app", guarding(server.create_app))  # noqa: B010  typed as FastAPI's
    app()


if __name__ == "__main__":
    main()
