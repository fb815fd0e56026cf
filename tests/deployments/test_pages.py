"""The page server shows reports and products, and nothing else."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.pages import page_server


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    reports, products = tmp_path / "reports", tmp_path / "products"
    (reports / "2026-03-14").mkdir(parents=True)
    (products / "masters").mkdir(parents=True)
    (reports / "index.html").write_text("all nights", encoding="utf-8")
    (reports / "2026-03-14" / "index.html").write_text("one night", encoding="utf-8")
    (products / "masters" / "bias & co.fits").write_bytes(b"SIMPLE")
    (products / ".nightcrew-x.part").write_bytes(b"half")
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (reports / "link").symlink_to(tmp_path / "secret")
    server = page_server("127.0.0.1", 0, reports=reports, products=products)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()
    thread.join()


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": host, "Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "body"),
    [("/", "all nights"), ("/2026-03-14/", "one night"), ("/products/masters/bias%20%26%20co.fits", "SIMPLE")],
)
def test_pages_and_products_are_served(port: int, path: str, body: str) -> None:
    assert get(port, path)[:2] == (200, body)


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/products/../../secret",
        "/%2e%2e/secret",
        "/link",
        "/products/.nightcrew-x.part",
        "/products/%00",
        "//etc/passwd",
        "/nothing",
    ],
)
def test_nothing_else_is(port: int, path: str) -> None:
    status, body, _ = get(port, path)
    assert status == 404
    assert "secret" not in body.replace("/secret", "")


def test_product_folders_are_listed_escaped(port: int) -> None:
    status, body, _ = get(port, "/products/masters/")
    assert status == 200
    assert "bias &amp; co.fits" in body


def test_every_answer_carries_the_policy_and_other_sites_are_kept_out(port: int) -> None:
    headers = get(port, "/")[2]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert get(port, "/", host="evil.example")[0] == 403
    assert get(port, "/", host="localhost:8765")[0] == 200
