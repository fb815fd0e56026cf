from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from deployments.prefect_server import guarded, guarding, is_ours
from deployments.supervise import plan_children
from nightcrew.settings import Settings

HERE = (b"host", b"127.0.0.1:4200")


@pytest.mark.parametrize(
    "headers",
    [
        [HERE],
        [HERE, (b"origin", b"http://127.0.0.1:4200")],
        [(b"host", b"localhost:4200"), (b"origin", b"http://LOCALHOST:4200")],
        [(b"host", b"localhost:9999"), (b"origin", b"http://localhost:9999")],  # through a tunnel
        [(b"host", b"[::1]:4200")],
        [HERE, (b"origin", b"http://localhost:4200")],  # where Prefect's pages were opened; they ask the address of the settings
        [HERE, (b"origin", b"http://[::1]:4200")],
        [(b"host", b"localhost"), (b"origin", b"http://127.0.0.1:80")],
    ],
)
def test_programs_and_our_own_pages_may_ask(headers: list[tuple[bytes, bytes]]) -> None:
    assert is_ours(headers)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [HERE, HERE],
        [HERE, (b"origin", b"https://evil.example")],
        [HERE, (b"origin", b"null")],
        [HERE, (b"origin", b"")],
        [HERE, (b"origin", b"http://127.0.0.1:8000")],  # something else on this machine
        [HERE, (b"origin", b"http://localhost")],
        [HERE, (b"origin", b"ftp://localhost:4200")],
        [HERE, (b"origin", b"http://localhost:4200.evil.example")],
        [HERE, (b"origin", b"http://localhost:4200@evil.example:4200")],
        [HERE, (b"origin", b"http://evil.example:4200")],
        [HERE, (b"origin", b"http://127.0.0.1:4200"), (b"origin", b"https://evil.example")],
        [(b"host", b"evil.example:4200"), (b"origin", b"http://evil.example:4200")],  # a name that was given our address
        [(b"host", b"127.0.0.1.evil.example")],
        [(b"host", b"[::1]evil.example")],
        [(b"host", b"127.0.0.1:4200 evil")],
        [(b"host", b"")],
    ],
)
def test_other_names_and_foreign_pages_may_not(headers: list[tuple[bytes, bytes]]) -> None:
    assert not is_ours(headers)


@pytest.mark.parametrize("kind", ["http", "websocket", "lifespan"])
@pytest.mark.parametrize("origin", [b"http://127.0.0.1:4200", b"https://evil.example"])
def test_what_is_not_ours_never_reaches_the_server(kind: str, origin: bytes) -> None:
    reached: list[str] = []
    sent: list[MutableMapping[str, Any]] = []

    async def app(scope: MutableMapping[str, Any], _receive: Any, _send: Any) -> None:
        reached.append(scope["type"])

    async def receive() -> MutableMapping[str, Any]:
        return {}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = {} if kind == "lifespan" else {"headers": [HERE, (b"origin", origin)]}
    asyncio.run(guarded(app)({"type": kind, **headers}, receive, send))
    ours = kind == "lifespan" or b"evil" not in origin
    assert reached == ([kind] if ours else [])
    refused = {"http": ["http.response.start", "http.response.body"], "websocket": ["websocket.close"]}
    assert [message["type"] for message in sent] == ([] if ours else refused[kind])
    assert all(message.get("status", 403) == 403 for message in sent)


def test_the_service_starts_the_guarded_server(tmp_path: Path) -> None:
    (tmp_path / "nightcrew.toml").write_text("", encoding="utf-8")
    children, _ = plan_children(Settings.load(tmp_path / "nightcrew.toml"))
    assert children["server"].command[2:6] == ("-m", "deployments.prefect_server", "server", "start")


def test_prefects_own_clients_within_the_server_are_not_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.server.api import server
    from prefect.server.api.clients import OrchestrationClient

    asked: list[str] = []

    async def app(scope: MutableMapping[str, Any], _receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    monkeypatch.setattr(server, "create_app", guarding(lambda **_: app))

    async def ask() -> int:
        async with OrchestrationClient() as client:
            return (await client._http_client.get("/admin/version")).status_code

    assert (asyncio.run(ask()), asked) == (200, ["/api/admin/version"])


def test_what_uvicorn_serves_is_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn
    from prefect.cli import _server_utils
    from prefect.server.api import server

    served: list[Any] = []

    async def app(*_: Any) -> None:
        raise AssertionError("reached")

    monkeypatch.setattr(server, "create_app", guarding(lambda **_: app))
    monkeypatch.setattr(uvicorn, "run", lambda app, **_: served.append(app))
    _server_utils._run_in_foreground(MagicMock(), {}, "127.0.0.1", 4200, 5, no_services=True, workers=1)
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(served[0]({"type": "http", "headers": [HERE, (b"origin", b"https://evil.example")]}, None, send))
    assert sent[0]["status"] == 403
