"""What failed in a group is run again by its own name."""

from __future__ import annotations

import json

from tests.again import failed


def test_groups_are_no_part_of_a_name() -> None:
    stored = {"tests/a.py::test_x@service": True, "tests/a.py::test_y[b@c]": True, "tests/a.py::test_y[b@c]@tests/a.py": True}
    assert failed(json.dumps(stored)) == ["tests/a.py::test_x", "tests/a.py::test_y[b@c]"]
