from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nightcrew.simulate.drop import Pace, demonstration_order, drop, shuffled, write_slowly
from tests.simulate.nights import tiny_night


@pytest.mark.parametrize("style", ["copy", "slow", "rename", "mixed"])
def test_every_file_arrives_whole_and_in_order(style: Any, tmp_path: Path) -> None:
    raw, truth = tiny_night()
    names = truth.drop_order[:9]
    pauses: list[float] = []
    arrived = list(drop(raw, tmp_path / "watched", names, Pace(style=style, pause_s=0.5), sleep=pauses.append))
    assert [path.name for path in arrived] == list(names)
    assert sorted(path.name for path in (tmp_path / "watched").iterdir()) == sorted(names)
    for name in names:
        assert (tmp_path / "watched" / name).read_bytes() == (raw / name).read_bytes()
    assert pauses.count(0.5) == len(names)


def test_slow_file_stands_there_in_part_during_its_pauses(tmp_path: Path) -> None:
    target, sizes = tmp_path / "a.fit", []
    write_slowly(bytes(1000), target, 4, 0.1, lambda pause: sizes.append((pause, target.stat().st_size)))
    assert sizes == [(0.1, 250), (0.1, 500), (0.1, 750)]
    assert target.stat().st_size == 1000


def test_empty_file_can_be_written_slowly(tmp_path: Path) -> None:
    write_slowly(b"", tmp_path / "a.fit", 4, 0.1)
    assert (tmp_path / "a.fit").read_bytes() == b""


def test_renamed_file_is_never_in_part_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, truth = tiny_night()
    moved: list[tuple[str, int]] = []
    rename = Path.rename

    def watch(self: Path, target: Path) -> Path:
        moved.append((self.name, self.stat().st_size))
        assert not target.exists()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watch)
    list(drop(raw, tmp_path, truth.drop_order[:2], Pace(style="rename")))
    assert all(name.startswith(".") and name.endswith(".part") for name, _ in moved)
    assert [size for _, size in moved] == [(raw / name).stat().st_size for name in truth.drop_order[:2]]


def test_drop_stops_when_told(tmp_path: Path) -> None:
    raw, truth = tiny_night()
    arrived: list[Path] = []
    for path in drop(raw, tmp_path, truth.drop_order, Pace(style="copy"), stop=lambda: len(arrived) == 3):
        arrived.append(path)
    assert len(arrived) == 3


def test_demonstration_order_has_the_late_flats_last_and_troubles_among_the_lights() -> None:
    _, truth = tiny_night()
    order = demonstration_order(truth)
    assert order == truth.drop_order
    late = {frame.name for frame in truth.select("flat", filter_name="R")}
    assert set(order[-5:]) == late
    lights = [order.index(frame.name) for frame in truth.select("light")]
    for trouble in truth.troubles:
        if trouble.adds_file:
            assert min(lights) < order.index(trouble.path) < max(lights) + 2
    duplicate = next(trouble for trouble in truth.troubles if trouble.kind == "duplicate")
    assert order.index(duplicate.twin) < order.index(duplicate.path)
    assert order.index("bias-001.fit") < order.index("dark-30s-001.fit") < order.index("flat-V-001.fit") < min(lights)


def test_shuffling_is_fixed_by_its_seed() -> None:
    names = [f"{n}.fit" for n in range(30)]
    assert shuffled(names, 1) == shuffled(names, 1) != shuffled(names, 2)
    assert sorted(shuffled(names, 1)) == sorted(names)
