"""What is fuzzed: readers that take any bytes and give an answer or an error of ours, and good bytes to begin with.

A reader of the service may say ``RejectedInput`` or ``TransientError``, one of a person's own files ``Refused``, too.
Anything else that it raises, and any hang, is a finding; it is mended and kept in ``cases/<target>.txt`` (a line of hex each).
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput, TransientError
from nightcrew.frames.profiles import Profile

CASES = Path(__file__).parent / "cases"
MOST_BYTES = 1 << 16
_DECODED = 1 << 22  # what a fuzzed file may expand to


@dataclass(frozen=True, slots=True)
class Target:
    """A reader under test; ``modules`` are what a coverage-guided fuzzer instruments."""

    name: str
    read: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    modules: tuple[str, ...]
    may_refuse: bool = False

    def check(self, data: bytes) -> str:
        """Read the bytes: ``"read"`` or ``"refused"``; raises whatever is no answer."""
        allowed = (RejectedInput, TransientError, Refused) if self.may_refuse else (RejectedInput, TransientError)
        try:
            self.read(data)
        except allowed as error:
            if len(str(error)) < 10:  # it is shown with its control characters escaped, wherever it is shown
                raise ValueError(f"no sentence for a person: {error!r}") from error
            return "refused"
        return "read"

    def cases(self) -> list[bytes]:
        """What was found earlier."""
        path = CASES / f"{self.name}.txt"
        return [bytes.fromhex(line) for line in path.read_text(encoding="ascii").splitlines() if line] if path.exists() else []


@cache
def _folder() -> Path:
    """A folder of this process, in memory where there is such a place."""
    shared = Path("/dev/shm")  # noqa: S108  ours is a folder of its own in it
    made = Path(tempfile.mkdtemp(prefix=f"nightcrew-fuzz-{os.getpid()}-", dir=shared if os.access(shared, os.W_OK) else None))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def _file(data: bytes, name: str) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


def _image_file(name: str) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        from nightcrew.io.images import ImageFile
        from nightcrew.io.structure import check

        path = _file(data, name)
        found = check(path, max_bytes=_DECODED)
        if not found.complete and not found.reason:
            raise ValueError("neither complete nor a reason")
        with ImageFile(path, max_bytes=_DECODED) as image:
            return image.read()

    return read


def _header(data: bytes) -> object:
    from nightcrew.frames.normalise import normalise
    from nightcrew.frames.profiles import choose_profile, load_profiles
    from nightcrew.frames.site import Site
    from nightcrew.io.headers import read_hdus

    _made[:] = _made or [load_profiles(None)]
    profiles = _made[0]
    hdus = read_hdus(_file(data, "light.fits"), max_bytes=_DECODED)
    profile = choose_profile(hdus, profiles, None)
    site = Site(longitude_deg=-70.4, latitude_deg=-24.6, elevation_m=2635.0, timezone="America/Santiago")
    return normalise(hdus, "light.fits", profile, site, None)


_made: list[dict[str, Profile]] = []  # the built-in profiles, read once


def _lab_log(data: bytes) -> object:
    from nightcrew.lab.logs import read_log

    return read_log(_file(data, "temperatureLog.csv"))


def _lab_config(data: bytes) -> object:
    from nightcrew.lab.config import read_config

    return read_config(_file(data, "configFile.txt"))


def _lab_raw(data: bytes) -> object:
    from nightcrew.lab.config import decode_text, parse_config
    from nightcrew.lab.raw import RawLayout, read_raw

    text, _, pixels = data.partition(b"\n\n")
    config = parse_config(decode_text(text, "configFile.txt")[0])
    if config.width * config.height > 1 << 20:
        return None
    return read_raw(_file(pixels, "frame.raw"), config, RawLayout(pad=len(data) % 2 == 0))


def _second(data: bytes) -> object:
    from nightcrew.mkid.packets import StreamParser
    from nightcrew.mkid.seconds import SecondReader

    parser = StreamParser((8, 8))
    with SecondReader(_file(data, "1507183126.bin"), _SECOND) as reader:
        for block in reader.blocks():
            parser.feed(block, _SECOND)
    return parser.finish()


def _photon_table(data: bytes) -> object:
    from nightcrew.io import hdf5
    from nightcrew.mkid.photon_table import PhotonTable

    with mock.patch.object(hdf5, "TIME_BOX_S", _HDF5_BOX_S), PhotonTable(_fresh(data, "table.h5")) as table:
        whole = (table.attributes, table.resid, table.flag, table.report, table.silences, table.live_s, table.inputs, table.counts())
        return whole, list(table.time_slabs(0, 10**6)), table.read()


def _solution(data: bytes) -> object:
    from nightcrew.io import hdf5
    from nightcrew.mkid.flat_solution import read_flat_solution
    from nightcrew.mkid.mask_solution import read_cosmic_rays, read_pixel_masks
    from nightcrew.mkid.solution_file import COSMIC, FLAT, MASKS, WAVELENGTH, kind_of
    from nightcrew.mkid.wavelength_solution import read_wavelength_solution

    path = _fresh(data, "solution.h5")
    readers = {WAVELENGTH: read_wavelength_solution, FLAT: read_flat_solution, MASKS: read_pixel_masks, COSMIC: read_cosmic_rays}
    with mock.patch.object(hdf5, "TIME_BOX_S", _HDF5_BOX_S):
        return readers[kind_of(path)](path)


def _fresh(data: bytes, name: str) -> Path:
    """A file with a time of its own: one that was looked at is not looked at again."""
    _times.append(len(_times) + 1)
    path = _file(data, name)
    os.utime(path, ns=(_times[-1], _times[-1]))
    return path


_times: list[int] = []
_HDF5_BOX_S = 8.0  # a fuzzer calls 10 s slow, and 20 s a hang


def _observing_log(data: bytes) -> object:
    from nightcrew.mkid.observing_log import parse_log

    return parse_log(data.decode("utf-8", "replace"), "log.csv")


def _beam_map(data: bytes) -> object:
    from nightcrew.mkid.beam_map import parse_beam_map

    return parse_beam_map(data, "beammap.txt")


def _flat_config(data: bytes) -> object:
    from nightcrew.mkid.flat_config import parse_flat_config

    return parse_flat_config(data.decode("utf-8", "replace"), "flat.cfg")


def _dose_log(data: bytes) -> object:
    from nightcrew.irradiation.dose_log import read_dose_log

    return read_dose_log(_file(data, "dose.csv"))


def _configuration(data: bytes) -> object:
    from nightcrew.settings import Settings

    return Settings.load(_file(data, "nightcrew.toml"))


def _profile_file(data: bytes) -> object:
    from nightcrew.frames.profiles import load_profiles

    folder = _folder() / "profiles"
    folder.mkdir(exist_ok=True)
    (folder / "mine.toml").write_bytes(data)
    return load_profiles(folder)


_SECOND = 1_507_183_126


def _images() -> list[bytes]:
    from tests.io.damage import sound_files

    return [data for name, data in sound_files().items() if not name.endswith((".gz", ".bz2", ".Z"))]


def _packed_images() -> list[bytes]:
    from tests.io.damage import sound_files

    return [data for name, data in sound_files().items() if name.endswith((".gz", ".bz2", ".Z"))]


def _headers() -> list[bytes]:
    from tests.io.fitsbytes import image

    pixels = np.zeros((2, 2), "u2").tobytes()
    cards = [
        "OBJECT  = 'M 42    '",
        "IMAGETYP= 'Light Frame'",
        "EXPTIME =                 60.0",
        "DATE-OBS= '2026-05-17T03:04:05.678'",
        "CCD-TEMP=                -20.0",
        "SET-TEMP=                -20.0",
        "FILTER  = 'V       '",
        "XBINNING=                    1",
        "GAIN    =                  1.5",
        "INSTRUME= 'SBIG STL-1001'",
        "BIASSEC = '[1:1,1:2]'",
        "TRIMSEC = '[2:2,1:2]'",
        "RA      = '05:35:17.3'",
        "DEC     = '-05:23:28'",
        "JD      =      2461177.6278435",
        "CTYPE1  = 'RA---TAN'",
        "CTYPE2  = 'DEC--TAN'",
        "CRVAL1  =                 83.8",
        "CRVAL2  =                 -5.4",
        "CD1_1   =                0.001",
        "CD2_2   =                0.001",
    ]
    return [image(16, (2, 2), pixels, cards), image(16, (2, 2), pixels, [*cards[:8], "HIERARCH NC X = 1"])]


def _tiffs() -> list[bytes]:
    import io

    from PIL import Image

    out = []
    for form in ("TIFF", "PNG"):
        held = io.BytesIO()
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(held, form)
        out.append(held.getvalue())
    return [*out, b"II*\0\x10\0\0\0CR\x02\0" + bytes(60), b"FUJIFILMCCD-RAW " + bytes(90), b"MM\0+\0\x08\0\0" + bytes(60)]


def _seconds() -> list[bytes]:
    from tests.mkid import streams

    with tempfile.TemporaryDirectory() as folder:
        made = streams.make(3, start_us=_SECOND * 1_000_000, n_photons=300)
        return [path.read_bytes()[:MOST_BYTES] for path in streams.write(Path(folder), made).values()]


def _tables() -> list[bytes]:
    from tests.mkid import made_tables

    with tempfile.TemporaryDirectory() as folder:
        return [made_tables.table(Path(folder) / "table.h5", made_tables.beam_map(), [1, 2, 3], [4, 5, 6]).read_bytes()]


def _solutions() -> list[bytes]:
    from nightcrew.mkid.mask_solution import REASONS
    from nightcrew.mkid.solution_file import MASKS, write_solution
    from tests.mkid import made_tables

    with tempfile.TemporaryDirectory() as folder:
        linear, masks = Path(folder) / "linear.h5", Path(folder) / "masks.h5"
        made_tables.linear_solution(made_tables.beam_map((2, 2))).write(linear)
        arrays: dict[str, NDArray[Any]] = {
            "resid": np.ones((2, 2), np.uint32),
            "bits": np.zeros((1, 2, 2), np.uint8),
            "edges_us": np.array([0, 9]),
        }
        about = {"resid": "[y, x]", "bits": "[step, y, x]", "edges_us": "[edge]"}
        write_solution(masks, MASKS, {name: (arrays[name], about[name]) for name in arrays}, {}, {"reasons": list(REASONS)})
        return [linear.read_bytes(), masks.read_bytes()]


def _texts(*texts: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in texts]


_LAB = "height = 4\nwidth = 4\nbitdepth = 16\nexposure = 1.5 ms\ngain: 2\n"
_LOG = "frame;time;temperature [C];exposure (ms)\n1;2024-01-01 10:00:00;-10,5;100\n2;2024-01-01 10:00:01;-10,4;100\n"
_OBS = (
    "name,type,start,stop,wavelength_nm,target\nsky-1,sky,1507183126,1507183130,,M 42\n"
    "laser-808,laser,2017-10-05T06:00:00,2017-10-05T06:01:00,808,\n"
)
_DOSE = "Frame,Time (s),Dose [krad],RadiationLevel (rad/s),Current (mA)\n1,0.0,0.0,12.5,3\n2,1.5,0.018,12.5,3\n"
_FLAT = (
    "run = 'a'\ndate = '20200101'\nflatCalTstamp = '1'\nflatObsTstamps = ['1', '2']\nwvlCalFile = '/w.h5'\nflatPath = '/data'\n"
    "calSolnPath = '/data'\nintTime = 5\ndeadtime = 1e-6\nwvlStart = 800\n"
)
_TOML = '[site]\nlongitude_deg = -70.4\ntimezone = "UTC"\n[[folders]]\npath = "raw"\nkind = "night"\n[limits]\nthreads = 2\n'
_PROFILE = (
    'extends = "generic"\n[[match]]\nINSTRUME = "X*"\n[keywords]\nexposure = [{ keyword = "EXPTIME", unit = "s" }]\n'
    '[[filename.kind]]\npattern = "^b"\nkind = "bias"\n[clock]\nzone = "+02:00"\n'
)

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("fits", _image_file("any.fits"), _images, ("nightcrew.io",)),
        Target("packed", _image_file("any.fits.gz"), _packed_images, ("nightcrew.io",)),
        Target("header", _header, _headers, ("nightcrew.io", "nightcrew.frames")),
        Target("camera_raw", _image_file("any.cr2"), _tiffs, ("nightcrew.io",)),
        Target("lab_raw", _lab_raw, lambda: [_LAB.encode() + b"\n" + bytes(32)], ("nightcrew.lab",)),
        Target("lab_log", _lab_log, _texts(_LOG, _LOG.replace(",", ".").replace(";", ",")), ("nightcrew.lab",)),
        Target("lab_config", _lab_config, _texts(_LAB, "Height: 4\nWidth: 4\nBitdepth: 8\n"), ("nightcrew.lab",)),
        Target("bin", _second, _seconds, ("nightcrew.mkid",)),
        Target("photon_table", _photon_table, _tables, ("nightcrew.mkid", "nightcrew.io.hdf5")),
        Target("solution", _solution, _solutions, ("nightcrew.mkid", "nightcrew.io.hdf5")),
        Target("observing_log", _observing_log, _texts(_OBS), ("nightcrew.mkid",)),
        Target("beam_map", _beam_map, _texts("10000 0 0 0\n10001 0 0 1\n10002 1 1 0\n10003 0 1 1\n"), ("nightcrew.mkid",), may_refuse=True),
        Target("flat_config", _flat_config, _texts(_FLAT), ("nightcrew.mkid",), may_refuse=True),
        Target("dose_log", _dose_log, _texts(_DOSE, _DOSE.replace(",", "\t")), ("nightcrew.irradiation",)),
        Target("configuration", _configuration, _texts(_TOML), ("nightcrew.settings_file", "nightcrew.settings"), may_refuse=True),
        Target("profile", _profile_file, _texts(_PROFILE), ("nightcrew.frames",), may_refuse=True),
    )
}
