"""A set that comes in pieces into the running service: products, page and the morning's line; a late file makes them anew."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from nightcrew.ledger import arrivals, products, scopes
from nightcrew.ledger.rows import ProductRow
from tests.service.conftest import TOY
from tests.service.running import Running

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("service-kills")]
NAME = "set 1"


def drop(service: Running, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = service.incoming("toys") / NAME / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def made(service: Running) -> dict[str, ProductRow]:
    with service.space.database.read() as connection:
        (scope,) = scopes.find(connection, kind=TOY, name=NAME)
        return {f"{row.recipe} {row.key}": row for row in products.current_of_scope(connection, scope.id)}


def test_a_set_that_comes_in_pieces_is_analysed_when_it_is_complete(service: Running, tmp_path: Path) -> None:
    drop(service, {"a.num": "1", "notes.log": "begun"})
    service.wait(lambda: scopes_known(service), "the set is known")
    time.sleep(1.0)
    drop(service, {"deep/b.num": "2.5", "x.num": "broken", "copy.num": "1", "odd.bad": "?"})
    service.wait(lambda: service.settled_set(TOY, NAME, 6), "the set is closed, planned and reported", 120)

    rows = made(service)
    assert sorted(rows) == ["toy_convert a.num", "toy_convert deep~2fb.num", "toy_sum all"]
    assert rows["toy_sum all"].metrics == {"sum": 3.5}
    root = service.settings.products.root
    assert all((root / file.path).stat().st_size == file.size for row in rows.values() for file in row.files)
    with service.space.database.read() as connection:
        (scope,) = scopes.find(connection, kind=TOY, name=NAME)
        balance = arrivals.balance(connection, scope.id)
    assert balance == {
        ("num", "done"): 2,
        ("num", "rejected"): 1,
        ("num", "set_aside"): 1,
        ("log", "set_aside"): 1,
        ("bad", "rejected"): 1,
    }
    page = httpx.get(f"http://127.0.0.1:{service.settings.reports.port}/{TOY}/set~201/", timeout=10)
    assert page.status_code == 200
    assert "The sum is 3.5" in page.text
    assert "the balance closes" in page.text
    assert f"{TOY}/set~201/index.html" in httpx.get(f"http://127.0.0.1:{service.settings.reports.port}/", timeout=10).text

    query = {"flows": {"name": {"any_": [TOY]}}, "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    runs = httpx.post(f"{service.api}/flow_runs/filter", json=query, timeout=10).json()
    assert {run["name"] for run in runs} == {f"{TOY} {NAME}"}

    before = rows["toy_convert a.num"].claim_id
    drop(service, {"late.num": "10"})
    service.wait(lambda: service.settled_set(TOY, NAME, 7), "the set is reported again", 120)
    rows = made(service)
    assert rows["toy_sum all"].metrics == {"sum": 13.5}
    assert rows["toy_convert a.num"].claim_id == before
    text = service.morning(tmp_path)
    assert "The sum is 13.5" in text
    assert "Total: 13.50" in text
    assert f"/{TOY}/set~201/index.html" in text


def scopes_known(service: Running) -> bool:
    with service.space.database.read() as connection:
        return bool(scopes.find(connection, kind=TOY, name=NAME))
