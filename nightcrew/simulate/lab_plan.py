"""What a simulated laboratory campaign holds: the sensor, the frames, and how they lie on the disk."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from nightcrew.errors import Refused

Layout = Literal["standard", "continuous", "bare", "irradiation"]
LAYOUTS: tuple[Layout, ...] = ("standard", "continuous", "bare", "irradiation")


@dataclass(frozen=True, kw_only=True)
class LabSensor:
    """A CMOS sensor of 12 bits stored x16.  Levels and rates are in stored units (adu), temperatures in C.

    bias(T) = level + slope T; dark rate(T) = rate at ``reference_c`` times 2^((T - reference_c) / doubling_c).
    """

    ny: int = 256
    nx: int = 256
    level_adu: float = 3200.0
    level_rms_adu: float = 40.0  # fixed pattern of pixels
    column_rms_adu: float = 12.0
    slope_adu_per_k: float = 6.4
    slope_rms_adu_per_k: float = 0.8
    read_noise_adu: float = 32.0
    gain_e_per_adu: float = 0.125  # 2 e- for a step of 16
    dark_rate_adu_per_s: float = 80.0
    dark_spread: float = 0.25  # sigma of the logarithm between pixels
    reference_c: float = 20.0
    doubling_c: float = 6.5
    gamma: float = 0.0  # signal goes as t^(1 + gamma)
    hot_fraction: float = 2e-3
    hot_factors: tuple[float, float] = (15.0, 60.0)  # rate over the median, log-uniform
    telegraph_fraction: float = 1e-3
    telegraph_factor: float = 8.0  # extra rate in the upper state over the median rate
    hits_per_mpx_s: float = 3.0
    hit_adu: tuple[float, float] = (800.0, 8000.0)
    prnu: float = 0.01
    flux_adu_per_s: float = 20_000.0
    response_per_k: float = 4e-4  # relative change of the response with temperature
    vignetting: tuple[float, float] = (0.18, 0.07)  # 1 - k2 r^2 - k4 r^4, r = 1 in the corner seen from the centre of the frame
    vignetting_centre: tuple[float, float] = (0.03, -0.02)  # offset (y, x) of the optical axis in half diagonals


@dataclass(frozen=True, kw_only=True)
class LabPlan:
    """A campaign: temperatures (C), exposures (s), frames a cell, and the layout of folders, logs and numbers."""

    sensor: LabSensor = field(default_factory=LabSensor)
    bias_temperatures_c: tuple[float, ...] = (-10.0, 0.0, 10.0, 20.0, 30.0)
    bias_frames: int = 8
    bias_attempts: int = 1
    dark_temperatures_c: tuple[float, ...] = (0.0, 10.0, 20.0, 30.0)
    dark_exposures_s: tuple[float, ...] = (1.0, 5.0, 10.0, 20.0)
    dark_frames: int = 4
    flat_temperatures_c: tuple[float, ...] = (0.0, 20.0)
    flat_exposures_s: tuple[float, ...] = (0.5, 1.0)
    flat_frames: int = 4
    bias_exposure_s: float = 1.2e-5
    jitter_c: float = 0.05  # rms of the temperature of a frame about its set point; the log has the true one
    layout: Layout = "standard"
    numbering_restarts: bool = True
    messy_logs: bool = False  # byte-order marks, other delimiters, empty cells, repeated rows, 0.0 as frame number
    start_s: float = 1_780_000_000.0


PRESETS: dict[str, LabPlan] = {
    "tiny": LabPlan(
        sensor=LabSensor(ny=48, nx=64),
        bias_temperatures_c=(0.0, 10.0, 20.0),
        bias_frames=4,
        dark_temperatures_c=(10.0, 20.0, 30.0),
        dark_exposures_s=(1.0, 10.0),
        dark_frames=3,
        flat_temperatures_c=(10.0, 20.0),
        flat_frames=3,
    ),
    "short": LabPlan(),
    "bench": LabPlan(
        sensor=LabSensor(ny=2048, nx=2048),
        bias_temperatures_c=(-10.0, 0.0, 10.0, 20.0),
        bias_frames=10,
        dark_temperatures_c=(0.0, 10.0, 20.0, 30.0),
        dark_exposures_s=(1.0, 10.0),
        dark_frames=5,
        flat_frames=2,
    ),
}


def lab_plan(preset: str, *, layout: str = "standard", restarts: bool = True, messy: bool = False) -> LabPlan:
    """A preset with the wanted layout; ``Refused`` for words that are none."""
    if preset not in PRESETS:
        raise Refused(f"there is no preset {preset!r}; there are {', '.join(PRESETS)}")
    for name in LAYOUTS:
        if name == layout:
            return replace(PRESETS[preset], layout=name, numbering_restarts=restarts, messy_logs=messy)
    raise Refused(f"there is no layout {layout!r}; there are {', '.join(LAYOUTS)}")
