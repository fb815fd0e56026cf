"""What stands in a log came from one place: no name of a file makes a line of its own."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from deployments.children import OneLine, log_to_stderr


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


def test_the_text_of_an_exception_forges_no_line() -> None:
    forged = "a.fits\n2026-01-01 INFO nightcrew: all is well\x1b[2J"
    try:
        try:
            raise OSError(forged)
        except OSError as error:
            second = ExceptionGroup(forged, [KeyError(1), ValueError(forged)])
            second.add_note(forged)
            second.add_note("2026-01-01 INFO nightcrew: all is well")
            raise second from error
    except ExceptionGroup:
        record = logging.LogRecord("nightcrew", logging.ERROR, __file__, 1, "a fault", None, sys.exc_info())
    said = OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s").format(record)
    assert not [line for line in said.splitlines() if line.lstrip(" |+-").startswith("2026-01-01")]
    assert "\x1b" not in said
    assert said.count("Traceback") == 2  # the cause is there, too
    assert said.count(r"a.fits\x0a") == said.count(r"well\x1b[2J") == 4  # the cause, the group, its note, its second
    assert "note: 2026-01-01 INFO nightcrew: all is well" in said
    assert "raise OSError(forged)" in said
