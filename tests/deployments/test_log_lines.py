"""What stands in a log came from one place: no name of a file makes a line of its own."""

from __future__ import annotations

import io
import logging

import pytest

from deployments.children import log_to_stderr


def test_a_name_forges_no_line_and_steers_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    root = logging.getLogger()
    monkeypatch.setattr("sys.stderr", said)
    monkeypatch.setattr(root, "handlers", [])
    level = root.level
    try:
        log_to_stderr()
        logging.getLogger("nightcrew").warning("%s: is no frame", "a.fits\n2026-01-01 INFO nightcrew: all is well\r\x1b[2J\u2028\u202e")
        try:
            raise ValueError("broken")
        except ValueError:
            logging.getLogger("nightcrew").exception("a fault")
    finally:
        root.setLevel(level)
    first, *others = said.getvalue().splitlines()
    assert first.endswith(r"WARNING nightcrew: a.fits\x0a2026-01-01 INFO nightcrew: all is well\x0d\x1b[2J\u2028\u202e: is no frame")
    assert others[0].endswith("ERROR nightcrew: a fault")
    assert others[1] == "Traceback (most recent call last):"  # a trace keeps its lines
    assert others[-1] == "ValueError: broken"
