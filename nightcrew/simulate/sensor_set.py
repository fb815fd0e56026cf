"""A set of frames of a simulated sensor, as a person takes them on a bench, with its truth."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.io.atomic import write_text
from nightcrew.simulate.camera_file import CameraCard, write_camera_file
from nightcrew.simulate.randomness import generator
from nightcrew.simulate.sensor import Amplifier, SensorModel, SimulatedSensor, build_sensor

IMAGE_TYPES = {"bias": "Bias Frame", "dark": "Dark Frame", "flat": "Flat Field"}
FIRST_FRAME = datetime(2026, 5, 16, 10, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorPlan:
    """What is taken: per temperature biases and darks; at ``flat_temperature_c`` a sweep of flats by exposure at one lamp."""

    sensor: SensorModel = field(default_factory=SensorModel)
    temperatures_c: tuple[float, ...] = (-10.0,)
    biases: int = 10
    dark_exposures_s: tuple[float, ...] = (60.0, 120.0, 300.0)
    darks: int = 4
    flat_temperature_c: float = -10.0
    flat_levels: tuple[float, ...] = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.94, 0.98, 1.03, 1.1)
    """Of the full well."""
    flats: int = 2
    lamp_e_per_s: float = 4000.0
    flat_darks: bool = True  # two darks of each flat's exposure
    by_illumination: bool = False  # every flat at ``illumination_s``, the lamp set to the level
    illumination_s: float = 2.0
    flooded_darks: int = 0
    flooded_s: float = 300.0
    temperature_jitter_c: float = 0.03
    filter: str = "L"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFrame:
    """One frame to be taken; ``level_e`` is the light in e- (flats)."""

    name: str
    kind: str
    exposure_s: float
    temperature_c: float  # as the header says; the sensor itself stands at ``set_c``
    set_c: float
    number: int
    time_utc: str
    level_e: float = 0.0
    flooded: bool = False
    filter: str = ""


def planned_frames(plan: SensorPlan, seed: int) -> tuple[PlannedFrame, ...]:
    """The frames in the order in which they are taken."""
    rng, frames = generator(seed, "sensor", "plan"), list[PlannedFrame]()

    def add(kind: str, exposure_s: float, set_c: float, count: int, tag: str, **values: Any) -> None:
        for number in range(count):
            start = FIRST_FRAME + timedelta(seconds=400 * len(frames))
            frames.append(
                PlannedFrame(
                    name=f"{tag}-{number:03d}.fits",
                    kind=kind,
                    exposure_s=exposure_s,
                    temperature_c=round(set_c + float(rng.uniform(-1, 1)) * plan.temperature_jitter_c, 3),
                    set_c=set_c,
                    number=number,
                    time_utc=start.isoformat(timespec="milliseconds").removesuffix("+00:00"),
                    **values,
                )
            )

    for set_c in plan.temperatures_c:
        add("bias", 0.0, set_c, plan.biases, f"bias{set_c:+.0f}")
        for exposure_s in plan.dark_exposures_s:
            add("dark", exposure_s, set_c, plan.darks, f"dark{set_c:+.0f}-{exposure_s:g}s")
        add("dark", plan.flooded_s, set_c, plan.flooded_darks, f"dark-flooded{set_c:+.0f}-{plan.flooded_s:g}s", flooded=True)
    for place, level in enumerate(plan.flat_levels):
        level_e = level * plan.sensor.full_well_e
        exposure_s = plan.illumination_s if plan.by_illumination else round(level_e / plan.lamp_e_per_s, 3)
        add("flat", exposure_s, plan.flat_temperature_c, plan.flats, f"flat{place:02d}", level_e=level_e, filter=plan.filter)
        if plan.flat_darks and not (plan.by_illumination and place):
            add("dark", exposure_s, plan.flat_temperature_c, 2, f"flatdark{place:02d}")
    return tuple(frames)


def take(sensor: SimulatedSensor, frame: PlannedFrame) -> NDArray[np.uint16]:
    """The pixels of a planned frame."""
    if frame.kind == "bias":
        return sensor.bias(frame.name)
    if frame.kind == "dark":
        return sensor.dark(frame.exposure_s, frame.set_c, frame.name, flooded=frame.flooded)
    return sensor.flat(frame.level_e, frame.exposure_s, frame.set_c, frame.name)


def taken(plan: SensorPlan, seed: int) -> Iterator[tuple[PlannedFrame, NDArray[np.uint16]]]:
    """Every frame of the plan with its pixels, one after the other."""
    sensor = build_sensor(plan.sensor, seed)
    for frame in planned_frames(plan, seed):
        yield frame, take(sensor, frame)


def truth_of(plan: SensorPlan, seed: int) -> dict[str, Any]:
    """The truth as plain values."""
    model = plan.sensor
    rates = {f"{celsius:g}": model.dark_rate_e_per_s * model.dark_factor(celsius) for celsius in plan.temperatures_c}
    middle_c = float(np.mean(plan.temperatures_c))
    return {
        "format": 1,
        "seed": seed,
        "sensor": dataclasses.asdict(model),
        "dark_rate_e_per_s": rates,
        "doubling_temperature_k": {"at_c": middle_c, "value": model.doubling_k(middle_c)},
        "frames": [dataclasses.asdict(frame) for frame in planned_frames(plan, seed)],
    }


def make_sensor_set(out: Path, plan: SensorPlan, seed: int, *, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Write the frames into ``out/raw`` and the truth into ``out/truth.json``; ``Refused`` when ``out`` holds something already."""
    raw = out / "raw"
    if out.exists() and any(out.iterdir()):
        raise Refused(f"{out} is not empty: give a new folder")
    raw.mkdir(parents=True)
    total = len(planned_frames(plan, seed))
    for done, (frame, image) in enumerate(taken(plan, seed)):
        write_camera_file(raw / frame.name, image, frame_cards(plan, frame))
        if progress is not None:
            progress(done + 1, total)
    truth = truth_of(plan, seed)
    write_text(out / "truth.json", json.dumps(truth, indent=1) + "\n")
    return truth


def frame_cards(plan: SensorPlan, frame: PlannedFrame) -> list[CameraCard]:
    """The header as a camera program writes it; gain and noise are not in it, they are to be found."""
    cards: list[CameraCard] = [
        ("DATE-OBS", frame.time_utc, "[ISO 8601] UTC at start of exposure"),
        ("EXPTIME", frame.exposure_s, "[s] length of exposure"),
        ("SET-TEMP", frame.set_c, "[C] sensor temperature set point"),
        ("CCD-TEMP", frame.temperature_c, "[C] sensor temperature"),
        ("IMAGETYP", IMAGE_TYPES[frame.kind], "type of image"),
        ("INSTRUME", "NCSENSOR", "simulated sensor, its truth is known"),
        ("XBINNING", 1, "binning in X"),
        ("YBINNING", 1, "binning in Y"),
        ("GAIN", 100, "gain setting of the camera"),
        ("SATURATE", float(plan.sensor.adc_max), "end of the converter"),
        ("SWCREATE", "Nightcrew simulator", "program that wrote this file"),
    ]
    if frame.filter:
        cards.append(("FILTER", frame.filter, "filter"))
    if plan.sensor.bayer:
        cards.append(("BAYERPAT", plan.sensor.bayer, "colour filters"))
    return cards


def preset(name: str) -> SensorPlan:
    """``small``: 128 x 128; ``ccd``: 512 x 512 with all that a CCD has; ``cmos``: colours, 12 bits; ``amplifiers``: two outputs."""
    if name == "small":
        return SensorPlan()
    if name == "ccd":
        model = SensorModel(
            nx=512,
            ny=512,
            bright_fat_per_e=-1.2e-6,
            hot_fraction=5e-4,
            vignetting=0.05,
            cosmic_rays_per_mpx_s=0.5,
            trapped_e=12.0,
            offset_pattern_e=3.0,
        )
        return SensorPlan(sensor=model, temperatures_c=(-20.0, -15.0, -10.0, -5.0, 0.0), darks=3, flats=4, flooded_darks=3)
    if name == "cmos":
        model = SensorModel(
            nx=256, ny=256, gain_e_per_adu=4.0, read_noise_e=3.5, offset_adu=100.0, full_well_e=14_500.0, adc_max=4095, bayer="RGGB"
        )
        return SensorPlan(sensor=model, lamp_e_per_s=1500.0)
    if name == "amplifiers":
        outputs = (
            Amplifier(gain_e_per_adu=1.5, read_noise_e=8.0, offset_adu=1000.0),
            Amplifier(gain_e_per_adu=1.7, read_noise_e=6.0, offset_adu=1400.0),
        )
        return SensorPlan(sensor=SensorModel(nx=256, ny=128, amplifiers=outputs))
    raise Refused(f"there is no preset {name!r}: small, ccd, cmos or amplifiers")
