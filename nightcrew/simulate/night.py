"""Make a night: its schedule, its frames, its truth."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.simulate.camera_cards import frame_cards
from nightcrew.simulate.camera_file import write_camera_file
from nightcrew.simulate.cosmics import cosmic_rays
from nightcrew.simulate.detector import Detector, build_detector
from nightcrew.simulate.plan import NightPlan, Target, preset_plan
from nightcrew.simulate.pointing import Pointing, airmass, altitude_deg, night_start_utc, to_sky
from nightcrew.simulate.randomness import FloatImage, generator
from nightcrew.simulate.sky import StarField, add_stars, make_field
from nightcrew.simulate.truth import RAW_FOLDER, TRUTH_NAME, FieldTruth, FrameTruth, PlantedPixels, Truth, save_truth

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class NightModel:
    """Detector and sky of a plan: gives the expected and the recorded image of any frame."""

    plan: NightPlan
    seed: int
    _flats: dict[str, FloatImage] = field(default_factory=dict, repr=False, compare=False)
    _fields: dict[str, StarField] = field(default_factory=dict, repr=False, compare=False)

    @functools.cached_property
    def detector(self) -> Detector:
        """The camera with its maps."""
        return build_detector(self.plan.camera, self.seed)

    def flat(self, filter_name: str) -> FloatImage:
        """True relative response [y, x] in a filter, unit median (kept: it is asked for with each frame)."""
        if filter_name not in self._flats:
            one = self.plan.filter(filter_name)
            self._flats[filter_name] = self.detector.flat(one.name, one.vignetting, one.dust_spots)
        return self._flats[filter_name]

    def stars(self, target: Target) -> StarField:
        """Stars of a target; the same on every night, for they depend on the seed and the target's name."""
        if target.name not in self._fields:
            self._fields[target.name] = self._make_stars(target)
        return self._fields[target.name]

    def _make_stars(self, target: Target) -> StarField:
        plan = self.plan
        half_px = max(plan.camera.nx, plan.camera.ny) / 2 + plan.dither_px + 10
        rng = generator(self.seed, "field", target.name)
        scale = plan.pixel_scale_arcsec
        return make_field(rng, target.n_stars, half_px * scale, separation_arcsec=plan.separation_px * scale, mag_range=plan.mag_range)

    def field_truth(self, target: Target) -> FieldTruth:
        """The stars of a target as they stand in the truth file."""
        stars = self.stars(target)
        ra, dec = to_sky(stars.xi_arcsec, stars.eta_arcsec, target.ra_deg, target.dec_deg)
        magnitude, flux = {}, {}
        for one in self.plan.filters:
            values = np.round(stars.magnitude(one.colour_factor), 4)
            magnitude[one.name] = tuple(values.tolist())
            flux[one.name] = tuple(np.round(10 ** (-0.4 * (values - one.zero_point_mag)), 6).tolist())
        return FieldTruth(
            target=target.name,
            standard=target.standard,
            ra_deg=tuple(np.round(ra, 8).tolist()),
            dec_deg=tuple(np.round(dec, 8).tolist()),
            xi_arcsec=tuple(stars.xi_arcsec.tolist()),
            eta_arcsec=tuple(stars.eta_arcsec.tolist()),
            magnitude=magnitude,
            flux_e_per_s=flux,
        )

    def scene_e_per_s(self, truth: Truth, frame: FrameTruth) -> FloatImage:
        """What falls onto each pixel [y, x] of a light, in e-/s for unit response: sky and stars."""
        image = np.full(self.detector.shape, frame.sky_e_per_s, dtype=np.float32)
        x, y = truth.star_positions(frame)
        add_stars(image, x, y, truth.star_flux_e_per_s(frame), self.plan.psf(frame.fwhm_px))
        return image

    def mean_charge_e(self, truth: Truth, frame: FrameTruth) -> FloatImage:
        """Expected charge [y, x] of a frame in e-, without cosmic rays."""
        if frame.kind == "bias":
            return np.zeros(self.detector.shape, dtype=np.float32)
        exposure = np.float32(frame.exposure_s)
        charge = self.detector.dark_rate(frame.temperature_c) * exposure
        if frame.kind == "flat":
            charge += self.flat(frame.filter) * np.float32(frame.lamp_e_per_s * frame.exposure_s)
        elif frame.kind == "light":
            charge += self.scene_e_per_s(truth, frame) * self.flat(frame.filter) * exposure
        return charge

    def record(self, truth: Truth, frame: FrameTruth) -> NDArray[np.uint16]:
        """The raw frame [y, x] in ADU."""
        rng = generator(self.seed, self.plan.night, "record", frame.name)
        charge = self.mean_charge_e(truth, frame)
        if frame.kind == "bias":
            return self.detector.read_out(rng, charge)
        return self.detector.expose(rng, charge, frame.cosmic_rays.arrays())


def model_of(truth: Truth) -> NightModel:
    """The model that made a night, rebuilt from its truth."""
    return NightModel(truth.plan, truth.seed)


def schedule(plan: NightPlan, seed: int) -> tuple[FrameTruth, ...]:
    """All frames of a plan in order of time, with the conditions of each: flats, lights, darks, bias."""
    frames = (*_flats(plan), *_lights(plan, seed), *_dawn(plan))
    return tuple(_conditions(plan, seed, frame) for frame in frames)


def _times(plan: NightPlan, start_h: float, step_s: float) -> Iterator[str]:
    time = night_start_utc(date.fromisoformat(plan.night), plan.site.longitude_deg) + timedelta(hours=start_h)
    time = time.replace(microsecond=437_000)
    while True:
        yield time.replace(tzinfo=None).isoformat(timespec="milliseconds")
        time += timedelta(seconds=step_s)


def _flats(plan: NightPlan) -> Iterator[FrameTruth]:
    times = _times(plan, plan.dusk_h, plan.flat_exposure_s + plan.readout_s)
    for one in plan.filters:
        for number, factor in enumerate(np.linspace(1.1, 0.85, plan.n_flats).tolist(), 1):
            yield FrameTruth(
                name=f"flat-{one.name}-{number:03d}.fit",
                kind="flat",
                exposure_s=plan.flat_exposure_s,
                time_utc=next(times),
                temperature_c=plan.set_temperature_c,
                filter=one.name,
                lamp_e_per_s=round(one.flat_level_e * factor / plan.flat_exposure_s, 3),  # dusk fades
            )


def _lights(plan: NightPlan, seed: int) -> Iterator[FrameTruth]:
    for target in sorted(plan.targets, key=lambda one: one.start_h):
        times = _times(plan, target.start_h, target.exposure_s + plan.readout_s)
        stem = target.name.lower().replace(" ", "-")
        for one in plan.filters:
            for number in range(1, target.repeats + 1):
                frame = FrameTruth(
                    name=f"{stem}-{one.name}-{number:03d}.fit",
                    kind="light",
                    exposure_s=target.exposure_s,
                    time_utc=next(times),
                    temperature_c=plan.set_temperature_c,
                    filter=one.name,
                    target=target.name,
                    sky_e_per_s=one.sky_e_per_s,
                )
                yield _under_the_sky(plan, seed, target, frame)


def _under_the_sky(plan: NightPlan, seed: int, target: Target, frame: FrameTruth) -> FrameTruth:
    rng = generator(seed, plan.night, "sky", frame.name)
    one = plan.filter(frame.filter)
    middle = datetime.fromisoformat(frame.time_utc + "+00:00") + timedelta(seconds=frame.exposure_s / 2)
    mass = round(airmass(altitude_deg(target.ra_deg, target.dec_deg, middle, plan.site)), 4)
    clear = 1 + plan.transparency_rms * float(np.clip(rng.normal(), -2.5, 2.5))
    shift_x, shift_y = rng.uniform(-plan.dither_px, plan.dither_px, 2).tolist()
    rotation = float(rng.uniform(-plan.rotation_deg, plan.rotation_deg))
    width = plan.fwhm_px * one.fwhm_factor + plan.fwhm_rms_px * float(np.clip(rng.normal(), -2, 2))
    return replace(
        frame,
        airmass=mass,
        transmission=round(clear * 10 ** (-0.4 * one.extinction_mag * mass), 6),
        fwhm_px=round(width, 4),
        pointing=Pointing(shift_x_px=round(shift_x, 4), shift_y_px=round(shift_y, 4), rotation_deg=round(rotation, 5)),
    )


def _dawn(plan: NightPlan) -> Iterator[FrameTruth]:
    start_h = plan.dawn_h
    for series in plan.darks:
        step_s = series.exposure_s + plan.readout_s
        times = _times(plan, start_h, step_s)
        start_h += series.count * step_s / 3600
        for number in range(1, series.count + 1):
            name = f"dark-{series.exposure_s:g}s-{number:03d}.fit"
            yield FrameTruth(
                name=name, kind="dark", exposure_s=series.exposure_s, time_utc=next(times), temperature_c=plan.set_temperature_c
            )
    times = _times(plan, start_h, plan.readout_s)
    for number in range(1, plan.n_bias + 1):
        name = f"bias-{number:03d}.fit"
        yield FrameTruth(name=name, kind="bias", exposure_s=0.0, time_utc=next(times), temperature_c=plan.set_temperature_c)


def _conditions(plan: NightPlan, seed: int, frame: FrameTruth) -> FrameTruth:
    """The chip's temperature and the cosmic rays of a frame."""
    rng = generator(seed, plan.night, "conditions", frame.name)
    temperature = plan.set_temperature_c + plan.temperature_rms_c * float(np.clip(rng.normal(), -2.5, 2.5))
    shape = (plan.camera.ny, plan.camera.nx)
    rays = cosmic_rays(rng, shape, plan.camera.cosmic_rays_per_mpx_s, frame.exposure_s)
    return replace(frame, temperature_c=round(temperature, 2), cosmic_rays=PlantedPixels.of(rays))


def plan_truth(model: NightModel) -> Truth:
    """The truth of a night before any file is written (without troublemakers)."""
    plan, seed, camera = model.plan, model.seed, model.plan.camera
    plan.check()
    frames = schedule(plan, seed)
    return Truth(
        seed=seed,
        plan=plan,
        gain_e_per_adu=camera.gain_e_per_adu,
        read_noise_e=camera.read_noise_e,
        bias_level_adu=round(float(np.median(model.detector.bias_adu)), 4),
        saturation_adu=camera.saturation_adu,
        hot=PlantedPixels.of(model.detector.hot),
        cold=PlantedPixels.of(model.detector.cold),
        frames=frames,
        fields=tuple(model.field_truth(target) for target in plan.targets),
        drop_order=tuple(frame.name for frame in frames),
    )


def simulate_night(out: Path, plan: NightPlan, seed: int, progress: Progress | None = None) -> Truth:
    """Write the frames to ``out``/raw and the truth to ``out``/truth.json; the same plan and seed give the same bytes.

    ``progress`` is called with (frames written, frames in all, file name).  Refused when ``out``/raw holds files already.
    """
    from nightcrew.simulate.drop import demonstration_order
    from nightcrew.simulate.troublemakers import plant_all

    raw = out / RAW_FOLDER
    raw.mkdir(parents=True, exist_ok=True)
    if any(raw.iterdir()):
        raise Refused(f"{raw} is not empty: a simulated night wants a folder of its own")
    model = NightModel(plan, seed)
    truth = plan_truth(model)
    for number, frame in enumerate(truth.frames, 1):
        write_camera_file(raw / frame.name, model.record(truth, frame), frame_cards(plan, frame))
        if progress:
            progress(number, len(truth.frames), frame.name)
    truth = replace(truth, troubles=plant_all(plan.troubles, raw, truth))
    truth = replace(truth, drop_order=demonstration_order(truth))
    save_truth(truth, out / TRUTH_NAME)
    return truth


def make_night(out: Path, preset: str = "short", seed: int = 1, *, night: str | None = None, progress: Progress | None = None) -> Truth:
    """Simulate the night of a preset (``short`` or ``bench``) into ``out``, on its own date or the local night ``night``."""
    return simulate_night(out, preset_plan(preset, night), seed, progress)
