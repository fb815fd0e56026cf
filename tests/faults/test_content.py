"""Files whose content is absurd: each is an answer with its cause, whatever memory or time it asks for."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flows.pages import write_page
from nightcrew.errors import RejectedInput, TransientError
from nightcrew.io.headers import read_hdus
from nightcrew.io.images import ImageFile
from nightcrew.io.products import read_image_product
from nightcrew.io.structure import check, sha256_file
from nightcrew.ledger import arrivals
from nightcrew.mkid.photon_table import PhotonTable
from nightcrew.mkid.solution_file import KINDS, SolutionFile, write_solution
from nightcrew.settings import FolderSettings
from nightcrew.simulate import camera_file
from nightcrew.simulate.truth import PlantedTrouble
from tasks.executor import Wish
from tasks.lights import check_exposed
from tests.fuzz.targets import TARGETS
from tests.mkid import made_tables
from tests.support.small_nights import Bench, make_raw, small_plan


def frame() -> NDArray[np.uint16]:
    """A frame of noise."""
    return np.random.default_rng(1).normal(1000.0, 5.0, (64, 64)).astype(np.uint16)


def test_an_exposure_is_one() -> None:
    check_exposed(frame(), None)
    check_exposed(frame().astype(np.float32), 65535.0)
    half = frame()
    half[:31] = 65535
    check_exposed(half, None)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.full((300, 200), np.nan, np.float32), "no pixel is finite"),
        (np.full((300, 200), np.inf, np.float32), "no pixel is finite"),
        (np.zeros((300, 200), np.uint16), "every pixel is 0"),
        (np.full((300, 200), 517.5, np.float32), "every pixel is 517.5"),
        (np.full((300, 200), 65535, np.uint16), "100% of its pixels are saturated"),
    ],
)
def test_what_is_no_exposure_is_no_light(pixels: NDArray[Any], words: str) -> None:
    with pytest.raises(RejectedInput, match=words):
        check_exposed(pixels, None)


def test_a_mostly_saturated_light_is_none() -> None:
    most = frame()
    most[:40] = 60_000
    check_exposed(most, None)
    with pytest.raises(RejectedInput, match=r"62% of its pixels are saturated"):
        check_exposed(most, 60_000.0)


def test_one_odd_pixel_is_an_exposure_too() -> None:
    """The glance may miss it; the look does not."""
    dark = np.zeros((1000, 1000), np.uint16)
    dark[123, 457] = 1
    check_exposed(dark, None)


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_exchanged_bytes_are_rejected_at_the_door(tmp_path: Path, packed: str) -> None:
    """A light and a bias whose words were written the wrong way round; their neighbour in the same folder goes on."""
    make_raw(tmp_path / "made")
    night = Bench(tmp_path / "made" / "raw", tmp_path / "root")
    for name in ("bias-001.fit", "crew-1-B-001.fit"):
        path = tmp_path / "made" / "raw" / name
        content, hdu = path.read_bytes(), read_hdus(path)[0]
        end = hdu.data_offset + hdu.data_size
        words = np.frombuffer(content[hdu.data_offset : end], np.uint16).byteswap().tobytes()
        spoiled = content[: hdu.data_offset] + words + content[end:]
        path.unlink()
        path.with_name(path.name + packed).write_bytes(gzip.compress(spoiled, mtime=0) if packed else spoiled)
    night.see()
    night.ingest()
    with night.space.database.read() as connection:
        rows = [row for scope in night.scopes() for row in arrivals.of_scope(connection, scope.id)]
    rejected = {os.fsdecode(row.path).rpartition("/")[2].removesuffix(".gz"): row.reason for row in rows if row.state == "rejected"}
    assert set(rejected) == {"bias-001.fit", "crew-1-B-001.fit"}
    assert all("the two bytes of its 16-bit pixels are exchanged" in reason for reason in rejected.values())
    assert len(rows) == 19


def test_pixels_that_were_never_written_are_rejected_until_the_file_is_whole(tmp_path: Path) -> None:
    """A frame of each kind in a file of full size whose last part is zeros, as a copy leaves it that allocates first and breaks off."""
    make_raw(tmp_path / "made")
    night = Bench(tmp_path / "made" / "raw", tmp_path / "root")
    names = ["bias-001.fit", "dark-30s-002.fit", "flat-B-003.fit", "crew-1-B-001.fit"]
    whole = {name: (night.folder / name).read_bytes() for name in names}
    for name, content in whole.items():
        hdu = read_hdus(night.folder / name)[0]
        keep = hdu.data_offset + int(0.8 * hdu.data_size)
        (night.folder / name).write_bytes(content[:keep] + bytes(len(content) - keep))
    night.see()
    night.ingest()
    rejected = {os.fsdecode(row.path).rpartition("/")[2]: row.reason for row in night.files() if row.state == "rejected"}
    assert set(rejected) == set(names)
    assert all("were never written" in reason for reason in rejected.values())
    for name, content in whole.items():
        (night.folder / name).write_bytes(content)
    night.see()
    night.ingest()
    assert {row.state for row in night.files()} == {"waiting"}


def test_a_frame_of_a_set_that_was_never_written_to_its_end_is_rejected(tmp_path: Path) -> None:
    """The same in a laboratory's folder."""
    make_raw(tmp_path / "made")
    path = next((tmp_path / "made" / "raw").glob("bias-001*"))
    (tmp_path / "lab" / "chip7").mkdir(parents=True)
    content, hdu = path.read_bytes(), read_hdus(path)[0]
    keep = hdu.data_offset + hdu.data_size // 2
    for name, held in (("whole.fit", content), ("hole.fit", content[:keep] + bytes(len(content) - keep))):
        (tmp_path / "lab" / "chip7" / name).write_bytes(held)
    bench = Bench(tmp_path / "lab", tmp_path / "root", folders=(FolderSettings(path=tmp_path / "lab", kind="lab"),))
    bench.see()
    bench.ingest()
    assert bench.state_of("whole.fit")[0] == "waiting"
    state, reason = bench.state_of("hole.fit")
    assert state == "rejected"
    assert "were never written" in reason


def test_hashing_never_waits_for_a_pipe(tmp_path: Path) -> None:
    """A pipe in a file's place."""
    os.mkfifo(tmp_path / "light.fit")
    told: list[str] = []

    def look() -> None:
        with pytest.raises(TransientError) as error:
            sha256_file(tmp_path / "light.fit")
        told.append(str(error.value))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(5)
    assert told == ["light.fit: is not a regular file"]


def bomb(path: Path, change: Callable[[Any], None]) -> Path:
    """The file after a change of its HDF5."""
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def grown(name: str) -> Callable[[Any], None]:
    """A dataset replaced by one of a terabyte of nothing, which takes no room on disk."""

    def change(file: Any) -> None:
        form = file[name].dtype
        del file[name]
        file.create_dataset(name, (1 << 20, 1 << 18), form, chunks=(1 << 10, 1 << 10), compression="gzip")

    return change


def attribute(name: str, value: object) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        file.attrs[name] = value

    return change


def without(name: str) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file.attrs[name]

    return change


def regrouped(name: str) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]
        file.create_group(name)

    return change


HDF5 = [
    (grown("index/slab_us"), "claims"),
    (grown("beammap/map"), "claims"),
    (attribute("format_version", "one"), "damaged"),
    (attribute("format_version", [1, 2]), "damaged"),
    (attribute("photons", "many"), "damaged"),
    (without("start_unix_us"), "damaged"),
    (regrouped("beammap/map"), "damaged"),
]


@pytest.mark.parametrize(("change", "words"), HDF5)
def test_a_photon_table_that_claims_anything_is_rejected(tmp_path: Path, change: Callable[[Any], None], words: str) -> None:
    """HDF5 that claims a terabyte, or holds other things than it says."""
    path = bomb(made_tables.table(tmp_path / "table.h5", made_tables.beam_map(), [1, 2], [3, 4]), change)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(RejectedInput, match=words):
        PhotonTable(path)


def test_a_calibration_that_claims_a_terabyte_is_rejected(tmp_path: Path) -> None:
    """A calibration whose dataset claims a terabyte."""
    path = tmp_path / "cal.h5"
    write_solution(path, KINDS[0], {"resid": (np.zeros((2, 2), np.uint32), "[y, x] resonator")}, {})
    bomb(path, grown("resid"))
    with SolutionFile(path) as file, pytest.raises(RejectedInput, match="claims 1099511627776 bytes"):
        file.array("resid")
    with pytest.raises(RejectedInput, match="has format"):
        SolutionFile(bomb(path, attribute("format_version", [1, 2])))


OTHERS: dict[str, Callable[[Any, str], None]] = {
    "float": lambda file, name: _replace(file, name, np.full(file[name].shape, 0.5)),
    "text": lambda file, name: _replace(file, name, "words"),
    "other_axes": lambda file, name: _replace(file, name, np.zeros((2, 1, 3), np.int64)),
    "empty": lambda file, name: _replace(file, name, np.zeros((0,) * len(file[name].shape), np.int64)),
    "negative": lambda file, name: _replace(file, name, np.full(file[name].shape, -7, np.int64)),
    "terabyte": lambda file, name: grown(name)(file),
    "group": lambda file, name: regrouped(name)(file),
    "gone": lambda file, name: file.__delitem__(name),
}


def _replace(file: Any, name: str, value: object) -> None:
    about = dict(file[name].attrs)
    del file[name]
    file[name] = value
    file[name].attrs.update(about)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("target", ["photon_table", "solution"])
def test_hdf5_with_a_dataset_of_another_kind_is_an_answer(target: str, other: str, tmp_path: Path) -> None:
    """Each dataset in turn of another type, shape, sign or size, or gone: what is read is refused with its reason, or is whole."""
    for seed in TARGETS[target].seeds():
        (tmp_path / "seed.h5").write_bytes(seed)
        names: list[str] = []
        with h5py.File(tmp_path / "seed.h5") as file:
            file.visititems(lambda name, one: names.append(name) if isinstance(one, h5py.Dataset) else None)  # noqa: B023  called at once
        assert len(names) >= 4
        for name in names:
            path = tmp_path / "damaged.h5"
            path.write_bytes(seed)
            bomb(path, lambda file: OTHERS[other](file, name))  # noqa: B023  called at once
            assert TARGETS[target].check(path.read_bytes()) in ("read", "refused")


@pytest.mark.parametrize("target", ["photon_table", "solution"])
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_hdf5_with_flipped_bytes_or_cut_is_an_answer(target: str, data: st.DataObject) -> None:
    """Bytes of photon tables and calibrations that rotted, and files that were cut."""
    seed = data.draw(st.sampled_from(TARGETS[target].seeds()))
    spoiled = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 8))):
        spoiled[data.draw(st.integers(0, len(seed) - 1))] = data.draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
    if data.draw(st.integers(0, 9)) == 0:
        spoiled = spoiled[: data.draw(st.integers(0, len(seed)))]
    assert TARGETS[target].check(bytes(spoiled)) in ("read", "refused")


def test_a_tile_compressed_bomb_costs_nothing(tmp_path: Path) -> None:
    """An .fz of a kilobyte that claims 30,000 x 30,000 pixels."""
    held = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(frame(), compression_type="RICE_1")]).writeto(held)
    data = held.getvalue()
    for axis in (b"ZNAXIS1", b"ZNAXIS2"):
        place = data.index(axis.ljust(8) + b"=")
        data = data[:place] + (axis.ljust(8) + b"=                30000").ljust(80) + data[place + 80 :]
    path = tmp_path / "bomb.fits.fz"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(RejectedInput), ImageFile(path, max_bytes=1 << 28) as image:
            image.read()
        assert tracemalloc.get_traced_memory()[1] < 1 << 26
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_packed_bomb_is_told_by_what_its_header_explains(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """A sound frame with 16 MB of zeros behind it, packed to some kilobytes."""
    held = io.BytesIO()
    fits.PrimaryHDU(frame()).writeto(held)
    path = tmp_path / "bomb.fits.gz"
    path.write_bytes(pack(held.getvalue() + bytes(1 << 25)))
    tracemalloc.start()
    try:
        found = check(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()
    assert not found.complete
    assert "its own header explains" in found.reason


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, PlantedTrouble]:
    """A night with a bias that holds stars, and nothing but zeros in every flat of a filter."""
    root = tmp_path_factory.mktemp("spoilt")
    truth = make_raw(root / "made", small_plan(pixels=64, troubles=("bias_with_star",)))
    for flat in truth.select("flat", filter_name="B"):
        path = root / "made" / "raw" / flat.name
        content = path.read_bytes()
        path.write_bytes(camera_file.replace_pixels(content, np.zeros_like(camera_file.pixels(content))))
    night = Bench(root / "made" / "raw", root / "root")
    night.night()
    return night, truth.troubles[0]


def test_a_bias_with_a_star_leaves_no_trace_in_the_master(spoilt: tuple[Bench, PlantedTrouble]) -> None:
    """A bias through which the shutter leaked three stars, among three good ones: the master is that of the good ones."""
    night, star = spoilt
    (row,) = [row for row in night.products() if row.recipe == "bias_master"]
    master = read_image_product(night.space.context.file(row, "image"))
    frames = {path.name: camera_file.pixels(path.read_bytes()).astype(np.float64) for path in night.folder.glob("bias-*.fit")}
    good = np.array([pixels for name, pixels in frames.items() if name != star.path])
    lit = frames[star.path] - good.mean(axis=0) > 1000.0
    assert lit.sum() > 100
    assert master.uncertainty is not None
    pull = (master.science - good.mean(axis=0)) / master.uncertainty
    # Both are means of the same good frames, but where the star is too faint to stand out.
    assert np.abs(pull[lit]).max() < 5.0
    assert abs(float(pull[lit].mean())) < 1.0
    (file,) = [file for file in night.files() if os.fsdecode(file.path).endswith(f"/{star.path}")]
    assert file.state == "set_aside"
    assert "light fell on it" in file.reason
    page = write_page(night.space, "2026-05-16").path.read_text(encoding="utf-8")
    assert star.path in page
    assert "light fell on it" in page


def test_flats_of_zeros_as_the_only_flats_divide_nothing_and_are_told(spoilt: tuple[Bench, PlantedTrouble]) -> None:
    """Zeros in every flat of a filter: its lights are reduced without one, graded D with the reason, and the page names the flats."""
    night, _ = spoilt
    rows = {os.fsdecode(row.path).rpartition("/")[2]: row for row in night.files()}
    flats = [name for name in rows if name.startswith("flat-B")]
    assert len(flats) == 3
    assert {rows[name].state for name in flats} <= {"rejected", "set_aside"}
    assert all("zero" in rows[name].reason or "faint" in rows[name].reason for name in flats), [rows[name].reason for name in flats]
    assert {row.facts["filter"] for row in night.products() if row.recipe == "flat_master"} == {"V"}
    lights = [row for name, row in rows.items() if name.startswith("crew-1-B")]
    assert len(lights) == 2
    assert {row.state for row in lights} == {"degraded"}
    assert all("no flat in B" in row.reason for row in lights)
    for row in night.products():
        if row.recipe == "reduce_light" and row.facts["filter"] == "B":
            science = read_image_product(night.space.context.file(row, "image")).science
            assert row.grade == "D"
            assert np.isfinite(science).all()
    page = write_page(night.space, "2026-05-16").path.read_text(encoding="utf-8")
    assert all(name in page for name in flats)


@pytest.mark.parametrize(
    ("kind", "value", "words"), [("dark-30s", 0, "0: it was not read out"), ("bias", 65535, "100% of its pixels are saturated")]
)
def test_calibrations_that_hold_no_read_out_agree_with_each_other_and_are_not_used(
    tmp_path: Path, kind: str, value: int, words: str
) -> None:
    """All frames of a kind: none is far from its siblings, and a master of them would leave the bias in the lights, graded A."""
    make_raw(tmp_path, small_plan())
    raw = tmp_path / "raw"
    for path in raw.glob(f"{kind}-*"):
        content = path.read_bytes()
        path.write_bytes(camera_file.replace_pixels(content, np.full_like(camera_file.pixels(content), value)))
    bench = Bench(raw, tmp_path / "out")
    bench.see(path for path in sorted(raw.iterdir()) if not path.name.startswith(("flat-V", "crew-1-V")))
    bench.ingest()
    bench.close()
    bench.run(Wish(only=("bias_master", "dark_master", "thermal_master", "bad_pixel_mask", "flat_master", "reduce_light")))
    states = [bench.state_of(path.name) for path in raw.glob(f"{kind}-*")]
    assert {state for state, _ in states} == {"rejected"}
    assert all(words in reason for _, reason in states)
    lights = [row for row in bench.products() if row.recipe == "reduce_light"]
    assert len(lights) == 2
    for row in lights:  # with what is left: the dark of 4 s scaled, or the dark that holds its bias
        assert row.grade == {"dark-30s": "C", "bias": "A"}[kind]
        science = read_image_product(bench.space.context.file(row, "image")).science
        assert 20 < float(np.nanmedian(science)) < 100  # and never with 1000 ADU of bias in it
