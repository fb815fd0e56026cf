"""Rules of photon lists: what is planned of which files, when, and what waits; nothing is made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.mkid.observing_log import LoggedExposure
from nightcrew.planning.model import Plan
from nightcrew.planning.set_mkid import _groups, keeps_copies, plan
from nightcrew.planning.set_plan import plan_set
from nightcrew.planning.sets import SetFile
from tests.planning.test_sets import snapshot

START = 1_606_000_000
AS_OF_LATER = "2030-01-01T00:00:00.000"
AS_OF_NOW = "2026-05-17T06:00:00.000"


def files_of(folder: Path, texts: Mapping[str, str]) -> list[SetFile]:
    """Files on disk as the set has them; their arrival is now."""
    made = []
    for number, (name, text) in enumerate(sorted(texts.items()), 1):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        status = path.stat()
        made.append(
            SetFile(
                id=number,
                path=str(path).encode(),
                relative=name,
                size=status.st_size,
                mtime_ns=status.st_mtime_ns,
                sha256=hashlib.sha256(f"{name}{text}".encode()).hexdigest(),
                arrived_at=AS_OF_NOW,
                kind=name.rpartition(".")[2],
            )
        )
    return made


def planned(folder: Path, texts: Mapping[str, str], as_of: str = AS_OF_NOW) -> Plan:
    return plan_set(snapshot(files_of(folder, texts), quiet_s=600.0), plan, as_of)


def seconds(first: int, stop: int) -> dict[str, str]:
    return {f"data/{START + second}.bin": f"second {second}" for second in range(first, stop)}


def log(*lines: str) -> dict[str, str]:
    return {"observing_log.csv": "\n".join(["name,type,start,stop,wavelength_nm", *lines])}


def exposure(name: str, kind: str, first: int, nm: str = "") -> str:
    return f"{name},{kind},{START + first}.5,{START + first + 1}.5,{nm}"


MAP = {"beammap.txt": "1 0 0 0"}
LASERS = (exposure("a", "laser", 1, "850"), exposure("b", "laser", 3, "1100"))


def names(made: Plan) -> list[str]:
    return [f"{one.recipe} {one.key}" for one in made.products]


def test_a_table_is_planned_when_its_seconds_and_the_one_after_are_there(tmp_path: Path) -> None:
    lines = log(*LASERS)
    assert names(planned(tmp_path / "1", {**MAP, **lines, **seconds(0, 3)})) == []
    made = planned(tmp_path / "2", {**MAP, **lines, **seconds(0, 4)})
    assert names(made) == ["mkid_table a"]
    assert {item.role for item in made.products[0].inputs} == {"beammap.txt", *seconds(0, 4)}
    assert made.wake_at


def test_lasers_are_complete_when_something_else_follows(tmp_path: Path) -> None:
    texts = {**MAP, **seconds(0, 12)}
    assert "mkid_wavecal a" not in names(planned(tmp_path / "1", {**texts, **log(*LASERS)}))
    followed = planned(tmp_path / "2", {**texts, **log(*LASERS, exposure("s", "science", 6))})
    assert {"mkid_wavecal a", "mkid_masks s", "mkid_calibrated s", "mkid_images s"} <= set(names(followed))
    assert "mkid_report all" not in names(followed)
    quiet = planned(tmp_path / "3", {**texts, **log(*LASERS)}, AS_OF_LATER)
    assert {"mkid_wavecal a", "mkid_report all"} <= set(names(quiet))


def test_the_nearest_solution_is_an_input(tmp_path: Path) -> None:
    again = (exposure("c", "laser", 20, "850"), exposure("d", "laser", 22, "1100"))
    lines = log(*LASERS, exposure("near", "science", 6), *again, exposure("late", "science", 25))
    made = planned(tmp_path, {**MAP, **seconds(0, 40), **lines}, AS_OF_LATER)
    solutions = {one.fingerprint: one.key for one in made.products if one.recipe == "mkid_wavecal"}
    used = {
        one.key: [solutions[item.fingerprint] for item in one.inputs if item.fingerprint in solutions]
        for one in made.products
        if one.recipe == "mkid_calibrated"
    }
    assert used == {"near": ["a"], "late": ["c"]}


def test_what_lies_outside_every_exposure_is_set_aside_at_the_end(tmp_path: Path) -> None:
    texts = {**MAP, **seconds(0, 12), **log(LASERS[0])}
    waits = planned(tmp_path / "1", texts)
    assert any("no exposure of the observing log has this second yet" in reason for reason in waits.waiting.values())
    ended = planned(tmp_path / "2", texts, AS_OF_LATER)
    assert not ended.waiting
    assert sum("outside every exposure" in reason for reason in ended.excluded.values()) == 12 - 4


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ({"observing_log.csv": "nonsense"}, "is no observing log"),
        ({"data/12.bin": "x"}, "is not named after a Unix second"),
    ],
)
def test_hostile_files_are_rejected_and_the_rest_goes_on(texts: dict[str, str], reason: str, tmp_path: Path) -> None:
    made = planned(tmp_path, {**MAP, **seconds(0, 4), **log(), **texts}, AS_OF_LATER)
    assert [one for one in made.rejected.values() if reason in one]


def test_exposures_that_overlap_within_a_log_or_between_two_are_told_and_the_others_are_made(tmp_path: Path) -> None:
    first = log(exposure("one", "science", 0), exposure("inside", "flat", 0), exposure("two", "science", 4))["observing_log.csv"]
    second = log(exposure("three", "science", 8), exposure("clash", "dark", 4), exposure("one", "dark", 12))["observing_log.csv"]
    made = planned(tmp_path, {**MAP, **seconds(0, 15), "a_log.csv": first, "b_log.csv": second}, AS_OF_LATER)
    assert [name for name in names(made) if name.startswith("mkid_table")] == ["mkid_table one", "mkid_table two", "mkid_table three"]
    (report,) = [one for one in made.products if one.recipe == "mkid_report"]
    told = _texts(report.facts)
    assert any("inside overlaps one" in text for text in told)
    assert any("clash of b_log.csv repeats or overlaps two" in text for text in told)
    assert any("one of b_log.csv repeats or overlaps one" in text for text in told)


@given(st.lists(st.sampled_from(["laser", "dark", "flat", "science"]), max_size=12), st.data())
@settings(max_examples=60, deadline=None)
def test_groups_hold_each_exposure_once_and_no_wavelength_twice(kinds: list[str], data: st.DataObject) -> None:
    every = [
        LoggedExposure(f"e{n}", kind, n * 10, n * 10 + 5, data.draw(st.sampled_from([850.0, 950.0])) if kind == "laser" else None)
        for n, kind in enumerate(kinds)
    ]
    groups = _groups(every, "laser", passing=("dark",))
    assert [one for group, _ in groups for one in group] == [one for one in every if one.kind == "laser"]
    assert all(len({one.wavelength_nm for one in group}) == len(group) for group, _ in groups)
    assert all(ended for _, ended in groups[:-1])


def test_seconds_of_equal_bytes_are_seconds_of_exposure_and_copies_of_a_log_are_one(tmp_path: Path) -> None:
    texts = {**seconds(0, 4), "beammap.txt": "map", "b_log.csv": "x", "a/b_log.csv": "x"}
    files = [replace(f, sha256=hashlib.sha256(texts[f.relative][:6].encode()).hexdigest()) for f in files_of(tmp_path, texts)]
    files = [f for f in files if not f.relative.endswith("csv")]
    made = plan_set(snapshot(files, quiet_s=600.0), plan, AS_OF_LATER, keeps_copies=keeps_copies)
    (table,) = [p for p in made.products if p.recipe == "mkid_table"]
    assert table.parameters["stop_us"] - table.parameters["start_us"] == 4_000_000
    assert len(table.inputs) == 5
    lines = log(exposure("one", "science", 0))
    copies = files_of(tmp_path, {**texts, "b_log.csv": lines["observing_log.csv"], "a/b_log.csv": lines["observing_log.csv"]})
    copies = [replace(f, sha256="1" * 64) if f.kind == "csv" else f for f in copies]
    made = plan_set(snapshot(copies, quiet_s=600.0), plan, AS_OF_LATER, keeps_copies=keeps_copies)
    assert [reason for reason in made.excluded.values() if "exposure" not in reason] == ["duplicate: the same bytes as b_log.csv"]
    (report,) = [p for p in made.products if p.recipe == "mkid_report"]
    assert report.facts["problems"] == []


def test_an_exposure_without_a_second_does_not_hold_its_calibration_for_ever(tmp_path: Path) -> None:
    texts = {**MAP, **log(*LASERS, exposure("c", "laser", 50, "1300")), **seconds(0, 7)}
    assert "mkid_wavecal a" not in names(planned(tmp_path, texts))
    made = planned(tmp_path, texts, AS_OF_LATER)
    assert "mkid_wavecal a" in names(made)
    assert any("calibrated without c" in problem for one in made.products if one.recipe == "mkid_report" for problem in _texts(one.facts))


def _texts(value: object) -> list[str]:
    """Every text in nested plain values."""
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    return [text for part in value for text in _texts(part)] if isinstance(value, list | tuple) else [str(value)]
