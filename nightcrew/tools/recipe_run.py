"""The GODO reduction carried out: mean bias, darks by exposure, dark line, scaled darks, flats, lights, means per target and filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.combine import combine
from nightcrew.calibration.methods import DropExtremes
from nightcrew.calibration.normalisation import FrameCalibration, Normalise
from nightcrew.calibration.sources import ArraySource
from nightcrew.errors import MissingCalibration, NightcrewError, RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.io.cardtext import Card, whole_header
from nightcrew.io.headers import HeaderValue, read_hdus
from nightcrew.io.images import ImageFile
from nightcrew.io.products import write_image_product
from nightcrew.lights.reduce import Master, ReduceParameters, reduce_light
from nightcrew.tools.boxes import Box
from nightcrew.tools.combined_header import STALE, Method, record
from nightcrew.tools.darkline import DarkLine, fit_dark_line
from nightcrew.tools.frame import trimmed_coordinates
from nightcrew.tools.recipe import NightFrame, SetUp, by_exposure, by_target, label, odd_frames
from nightcrew.tools.stats import good_pixels

Image = NDArray[np.float32]

UNUSABLE_FLAT = 0.05  # of the mean: less light than this and the flat says nothing about a pixel
NEARLY_SATURATED = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a person may choose: the box for statistics (default: the central half), how flats are brought to one level, how odd is odd."""

    box: Box | None = None
    flat_normalisation: str = "mean"
    flat_drop_highest: int = 1
    odd_limit: float = 5.0


@dataclass(frozen=True, slots=True)
class Plane:
    """A master: pixels and their 1-sigma uncertainty, and what is known of it."""

    pixels: Image
    uncertainty: Image
    used: tuple[str, ...]
    note: str = ""


@dataclass(slots=True)
class Outcome:
    """What one set-up gave: files written, frames left out with reasons, numbers, remarks."""

    written: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    line: DarkLine | None = None
    points: list[dict[str, Any]] = field(default_factory=list)
    factors: dict[float, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


class Reduction:
    """The reduction of one set-up into ``folder``.

    Frames that cannot be used are left out and named; what lacks a calibration is not made.
    """

    def __init__(self, group: SetUp, folder: Path, options: Options, say: Callable[[str], None]) -> None:
        self.group, self.folder, self.options, self.say = group, folder, options, say
        self.outcome = Outcome()
        self.bias: Plane | None = None
        self.darks: dict[float, Plane] = {}
        self.flats: dict[str, Plane] = {}

    def run(self) -> Outcome:
        """All steps in order."""
        self._make_bias()
        if self.bias is not None:
            self._make_darks()
            self._fit_line()
            self._make_flats()
            self._reduce_lights()
        return self.outcome

    def _make_bias(self) -> None:
        frames = self.group.of("bias")
        if not frames:
            self._leave_out(self.group.frames, "there is no bias frame in its set-up")
            return
        kept = self._without_odd(frames, None)
        if not kept:
            self._leave_out(self.group.frames, "no bias frame of its set-up can be used")
            return
        self.bias = self._master(kept, None, "mean")
        self._write("bias.fits", self.bias, kept, Method(name="mean"), "adu")

    def _make_darks(self) -> None:
        assert self.bias is not None  # noqa: S101  run() comes here only with a bias; tells the type checker
        for exposure_s, frames in by_exposure(self.group.of("dark")).items():
            kept = self._without_odd(frames, self.bias.pixels)
            if not kept:
                continue
            master = self._master(kept, [(self.bias.pixels, 1.0)], "mean")
            self.darks[exposure_s] = master
            self._write(f"dark_{exposure_s:g}s.fits", master, kept, Method(name="mean"), "adu")

    def _fit_line(self) -> None:
        """The line through the mean darks' mean counts in the box; their errors are propagated from the pixels' own."""
        for exposure_s, dark in self.darks.items():
            part = self._in_box(dark.pixels)
            sigma = self._in_box(dark.uncertainty)
            good = np.isfinite(part)
            counts = float(part[good].mean(dtype=np.float64))
            noise = float(
                np.sqrt(np.square(np.where(np.isfinite(sigma), sigma, part[good].std()), dtype=np.float64)[good].sum()) / good.sum()
            )
            self.outcome.points.append({"exposure_s": exposure_s, "counts_adu": counts, "noise_adu": noise, "n_frames": len(dark.used)})
        if not self.darks:
            return
        try:
            points = self.outcome.points
            self.outcome.line = fit_dark_line(*([p[key] for p in points] for key in ("exposure_s", "counts_adu", "noise_adu")))
        except MissingCalibration as error:
            self.outcome.remarks.append(str(error))

    def dark_for(self, exposure_s: float) -> tuple[Image, Image, str]:
        """The dark of this exposure: the mean dark where there is one, else the longest scaled by the line, at full precision."""
        for own_s, dark in self.darks.items():
            if abs(own_s - exposure_s) <= 1e-3 * max(exposure_s, 1e-6):
                return dark.pixels, dark.uncertainty, ""
        if not self.darks:
            raise MissingCalibration("there is no dark frame in its set-up")
        if self.outcome.line is None:
            raise MissingCalibration(f"there is no dark of {exposure_s:g} s, and with darks of one exposure none can be scaled")
        reference_s = max(self.darks)
        factor = self.outcome.line.factor(exposure_s, reference_s)
        self.outcome.factors[exposure_s] = factor
        reference = self.darks[reference_s]
        scaled = (reference.pixels * np.float32(factor), reference.uncertainty * np.float32(abs(factor)))
        return *scaled, f"the dark of {reference_s:g} s x {factor:.6f}"

    def _make_flats(self) -> None:
        assert self.bias is not None  # noqa: S101  as above
        filters: dict[str, list[NightFrame]] = {}
        for frame in self.group.of("flat"):
            filters.setdefault(frame.header.filter, []).append(frame)
        for name, frames in sorted(filters.items()):
            try:
                self._make_flat(name, frames)
            except NightcrewError as error:
                self._leave_out(frames, f"no flat of filter {name or '(none)'} could be made: {error}")

    def _make_flat(self, name: str, frames: Sequence[NightFrame]) -> None:
        assert self.bias is not None  # noqa: S101  as above
        kept, planes, notes = [], [], set()
        for frame in frames:
            try:
                dark, _, note = self.dark_for(frame.exposure_s)
                self._check_level(frame)
            except NightcrewError as error:
                self._leave_out([frame], str(error))
                continue
            kept.append(frame)
            planes.append([(self.bias.pixels, 1.0), (dark, 1.0)])
            notes |= {note} - {""}
        if not kept:
            raise MissingCalibration("no frame of it is left")
        drop = min(self.options.flat_drop_highest, len(kept) - 1)
        clip = DropExtremes(high=drop) if drop else None
        if drop < self.options.flat_drop_highest:
            self.outcome.remarks.append(f"filter {name}: of {len(kept)} flats only {drop} highest value(s) could be left out")
        statistic: Any = self.options.flat_normalisation
        made = combine(
            [_source(frame) for frame in kept],
            method="median",
            clip=clip,
            normalise=Normalise(statistic=statistic, reference="first"),
            per_frame=[FrameCalibration(subtract=plane) for plane in planes],
            planes=("result", "uncertainty"),
        )
        level = float(np.nanmean(made.result, dtype=np.float64))
        if not level > 0:
            raise RejectedInput(f"its mean is {level:.3g}")
        sigma = _sigma(made.uncertainty, made.result)
        flat = Plane((made.result / level).astype(np.float32), (sigma / level).astype(np.float32), _names(kept))
        self.flats[name] = flat
        method = Method(name="median", clip="max" if drop else "none", clip_argument=str(drop), normalisation=statistic, unit_level=level)
        self._write(f"flat_{label(name)}.fits", flat, kept, method, "", extra=_dark_notes(notes))

    def _reduce_lights(self) -> None:
        reduced: dict[Path, Path] = {}
        for frame in self.group.of("light"):
            try:
                reduced[frame.path] = self._reduce_light(frame)
            except NightcrewError as error:
                self._leave_out([frame], str(error))
        for (target, filter_name, exposure_s), frames in by_target([f for f in self.group.of("light") if f.path in reduced]).items():
            sources = [ArraySource(data=reduced[f.path], hdu=0, name=f.path.name, mask="MASK", gain_setting="-") for f in frames]
            made = combine(sources, method="mean", planes=("result", "uncertainty", "mask"))
            mean = Plane(made.result, _sigma(made.uncertainty, made.result), _names(frames))
            name = f"mean_{label(target)}_{label(filter_name)}_{exposure_s:g}s.fits"
            self._write(name, mean, frames, Method(name="mean"), "adu", mask=made.mask)

    def _reduce_light(self, frame: NightFrame) -> Path:
        assert self.bias is not None  # noqa: S101  as above
        header = frame.header
        if header.filter not in self.flats:
            raise MissingCalibration(f"there is no flat of filter {header.filter or '(none)'}")
        dark, dark_sigma, note = self.dark_for(frame.exposure_s)
        flat = self.flats[header.filter]
        unusable = np.where(np.isfinite(flat.pixels) & (flat.pixels > UNUSABLE_FLAT), 0, int(PixelFlag.BAD_FLAT)).astype(np.uint16)
        result = reduce_light(
            _read(frame),
            parameters=ReduceParameters(
                gain_e_per_adu=header.gain_e_per_adu, read_noise_e=header.read_noise_e, saturation_adu=_saturation(frame)
            ),
            bias=Master(self.bias.pixels, self.bias.uncertainty),
            dark=Master(dark, dark_sigma),
            flat=Master(flat.pixels, flat.uncertainty, unusable),
        )
        gain = np.float32(header.gain_e_per_adu if result.unit == "electron" and header.gain_e_per_adu else 1.0)
        name = f"light_{label(_stem(frame.path))}.fits"
        history = [
            ("HISTORY", f"nightcrew frames recipe: less bias.fits, less {note or 'its mean dark'}, by flat_{label(header.filter)}.fits", "")
        ]
        path = self.folder / name
        moved, dropped = _moved(frame)
        cards: list[Card] = [("NCRECIPE", "frames recipe", "bias, dark and flat applied"), *moved, *history]
        write_image_product(
            path,
            science=result.science / gain,
            uncertainty=result.uncertainty / gain,
            mask=result.mask,
            cards=cards,
            source_header=whole_header(read_hdus(frame.path), header.hdu),
            unit="adu",
            drop=dropped,
        )
        self.outcome.written.append(name)
        return path

    def _master(self, frames: Sequence[NightFrame], subtract: Any, method: str) -> Plane:
        calibration = None if subtract is None else [FrameCalibration(subtract=subtract)] * len(frames)
        made = combine([_source(f) for f in frames], method=method, per_frame=calibration, planes=("result", "uncertainty"))
        return Plane(made.result, _sigma(made.uncertainty, made.result), _names(frames))

    def _without_odd(self, frames: Sequence[NightFrame], bias: Image | None) -> list[NightFrame]:
        """``frames`` without those that cannot be read, or whose level or scatter in the box is unlike their siblings'; these are named."""
        usable, parts = [], []
        for frame in frames:
            try:
                parts.append(self._values_in_box(_read(frame).astype(np.float32) - (0 if bias is None else bias)))
                usable.append(frame)
            except RejectedInput as error:
                self._leave_out([frame], str(error))
        levels, scatters = [float(np.mean(p, dtype=np.float64)) for p in parts], [float(np.std(p)) for p in parts]
        odd = odd_frames(levels, scatters, limit=self.options.odd_limit)
        for place, reason in odd.items():
            self._leave_out([usable[place]], reason)
        return [frame for place, frame in enumerate(usable) if place not in odd]

    def _check_level(self, frame: NightFrame) -> None:
        """Refuse a flat near saturation."""
        limit = frame.header.saturation_adu
        level = float(np.median(self._values_in_box(_read(frame))))
        if limit is not None and level > NEARLY_SATURATED * limit:
            raise RejectedInput(f"its level of {level:.0f} is near saturation ({limit:.0f})")

    def _in_box(self, pixels: NDArray[Any]) -> NDArray[Any]:
        ny, nx = pixels.shape
        box = self.options.box or Box(nx // 4, nx - nx // 4, ny // 4, ny - ny // 4)
        return pixels[box.within(pixels.shape).slices()]

    def _values_in_box(self, pixels: NDArray[Any]) -> NDArray[Any]:
        good = good_pixels(self._in_box(pixels))
        if not good.size:
            raise RejectedInput("it has no value in the box")
        return good

    def _leave_out(self, frames: Sequence[NightFrame], reason: str) -> None:
        for frame in frames:
            if frame.path.name not in self.outcome.left_out:
                self.outcome.left_out[frame.path.name] = reason
                self.say(f"left out: {frame.path.name}: {reason}")

    def _write(
        self,
        name: str,
        plane: Plane,
        frames: Sequence[NightFrame],
        method: Method,
        unit: str,
        *,
        mask: NDArray[np.uint16] | None = None,
        extra: Sequence[Card] = (),
    ) -> None:
        headers = [(frame.path.name, _cards(frame)) for frame in frames]
        moved, dropped = _moved(frames[0])
        write_image_product(
            self.folder / name,
            science=plane.pixels,
            uncertainty=plane.uncertainty,
            mask=mask if mask is not None else np.where(np.isfinite(plane.pixels), 0, int(PixelFlag.NO_DATA)).astype(np.uint16),
            cards=[("NCRECIPE", "frames recipe", "combined by the hand recipe"), *record(headers, method), *moved, *extra],
            source_header=whole_header(read_hdus(frames[0].path), frames[0].header.hdu),
            unit=unit,
            drop=STALE | dropped,
        )
        self.outcome.written.append(name)
        self.say(f"{name}: {method.name} of {len(frames)}")


def _source(frame: NightFrame) -> ArraySource:
    return ArraySource(data=frame.path, hdu=frame.header.hdu, name=frame.path.name, window=frame.header.trim, gain_setting="-", unit="adu")


def _read(frame: NightFrame) -> NDArray[Any]:
    """Raw pixels inside the trim section; NaN where there is no value."""
    with ImageFile(frame.path, frame.header.hdu) as image:
        pixels = image.read()
    if frame.header.trim is None:
        return pixels
    x0, x1, y0, y1 = frame.header.trim
    return pixels[y0:y1, x0:x1]


def _saturation(frame: NightFrame) -> float | None:
    """The known level [ADU], else the largest number of the stored integers."""
    with ImageFile(frame.path, frame.header.hdu) as image:
        largest = float(np.iinfo(image.dtype).max) if image.dtype.kind in "iu" else None
    return largest if frame.header.saturation_adu is None else frame.header.saturation_adu


def _sigma(uncertainty: NDArray[Any] | None, result: NDArray[Any]) -> Image:
    """The uncertainty plane; where one frame gives no scatter it is unknown (NaN)."""
    return np.full(result.shape, np.nan, np.float32) if uncertainty is None else uncertainty.astype(np.float32, copy=False)


def _cards(frame: NightFrame) -> dict[str, HeaderValue]:
    hdus = read_hdus(frame.path)
    return {**hdus[0].cards, **hdus[frame.header.hdu].cards}


def _names(frames: Sequence[NightFrame]) -> tuple[str, ...]:
    return tuple(frame.path.name for frame in frames)


def _stem(path: Path) -> str:
    return path.name.split(".fit")[0].split(".FIT")[0]


def _moved(frame: NightFrame) -> tuple[list[Card], frozenset[str]]:
    """Cards that the trim section makes others, and keywords that lose their meaning."""
    header = frame.header
    if header.trim is None:
        return [], frozenset()
    changed, dropped = trimmed_coordinates(_cards(frame), header.trim, (header.ny, header.nx))
    return changed, frozenset(dropped)


def _dark_notes(notes: set[str]) -> list[Card]:
    return [("HISTORY", f"flats less {note}", "") for note in sorted(notes)]
