"""photonica's class, mended: frames in, the tables ``data_set`` and ``data_summary`` out.

>>> from nightcrew.sensor.sensor_data import SensorData
>>> sensor = SensorData(cropsize=(100, 100), offset_correction=0, pedestal=10000)
>>> sensor.addFiles(["bias-1.fits", "bias-2.fits", "dark-1.fits", "dark-2.fits"])    # doctest: +SKIP
>>> sensor.calcStats()                                                               # doctest: +SKIP
>>> sensor.data_summary                                                              # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nightcrew.errors import Refused, RejectedInput, TransientError
from nightcrew.frames.profiles import Profile, load_profiles
from nightcrew.sensor.frames import SensorFrame, in_order, read_frame
from nightcrew.sensor.groups import TEMPERATURE_TOLERANCE_C, Group, SetUp, group_frames
from nightcrew.sensor.photon_transfer import (
    DATA_SET_COLUMNS,
    ELECTRONS,
    SUMMARY_COLUMNS,
    SUMMARY_MORE,
    BiasLevel,
    bias_level,
    group_noise,
)
from nightcrew.sensor.regions import CROP, crop_of

if TYPE_CHECKING:
    import pandas as pd

    from nightcrew.sensor.frames import Window

PEDESTAL = 10_000


class SensorData:
    """Photon-transfer tables of a crop about the middle of each frame.

    ``cropsize`` is (columns, rows), x first, or a box; ``offset_correction`` in DN is taken from the signal besides the bias;
    ``pedestal`` is accepted for old scripts and changes nothing, since differences are made in float64.  ``temperature_tolerance_c``
    bins temperatures.  ``gain_e_per_adu`` is one for all, or that of each set-up; the noises then stand in electrons, too, where it is
    known.  The frames' kinds come from their headers through the instrument profiles.
    """

    def __init__(
        self,
        cropsize: tuple[int, int] | Window = CROP,
        offset_correction: float = 0.0,
        pedestal: int = PEDESTAL,
        *,
        temperature_tolerance_c: float = TEMPERATURE_TOLERANCE_C,
        gain_e_per_adu: float | Mapping[SetUp, float] | None = None,
        profiles: dict[str, Profile] | None = None,
    ) -> None:
        self.cropsize, self.offset_correction, self.pedestal = cropsize, float(offset_correction), pedestal
        self.temperature_tolerance_c, self.gain_e_per_adu = temperature_tolerance_c, gain_e_per_adu
        self._profiles = profiles
        self._frames: list[SensorFrame] = []
        self._crops: dict[int, np.ndarray[Any, Any]] = {}
        self._of_frame: dict[int, BiasLevel] = {}
        self._summary: list[dict[str, Any]] = []
        self.left_out: list[tuple[str, str]] = []

    def addFile(self, file: str | os.PathLike[str]) -> None:  # noqa: N802  photonica's name
        """Add one FITS file; :class:`RejectedInput` with the cause when it holds no usable frame."""
        if self._profiles is None:
            self._profiles = load_profiles(None)
        self.add(read_frame(Path(file), self._profiles, hashed=False))

    def addFiles(self, files: Iterable[str | os.PathLike[str]] | str | os.PathLike[str]) -> None:  # noqa: N802  photonica's name
        """Add every file, or every FITS file of a folder.

        One that holds no usable frame, or none of the crop's size, is named in ``left_out`` with the reason, and the rest goes on.
        """
        if isinstance(files, str | os.PathLike):
            folder = Path(files)
            if not folder.is_dir():
                raise Refused(f"{folder} is no folder: give a folder, or a list of files")
            files = sorted(path for path in folder.iterdir() if path.is_file() and ".fit" in path.name.lower())
        for file in files:
            try:
                self.addFile(file)
            except (RejectedInput, TransientError, Refused) as error:
                self.left_out.append((Path(file).name, str(error)))

    def add(self, frame: SensorFrame) -> None:
        """Add a frame that is open already or in memory.

        :class:`Refused` when the crop lies outside it, :class:`RejectedInput` when its pixels cannot be read or none is finite.
        """
        window = crop_of(frame.light_window, self.cropsize)
        with frame.opened() as rows:
            crop = np.ascontiguousarray(window.whole(rows))
        if not np.isfinite(crop).any():
            raise RejectedInput("the crop holds no finite pixel")
        self._crops[id(frame)] = crop
        self._frames.append(frame)

    def calcStats(self) -> None:  # noqa: N802  photonica's name
        """Compute ``data_summary`` and the bias columns of ``data_set``."""
        grouping = group_frames(self._frames, tolerance_c=self.temperature_tolerance_c, lights="keep")
        biases: dict[tuple[SetUp, float | None], BiasLevel] = {}
        for group in grouping.groups:
            if group.kind == "bias":
                biases[group.set_up, group.temperature_c] = bias_level(self._of(group))
        self._of_frame.clear()
        self._summary = []
        for group in grouping.groups:
            bias = biases.get((group.set_up, group.temperature_c))
            if bias is not None:
                self._of_frame.update((id(frame), bias) for frame in group.frames)
            if group.kind != "bias":
                self._summary.append(self._row(group, bias))

    def _of(self, group: Group) -> Sequence[np.ndarray[Any, Any]]:
        return [self._crops[id(frame)] for frame in group.frames]

    def _row(self, group: Group, bias: BiasLevel | None) -> dict[str, Any]:
        noise = group_noise(self._of(group), bias, self.offset_correction)
        row: dict[str, Any] = {
            "ccd_temp": group.temperature_c,
            "exptime": group.exposure_s,
            "img_type": group.kind,
            "avg_signal": noise.signal,
            "avg_signal-offset": noise.signal_minus_offset,
            "avg_std_dev": noise.total_noise,
            "delta_std_dev": noise.difference_std,
            "total_noise": noise.total_noise,
            "shot+read": noise.shot_and_read,
            "read(DN)": noise.read,
            "FPN": noise.fixed_pattern,
            "sig_shot": noise.signal_shot,
            "offset_correction": self.offset_correction,
            "filter": group.filter,
            "frames": len(group.frames),
            "pairs": noise.pairs,
            "temporal_read(DN)": None if bias is None else bias.temporal_read,
            "verdict": noise.reason or group.verdict,
            "set_up": group.set_up.label,
        }
        if self.gain_e_per_adu is not None:
            known = self.gain_e_per_adu
            gain = known.get(group.set_up) if isinstance(known, Mapping) else known
            unknown = gain is None
            row |= {electrons(n): None if unknown or row[n] is None else gain * row[n] for n in ("avg_signal-offset", *ELECTRONS)}
            if unknown:
                reasons = filter(None, (noise.reason or group.reason, "no gain of this set-up"))
                row["verdict"] = "; ".join(reasons)
        return row

    @property
    def data_set(self) -> pd.DataFrame:
        """One row a frame, in order of time and name; ``data`` holds the crop's pixels, geometries are (rows, columns)."""
        import pandas as pd

        rows = [self._frame_row(frame) for frame in in_order(self._frames)]
        return pd.DataFrame(rows, columns=list(DATA_SET_COLUMNS))

    def _frame_row(self, frame: SensorFrame) -> dict[str, Any]:
        crop, header, bias = self._crops[id(frame)], frame.header, self._of_frame.get(id(frame))
        good = crop[np.isfinite(crop)]
        signal = float(np.mean(good, dtype=np.float64))
        return {
            "file": Path(frame.name).name,
            "img_type": header.kind,
            "exptime": header.exposure_s,
            "ccd_temp": header.temperature_c,
            "ff_geometry": (header.ny, header.nx),
            "crop_geometry": crop.shape,
            "min": good.min(),
            "max": good.max(),
            "signal": signal,
            "std_dev": float(np.std(good, dtype=np.float64)),
            "data": crop,
            "offset": None if bias is None else bias.offset,
            "signal-offset": None if bias is None else signal - bias.offset - self.offset_correction,
            "read(DN)": None if bias is None else bias.spatial_read,
        }

    @property
    def data_summary(self) -> pd.DataFrame:
        """One row a group of darks or flats, by temperature and exposure: photonica's columns, then ours; needs :meth:`calcStats`."""
        import pandas as pd

        columns = [*SUMMARY_COLUMNS, *SUMMARY_MORE]
        if self.gain_e_per_adu is not None:
            columns += [electrons(name) for name in ("avg_signal-offset", *ELECTRONS)]
        table = pd.DataFrame(self._summary, columns=columns)
        return table.sort_values(["ccd_temp", "exptime", "img_type", "filter"], ignore_index=True, kind="stable")


def electrons(name: str) -> str:
    """The column of ``name`` in electrons."""
    return f"{name.removesuffix('(DN)')}(e-)"
