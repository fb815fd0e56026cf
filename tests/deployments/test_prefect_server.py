from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from deployments.prefect_server import guarded, is_ours
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
        [HERE, (b"origin", b"http://localhost:4200")],
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
