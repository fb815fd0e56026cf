"""The header of a reduced light describes what is left of the frame."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from nightcrew.frames.model import FrameHeader
from nightcrew.io.headers import HeaderValue
from nightcrew.ledger.rows import FrameRow
from nightcrew.lights.reduce import ReducedLight
from nightcrew.planning.model import Input, PlannedProduct
from tasks.context import UnitContext
from tasks.lights import _moved_to_trim, _solution, _write
from tests.frames.made import hdu


def test_sections_and_physical_pixels_follow_the_trim() -> None:
    cards: dict[str, HeaderValue] = {"CCDSEC": "[1:100,1:50]", "DETSEC": "[200:101,1:50]", "AMPSEC": "[*,*]", "LTV1": -3.0}
    shown = hdu(cards | {"DATASEC": "[5:104,1:50]"}, shape=(50, 124))
    header = FrameHeader(kind="light", instrument="", profile="", nx=124, ny=50, trim=(9, 104, 2, 50))
    found, gone = _moved_to_trim(header, shown)
    made = {key: value for key, value, _ in found if key != "HISTORY"}
    assert made == {"CCDSEC": "[6:100,3:50]", "DETSEC": "[195:101,3:50]", "LTV1": -12.0, "LTV2": -2.0}
    assert gone == {"AMPSEC", "DATASEC"}
    assert [value for key, value, _ in found if key == "HISTORY"] == [
        "AMPSEC [*,*] left out after a cut to [10:104,3:50]: it is no plain section"
    ]


@pytest.mark.parametrize("trim", [(0, 110, 0, 50), None])
def test_a_datasec_that_is_not_all_that_is_left_stays_with_the_sections_that_it_is_about(trim: tuple[int, int, int, int] | None) -> None:
    shown = hdu({"DATASEC": "[11:110,1:50]", "TRIMSEC": "[1:110,1:50]", "CCDSEC": "[1:100,1:50]"}, shape=(50, 124))
    header = FrameHeader(kind="light", instrument="", profile="", nx=124, ny=50, trim=trim)
    found, gone = _moved_to_trim(header, shown)
    made = {key: value for key, value, _ in found}
    assert (made["DATASEC"], made["CCDSEC"]) == ("[11:110,1:50]", "[1:100,1:50]")
    assert "TRIMSEC" in gone


def test_the_sub_frame_and_other_world_coordinates_follow_the_trim() -> None:
    cards: dict[str, HeaderValue] = {"XORGSUBF": 0, "YORGSUBF": 7, "CRPIX1P": 1.0, "CRPIX2A": 20.0, "CRVAL1B": 5.0, "LTV1": 0.0}
    cards |= {"CTYPE1": "RA---TAN", "CRPIX1": 50.0, "CRVAL2": 3.0}
    header = FrameHeader(kind="light", instrument="", profile="", nx=124, ny=50, trim=(10, 110, 4, 50))
    found, _ = _moved_to_trim(header, hdu(cards, shape=(50, 124)))
    made = {key: value for key, value, _ in found}
    others = {"CRPIX1P": -9.0, "CRPIX2A": 16.0, "CRPIX1B": -10.0}
    assert made == {"XORGSUBF": 10, "YORGSUBF": 11, "LTV1": -10.0, "LTV2": -4.0, **others}  # the sky's own are written elsewhere


@pytest.mark.parametrize("fault", [OSError(errno.EIO, "broken"), ValueError("no picture"), MemoryError(), ZeroDivisionError()])
def test_a_light_is_not_lost_over_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    def broken(*_arguments: Any, **_options: Any) -> None:
        raise fault

    monkeypatch.setattr("reports.stretch.thumbnail_rows", broken)
    made = written(tmp_path, (20, 30))
    assert (tmp_path / made.path).is_file()
    assert caplog.record_tuples == [("tasks.images_out", logging.WARNING, caplog.messages[0])]
    assert type(fault).__name__ in caplog.messages[0]


def test_a_long_narrow_light_has_its_picture(tmp_path: Path) -> None:
    written(tmp_path, (3, 70_000))  # unshrunk it were wider than a JPEG may be
    assert len([path for path in (tmp_path / "pictures").rglob("*") if path.is_file()]) == 1


def test_below_the_reserve_no_picture_is_kept(tmp_path: Path) -> None:
    assert (tmp_path / written(tmp_path, (20, 30), reserve_bytes=10**18).path).is_file()
    assert not (tmp_path / "pictures").exists()


@pytest.mark.parametrize("solved", [[110, 100], [100, 100], [100], None])
def test_a_plate_solution_holds_for_no_frame_of_another_shape(monkeypatch: pytest.MonkeyPatch, solved: list[int] | None) -> None:
    """One of a frame that was cut otherwise would put every star elsewhere."""
    metrics = {"shape": solved, "from_pointing_deg": 0.1}
    row = SimpleNamespace(metrics=metrics, parameters={"radius_deg": 5.0})
    monkeypatch.setattr(UnitContext, "product", lambda _self, _print: row)
    context = UnitContext(database=cast(Any, None), products_root=Path())
    planned = cast(Any, SimpleNamespace(inputs=(Input("plate_solution", "0" * 64),)))
    found, remarks = _solution(context, planned, (110, 100))
    if solved == [110, 100]:
        assert (found, remarks) == (metrics, [])
        return
    size = {2: "100 x 100", 1: "100"}.get(len(solved or ()), "an unknown number of")
    assert (found, remarks) == (None, [f"its plate solution holds for {size} px, the light has 100 x 110: it is not used"])


def written(root: Path, shape: tuple[int, int], reserve_bytes: int = 0) -> Any:
    """The file of a light of ``shape``, written as the unit does."""
    science = np.random.default_rng(1).normal(100, 5, shape).astype(np.float32)
    reduced = ReducedLight(science, np.ones_like(science), np.zeros(shape, np.uint16), "electron", {})
    header = FrameHeader(kind="light", instrument="CAM", profile="", nx=shape[1], ny=shape[0])
    frame = FrameRow(1, 1, "one", "f" * 64, b"/raw/a.fits", 1, 1, header, "", "")
    parts: dict[str, Any] = {"recipe": "reduce_light", "version": 1, "scope_id": 1, "night": "2026-05-16", "instrument": "CAM", "key": "a"}
    planned = PlannedProduct(
        **parts, fingerprint="0" * 64, inputs=(), parameters={"dark": "none"}, facts={}, grade="A", grade_reasons=(), status="ready"
    )
    context = UnitContext(
        database=cast(Any, None), products_root=root, disk_reserve_bytes=reserve_bytes, durable=False, pictures=root / "pictures"
    )
    return _write(context, planned, frame, reduced, None, hdu({}, shape=shape), ("A", ())).files[0]
