"""Real headers: what is known about each set of frames comes out."""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from pathlib import Path
from statistics import median

import pytest

from nightcrew.errors import RejectedInput
from nightcrew.frames.identity import exposure_identity
from nightcrew.frames.model import FrameHeader
from nightcrew.frames.normalise import normalise
from nightcrew.frames.profiles import choose_profile
from nightcrew.frames.site import Site
from nightcrew.frames.wcs import sky_of
from nightcrew.io.headers import Hdu, read_hdus
from tests import realdata
from tests.frames.made import MOORHEAD, SUTHERLAND, WHIPPLE, noted, profiles

_HEADER_BYTES = 60_000  # the longest header of the night has 13 blocks


def header_of(path: Path, site: Site, wanted: str | None = None) -> FrameHeader:
    hdus = read_hdus(path)
    return normalise(hdus, str(path), choose_profile(hdus, profiles(), wanted), site, None)


@pytest.fixture(scope="module")
def sa112(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Hdu, ...]]:
    """Headers of the whole night by file name; the archive is unpacked only as far as the headers reach."""
    folder = tmp_path_factory.mktemp("sa112")
    found = {}
    with tarfile.open(realdata.folder("night_sa112") / "mini_versions.tbz2", "r|bz2") as archive:
        for member in archive:
            name = Path(member.name).name
            stream = archive.extractfile(member) if member.isfile() and name.endswith(".fit") and not name.startswith("._") else None
            if stream is not None:
                (folder / name).write_bytes(stream.read(_HEADER_BYTES))
                found[name] = read_hdus(folder / name)
    return found


@pytest.fixture(scope="module")
def night(sa112: dict[str, tuple[Hdu, ...]]) -> dict[str, FrameHeader]:
    chosen = {name: choose_profile(hdus, profiles(), None) for name, hdus in sa112.items()}
    return {name: normalise(hdus, name, chosen[name], MOORHEAD, None) for name, hdus in sa112.items()}


def test_sa112_kinds_filters_and_exposures(night: dict[str, FrameHeader]) -> None:
    assert Counter(h.kind for h in night.values()) == {"bias": 10, "dark": 50, "flat": 50, "light": 40}
    assert Counter(h.exposure_s for h in night.values() if h.kind == "dark") == {5.0: 10, 15.0: 10, 30.0: 10, 60.0: 10, 120.0: 10}
    assert Counter(h.filter for h in night.values() if h.kind == "flat") == {"B": 20, "V": 10, "R": 10, "I": 10}
    assert Counter(h.filter for h in night.values() if h.kind == "light") == dict.fromkeys("BVRI", 10)
    assert {h.filter for h in night.values() if h.kind in ("bias", "dark")} == {""}


def test_sa112_is_one_night_of_one_camera(night: dict[str, FrameHeader]) -> None:
    assert {(h.night, h.profile, h.camera, h.target) for h in night.values()} == {("2013-07-03", "maxim_apogee", "Apogee USB/Net", "")}
    assert len({exposure_identity(h) for h in night.values()}) == 150
    assert {(h.nx, h.ny, h.trim, h.overscan, h.saturation_adu) for h in night.values()} == {
        (1542, 1024, (0, 1536, 0, 1024), (1537, 1541, 0, 1024), 255.0)
    }


def test_sa112_temperatures_are_the_sensor_s(night: dict[str, FrameHeader]) -> None:
    temperatures = [h.temperature_c for h in night.values() if h.temperature_c is not None]
    assert len(temperatures) == 150
    assert -22.5 < min(temperatures) < max(temperatures) < -18.4
    assert all(h.set_temperature_c == pytest.approx(-27.2, abs=1e-4) for h in night.values())


def test_sa112_world_coordinates_in_spite_of_the_mangled_ones(sa112: dict[str, tuple[Hdu, ...]], night: dict[str, FrameHeader]) -> None:
    names = sorted(name for name, header in night.items() if header.kind == "light")
    lights = [sky_of(sa112[name][0]) for name in names[:12]]
    assert all(found.valid and found.projection == "TAN-SIP" for found in lights)
    assert median(found.ra_deg or 0 for found in lights) == pytest.approx(310.611, abs=0.002)
    assert median(found.dec_deg or 0 for found in lights) == pytest.approx(0.139, abs=0.005)
    assert median(found.scale_arcsec_per_px or 0 for found in lights) == pytest.approx(1.117, rel=2e-3)
    assert not any(key.startswith("_") for key, _, _ in lights[0].cards)
    assert not sky_of(sa112["darks-001D15.fit"][0]).valid


def test_stl1001() -> None:
    folder = realdata.folder("ccd_stl1001")
    headers = {path.name: header_of(path, MOORHEAD) for path in sorted(folder.glob("*.gz"))}
    assert Counter(h.kind for h in headers.values()) == {"bias": 6, "dark": 14, "flat": 3}
    for name, header in headers.items():
        assert (header.profile, header.instrument, header.gain_e_per_adu) == ("sbig_stl1001", "STL-1001", 2.0)
        assert header.temperature_c == pytest.approx(-10.0 if "Neg10" in name else -5.0, abs=0.25)
        written = re.search(r"expos(\d+)", name)
        exposure = 0.0 if written is None else float(written[1])
        assert header.exposure_s == (60.0 if exposure == 1.0 else exposure)
        assert noted(header, "the file name suggests 1 s, the header says 60 s") == (exposure == 1.0)
        assert header.filter == ("Visible" if header.kind == "flat" else "")
        assert noted(header, "IMAGETYP 'Light Frame' in the header, flat by the file name") == (header.kind == "flat")


def test_hatp32_times_to_the_second() -> None:
    folder = realdata.folder("night_hatp32")
    paths = sorted(folder.glob("*.gz"))
    headers = [header_of(path, WHIPPLE) for path in paths]
    assert len(headers) == 24
    for path, header in zip(paths, headers, strict=True):
        stamp = path.name.split("-32")[1][:12]  # yymmddHHMMSS of the start, UT
        digits = re.sub(r"\D", "", header.time_utc)
        assert digits[2:14] == stamp
    assert {(h.kind, h.night, h.profile, h.exposure_s, h.saturation_adu) for h in headers} == {
        ("light", "2017-12-19", "microobservatory", 60.0, 4095.0)
    }
    assert median(h.temperature_c or 0 for h in headers) == pytest.approx(-2.0, abs=1.2)
    assert headers[0].time_utc == "2017-12-20T01:33:43.317"
    assert headers[0].temperature_c == -2.15
    assert {h.target for h in headers} == {"HATP-32"}


def test_hatp32_without_its_profile_still_has_the_right_times() -> None:
    path = realdata.folder("night_hatp32") / "HATP-32171220013343.FITS.gz"
    header = header_of(path, WHIPPLE, "generic")
    assert (header.time_utc, header.temperature_c, header.kind) == ("2017-12-20T01:33:43.317", -2.15, "other")


def test_asi178() -> None:
    folder = realdata.folder("cmos_asi178")
    bias = header_of(folder / "Bias_ASIImg_frame0001.fit.gz", MOORHEAD)
    dark = header_of(folder / "Dark_ASIImg_1sec_frame0004.fit.gz", MOORHEAD)
    cut = header_of(folder / "Dark_ASIImg_1sec_frame0001.fit", MOORHEAD)  # that its data are short is found elsewhere
    assert [(h.kind, h.exposure_s) for h in (bias, dark, cut)] == [("bias", 3.2e-5), ("dark", 1.0), ("dark", 1.0)]
    assert (bias.gain_setting, bias.offset_setting, bias.gain_e_per_adu, bias.bayer) == ("0", "340", None, "RGGB")
    assert noted(bias, "decimal comma")


def test_saao() -> None:
    header = header_of(realdata.folder("sky") / "a8280271.fits", SUTHERLAND)
    assert (header.kind, header.time_utc, header.night) == ("light", "2013-07-13T00:57:33.000", "2013-07-12")
    assert (header.gain_e_per_adu, header.read_noise_e, header.temperature_c) == (1.9, 5.0, -92.95)
    assert (header.trim, header.overscan) == ((16, 528, 0, 520), (3, 13, 0, 520))


def test_panoptes() -> None:
    folder = realdata.folder("sky") / "panoptes"
    solved = read_hdus(folder / "panoptes_solved.fits.fz")
    header = normalise(solved, "panoptes_solved.fits.fz", choose_profile(solved, profiles(), None), MOORHEAD, None)
    assert (header.profile, header.kind, header.hdu, header.nx) == ("panoptes", "light", 1, 700)
    assert (header.target, header.temperature_c, header.gain_setting, header.bayer) == ("KIC 8462852", 13.0, "100", "RGGB")
    found = sky_of(solved[1])
    assert found.ra_deg == pytest.approx(303.206, abs=0.001)
    assert found.dec_deg == pytest.approx(46.0176, abs=0.001)
    assert found.scale_arcsec_per_px == pytest.approx(10.294, rel=5e-3)
    assert "no frame type" in header_of(folder / "panoptes_noheader.fits", MOORHEAD).other_reason


def test_tables_beside_the_frames_are_rejected() -> None:
    with pytest.raises(RejectedInput, match="tables, no image"):
        header_of(realdata.folder("sky") / "stellarphot" / "comp_stars.fits", MOORHEAD)


def test_hard_to_read_ends_as_a_frame_or_a_rejection() -> None:
    folder = realdata.folder("hard_to_read")
    endings: dict[str, str] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        try:
            header = header_of(path, MOORHEAD)
        except RejectedInput as error:
            endings[name] = str(error)
        else:
            endings[name] = header.other_reason or header.kind
            assert header.kind != "other" or header.other_reason
    assert all(endings.values())
    assert "tables, no image" in endings["astropy/btable.fits"]
    assert "cube" in endings["astropy/arange.fits"]
    assert "4 images" in endings["astropy/test1.fits"]
    assert "spectrum" in endings["midas/tst0007.mt"]
    assert endings["msumastro/maximdl_5_23_header.fit"] == "light"
    assert endings["msumastro/flattest.fit"] == "bias"
    assert endings["neoexchange/swope_test_frame.fits"] == "light"
