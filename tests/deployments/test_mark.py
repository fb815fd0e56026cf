"""``nightcrew mark``: a person bars a master, and takes it back."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import build
from tests.support.small_nights import Bench, make_raw


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A small night after its run, with a configuration file beside it."""
    make_raw(tmp_path)
    bench = Bench(tmp_path / "raw", tmp_path)
    bench.night()
    (tmp_path / "nightcrew.toml").write_text(
        '[site]\nlongitude_deg = -70.4042\nlatitude_deg = -24.6272\ntimezone = "America/Santiago"\n[[folders]]\npath = "raw"\n'
        "[lights]\ncosmic_rays = false\n[limits]\ndisk_reserve_bytes = 0\n"
    )
    monkeypatch.chdir(tmp_path)
    return bench


def test_a_master_marked_bad_is_used_no_more_and_comes_back(bench: Bench) -> None:
    before = bench.content()
    flat = next(row for row in bench.products() if row.recipe == "flat_master" and row.facts["filter"] == "B")
    run = CliRunner()
    said = run.invoke(build("mark"), ["mark", flat.fingerprint[:12], "--bad", "dome lights were on"])
    assert said.exit_code == 0, said.output
    listed = re.findall(r"made from (it|that): (\w+) ", said.output)
    assert [how for how, _ in listed] == ["it"] * 2 + ["that"] * 4  # the direct ones first
    assert Counter(listed) == {("it", "reduce_light"): 2, ("that", "photometry"): 2, ("that", "stack"): 1, ("that", "stack_photometry"): 1}
    bench.run()
    state, reason = bench.state_of("crew-1-B-001.fit")
    assert state == "degraded"
    assert "no flat in B" in reason
    assert "dome lights were on" in bench.state_of("flat-B-001.fit")[1]
    assert run.invoke(build("mark"), ["mark", flat.fingerprint[:12], "--good"]).exit_code == 0
    bench.run()
    assert bench.content() == before


def test_it_wants_a_reason_or_its_opposite(bench: Bench) -> None:
    done = CliRunner().invoke(build("mark"), ["mark", "0" * 12])
    assert done.exit_code != 0
    assert "--bad REASON or --good" in str(done.exception)
