"""The settle rule: still for long enough, and complete; an incomplete file is handed on when patience ends."""

from __future__ import annotations

import os
from pathlib import Path

from watchers.settle import SettleRule


def noted(rule: SettleRule, path: Path, now_s: float) -> None:
    status = path.stat()
    rule.note(os.fsencode(path), status.st_size, status.st_mtime_ns, now_s)


def names(rule: SettleRule, now_s: float, limit: int = 100) -> list[str]:
    return [Path(os.fsdecode(settled.path)).name for settled in rule.due(now_s, limit)]


def test_a_file_settles_when_it_stood_still(tmp_path: Path) -> None:
    rule = SettleRule(2.0, 10.0, lambda path: True)
    file = tmp_path / "a.fits"
    file.write_bytes(b"1")
    noted(rule, file, 0.0)
    assert names(rule, 1.9) == []
    assert rule.next_look_s() == 2.0
    assert names(rule, 2.0) == ["a.fits"]
    assert len(rule) == 0


def test_growth_starts_the_wait_anew(tmp_path: Path) -> None:
    rule = SettleRule(2.0, 10.0, lambda path: True)
    file = tmp_path / "a.fits"
    file.write_bytes(b"1")
    noted(rule, file, 0.0)
    file.write_bytes(b"12")
    assert names(rule, 2.0) == []
    assert names(rule, 3.9) == []
    assert names(rule, 4.0) == ["a.fits"]


def test_the_same_size_at_another_time_counts_as_growth(tmp_path: Path) -> None:
    rule = SettleRule(2.0, 10.0, lambda path: True)
    file = tmp_path / "a.fits"
    file.write_bytes(b"1")
    noted(rule, file, 0.0)
    os.utime(file, ns=(1, 1))
    assert names(rule, 2.0) == []


def test_an_incomplete_file_waits_and_is_handed_on_when_patience_ends(tmp_path: Path) -> None:
    rule = SettleRule(2.0, 10.0, lambda path: False)
    file = tmp_path / "cut.fits"
    file.write_bytes(b"1")
    noted(rule, file, 0.0)
    assert [names(rule, moment) for moment in (2.0, 5.0, 9.9)] == [[], [], []]
    assert names(rule, 10.0) == ["cut.fits"]


def test_a_file_that_becomes_complete_is_handed_on(tmp_path: Path) -> None:
    file = tmp_path / "a.fits"
    file.write_bytes(b"1")
    rule = SettleRule(1.0, 100.0, lambda path: path.stat().st_size == 4)
    noted(rule, file, 0.0)
    assert names(rule, 1.0) == []
    file.write_bytes(b"1234")
    assert names(rule, 2.0) == []
    assert names(rule, 3.0) == ["a.fits"]


def test_an_unreadable_file_counts_as_incomplete(tmp_path: Path) -> None:
    def fails(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    rule = SettleRule(1.0, 3.0, fails)
    file = tmp_path / "a.fits"
    file.write_bytes(b"1")
    noted(rule, file, 0.0)
    assert names(rule, 1.0) == []
    assert names(rule, 3.0) == ["a.fits"]


def test_a_file_that_went_away_is_forgotten(tmp_path: Path) -> None:
    rule = SettleRule(1.0, 3.0, lambda path: True)
    file = tmp_path / "a.fits"
    file.write_bytes(b"1")
    noted(rule, file, 0.0)
    file.unlink()
    assert names(rule, 1.0) == []
    assert len(rule) == 0


def test_no_more_than_the_limit_are_given_and_the_rest_stays(tmp_path: Path) -> None:
    rule = SettleRule(1.0, 3.0, lambda path: True)
    for number in range(5):
        file = tmp_path / f"{number}.fits"
        file.write_bytes(b"1")
        noted(rule, file, 0.0)
    assert names(rule, 1.0, limit=3) == ["0.fits", "1.fits", "2.fits"]
    assert names(rule, 1.0, limit=3) == ["3.fits", "4.fits"]
