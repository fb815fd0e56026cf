"""What workers in processes of their own know: all that the context knows that sent them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from nightcrew.astrometry.program import Solver
from nightcrew.ledger.database import Database
from tasks.context import UnitContext
from tasks.pool import WorkerSettings


def test_a_worker_works_as_the_context_that_sent_it_with_its_share_of_the_memory(tmp_path: Path) -> None:
    context = UnitContext(
        database=Database(f"sqlite:///{tmp_path}/ledger.sqlite"),
        products_root=tmp_path / "products",
        memory_bytes=100_000_000,
        threads=4,
        disk_reserve_bytes=1,
        remake_scopes=2,
        durable=False,
        work=tmp_path / "work",
        solver=Solver("solve-field", "indexes", 30.0, "1"),
        pictures=tmp_path / "pictures",
    )
    defaults = {field.name: field.default for field in dataclasses.fields(context)}
    assert [name for name, default in defaults.items() if getattr(context, name) == default] == []  # each is one that could get lost
    opened = WorkerSettings.of(context, 4).open()
    assert opened.database.url == context.database.url
    assert dataclasses.replace(opened, database=context.database) == dataclasses.replace(context, memory_bytes=25_000_000, threads=1)
