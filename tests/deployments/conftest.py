"""One running service for all tests that want one; they share a worker (``xdist_group``) and run in the order of their modules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.small_nights import make_raw


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw frames of a small simulated night."""
    out = tmp_path_factory.mktemp("night")
    make_raw(out)
    return out / "raw"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A running service."""
    from tests.deployments.running import Service

    one = Service(tmp_path_factory.mktemp("service"))
    yield one
    if one.process.poll() is None:
        one.process.terminate()
        one.process.wait(60)
