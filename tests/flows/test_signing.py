"""A run says which process works on it, also when the ledger is busy at first."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import signing
from nightcrew.errors import TransientError
from nightcrew.ledger import run_signs
from nightcrew.ledger.database import Database


@pytest.mark.parametrize(("busy", "tries"), [(0, 1), (2, 3), (9, 3)])
def test_signing_in_is_tried_again_and_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: int, tries: int) -> None:
    signed: list[str] = []

    def begin(database: Database, run_id: str) -> None:
        signed.append(run_id)
        if len(signed) <= busy:
            raise TransientError("the ledger cannot be written for now")

    monkeypatch.setattr(signing, "flow_run", SimpleNamespace(id="run"))
    monkeypatch.setattr(signing, "_PAUSE_S", 0.0)
    monkeypatch.setattr(run_signs, "begin", begin)
    signing.sign_run(Database(f"sqlite:///{tmp_path / 'ledger.sqlite'}"))
    assert signed == ["run"] * tries
