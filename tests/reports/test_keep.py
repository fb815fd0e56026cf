"""Kept pictures: the same as made anew, made once, and made again when what is kept is damaged or gone."""

from __future__ import annotations

import dataclasses
import errno
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.io import atomic
from nightcrew.io.products import write_image_product
from nightcrew.ledger.rows import FileRow
from reports import keep as keep_module
from reports.figures import course_figure, trend_figure
from reports.keep import Keep, key_of
from reports.pictures import Gallery, picture_of_image
from reports.values import Picture
from tests.reports import samples

PICTURE = Picture(data=b"\xff\xd8 a picture", media_type="image/jpeg", width_px=4, height_px=3, alt="<b>a</b>", blank=False)


class Maker:
    """Makes the picture and counts."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> tuple[Picture, ...]:
        self.made += 1
        return PICTURE, dataclasses.replace(PICTURE, data=b"dark", blank=True)


def test_what_is_kept_is_the_same_and_is_made_once(tmp_path: Path) -> None:
    keep, make = Keep(tmp_path), Maker()
    assert keep.pictures(key_of(1), make) == keep.pictures(key_of(1), make) == Maker()()
    assert make.made == 1
    keep.pictures(key_of(2), make)
    assert make.made == 2


@pytest.mark.parametrize("place", [0, 70, -1])
def test_damage_and_deletion_are_made_good(tmp_path: Path, place: int) -> None:
    keep, make = Keep(tmp_path), Maker()
    keep.pictures(key_of(1), make)
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    whole = file.read_bytes()
    for spoiled in (bytearray(whole), whole[: len(whole) // 2], b""):
        if isinstance(spoiled, bytearray):
            spoiled[place] ^= 1
        file.write_bytes(spoiled)
        assert keep.pictures(key_of(1), make) == Maker()()
        assert file.read_bytes() == whole
    shutil.rmtree(tmp_path)
    assert keep.pictures(key_of(1), make) == Maker()()
    assert make.made == 5


def test_a_full_disk_keeps_nothing_and_shows_all(tmp_path: Path) -> None:
    def full(_stage: str, final: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(final))

    keep, make = Keep(tmp_path), Maker()
    with atomic.injected_faults(full):
        assert keep.pictures(key_of(1), make) == Maker()()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("free", "files"), [(999, 0), (1000, 1)])
def test_below_the_reserve_nothing_is_kept_and_all_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, files: int) -> None:
    monkeypatch.setattr("reports.keep.shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    assert Keep(tmp_path / "kept", 1000).pictures(key_of(1), Maker()) == Maker()()
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == files


def test_other_code_or_libraries_draw_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of("figure", 1)
    assert before == key_of("figure", 1) != key_of("figure", 2)
    monkeypatch.setattr(keep_module, "DRAWN_WITH", "another matplotlib")
    assert key_of("figure", 1) != before


def test_code_that_came_after_the_import_is_not_taken_for_what_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(str(keep_module.__file__)).parent
    for name in ("keep.py", "stretch.py", "pictures.py", "figures.py", "text.py"):
        shutil.copy(here / name, tmp_path / name)

    def loaded() -> Any:
        spec = importlib.util.spec_from_file_location("loaded_keep", tmp_path / "keep.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "loaded_keep", module)
        spec.loader.exec_module(module)
        return module

    old = loaded()
    assert old.key_of(1) == key_of(1)
    running = loaded()
    with (tmp_path / "stretch.py").open("a") as file:
        file.write("# an upgrade under the running service\n")
    assert running.key_of(1) == old.key_of(1) != loaded().key_of(1)


def test_figures_are_drawn_once_and_do_not_depend_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = Keep(tmp_path)
    lights, trend = samples.lights(), samples.trends()[0]
    anew = (course_figure(lights, "fwhm_px", "Sharpness", "px", "c"), trend_figure(trend, "t"))
    assert (course_figure(lights, "fwhm_px", "Sharpness", "px", "c", keep), trend_figure(trend, "t", keep)) == anew
    monkeypatch.setattr("reports.figures._paint", None)
    assert (course_figure(lights, "fwhm_px", "Sharpness", "px", "c", keep), trend_figure(trend, "t", keep)) == anew
    other = [dataclasses.replace(lights[0], fwhm_px=9.0), *lights[1:]]
    with pytest.raises(TypeError):
        course_figure(other, "fwhm_px", "Sharpness", "px", "c", keep)


@dataclasses.dataclass(frozen=True)
class Keys(Keep):
    """Remembers what pictures were asked for."""

    asked: list[str] = dataclasses.field(default_factory=list)

    def pictures(self, key: str, make: Callable[[], tuple[Picture, ...]]) -> tuple[Picture, ...]:
        self.asked.append(key)
        return PICTURE, PICTURE


def test_each_quality_of_a_light_that_a_figure_shows_makes_it_another() -> None:
    lights, keys = samples.lights(), Keys()
    middle = sorted(lights, key=lambda light: light.fwhm_px or 0.0)[10]  # its value is not in the caption
    assert middle.fwhm_px is not None
    changes: list[dict[str, Any]] = [
        {"filter": "H"},
        {"time_utc": "2026-03-14T22:00:00.000"},
        {"fwhm_px": middle.fwhm_px + 1e-6},
    ]
    captions = set()
    for change in [{}, *changes]:
        changed = [dataclasses.replace(light, **change) if light is middle else light for light in lights]
        captions.add(course_figure(changed, "fwhm_px", "Sharpness", "px", "c", keys).caption)
    assert len(captions) == 1
    assert len(set(keys.asked)) == 1 + len(changes)


def test_each_part_of_a_trend_makes_another_figure() -> None:
    trend, keys = dataclasses.replace(samples.trends()[0], outside=False, tonight=False), Keys()
    assert trend.limits is not None
    first, second, *rest = trend.points
    unlimited = dataclasses.replace(trend, limits=None)
    limits = [dataclasses.replace(trend.limits, **{name: getattr(trend.limits, name) + 1e-9}) for name in ("low", "median", "high")]
    points = [
        dataclasses.replace(second, **change)
        for change in ({"error": 1.5}, {"error": None}, {"value": second.value + 1e-9}, {"night": "x"})
    ]
    cases = [
        [trend, *(dataclasses.replace(trend, limits=one) for one in limits)],
        [trend, *(dataclasses.replace(trend, points=(first, point, *rest)) for point in points)],
        [unlimited, dataclasses.replace(unlimited, outside=True)],
    ]
    for trends in cases:
        keys.asked.clear()
        assert len({trend_figure(one, "t", keys).caption for one in trends}) == 1
        assert len(set(keys.asked)) == len(trends)


def test_each_way_to_show_a_file_and_each_content_makes_another_picture(tmp_path: Path) -> None:
    keys = Keys()
    gallery = Gallery(tmp_path, keys)
    path = tmp_path / "light.fits"
    path.write_bytes(b"x")
    file = FileRow(role="image", path="light.fits", sha256="a" * 64, size=1)
    ways: list[dict[str, Any]] = [{}, {"size_px": 80}, {"stretch": "zscale"}, {"flat_is_fine": True}]
    for way in ways:
        gallery.image(file, "", **way)
    gallery.image(dataclasses.replace(file, sha256="b" * 64), "")
    gallery.mask(file, "")
    gallery.mask(file, "", size_px=80)
    gallery.png(file, "")
    os.utime(path, ns=(1, 1))
    gallery.image(file, "")
    path.write_bytes(b"xx")
    os.utime(path, ns=(1, 1))
    gallery.image(dataclasses.replace(file, size=2), "")
    assert len(set(keys.asked)) == len(keys.asked) == 10
    assert gallery.damaged == []
    assert gallery.image(file, "") is None  # another size than was written: not looked at
    assert (len(keys.asked), gallery.damaged) == (10, ["light.fits"])


def test_a_file_is_looked_at_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    path = tmp_path / "light.fits"
    written = write_image_product(path, science=rng.normal(100, 5, (64, 64)).astype(np.float32), unit="adu")
    file = FileRow(role="image", path="light.fits", sha256=written.sha256, size=written.size)
    gallery = Gallery(tmp_path, Keep(tmp_path / "kept"))
    anew = picture_of_image(path, "a light")
    assert anew is not None
    assert gallery.image(file, "a light") == anew
    monkeypatch.setattr("reports.pictures.picture_of_image", lambda *_args, **_how: None)
    assert gallery.image(file, "a light") == anew
    assert gallery.image(file, "it has another name") == dataclasses.replace(anew, alt="it has another name")
    path.write_bytes(path.read_bytes()[:-1])
    assert gallery.image(file, "a light") is None  # damaged: it was asked for again
    path.unlink()
    assert gallery.image(file, "a light") is None


@pytest.mark.parametrize("shape", [(64, 64), (700, 1300)])
def test_what_the_unit_keeps_of_a_light_is_what_the_page_would_make_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(6)
    science = rng.normal(100, 5, shape).astype(np.float32)
    science[10:20, 30:40] = np.nan
    written = write_image_product(tmp_path / "light.fits", science=science, unit="electron")
    file = FileRow(role="image", path="light.fits", sha256=written.sha256, size=written.size)
    anew = picture_of_image(tmp_path / "light.fits", "a light")
    gallery = Gallery(tmp_path, Keep(tmp_path / "kept"))
    gallery.remember(file, science)
    monkeypatch.setattr("reports.pictures.picture_of_image", None)
    assert gallery.image(file, "a light") == anew


@pytest.mark.parametrize("science", [np.linspace(0, 900, 5000, dtype=np.float32).reshape(50, 100), np.full((50, 100), 7.0, np.float32)])
def test_what_the_unit_keeps_of_a_master_is_what_the_page_would_make_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, science: NDArray[np.float32]
) -> None:
    written = write_image_product(tmp_path / "bias.fits", science=science, unit="adu")
    file = FileRow(role="image", path="bias.fits", sha256=written.sha256, size=written.size)
    anew = Gallery(tmp_path).master(file, "a bias")
    gallery = Gallery(tmp_path, Keep(tmp_path / "kept"))
    gallery.remember(file, science, master=True)
    monkeypatch.setattr("reports.pictures.picture_of_image", None)
    assert gallery.master(file, "a bias") == anew
    assert anew is not None
