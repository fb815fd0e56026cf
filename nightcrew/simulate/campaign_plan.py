"""What a simulated irradiation campaign holds: the sensor and its damage, the beam, the frames, and how all lies on the disk."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from nightcrew.errors import Refused

CampaignLayout = Literal["irr", "krad", "oper", "many"]
LogStyle = Literal["complete", "numbers", "folders", "constant", "none"]


@dataclass(frozen=True, kw_only=True)
class DamagedSensor:
    """A CMOS sensor of 12 bits stored x16; levels in stored units (adu), doses in kRad.

    signal = B0 + alpha D + (DC0 + beta D) t + hits, hits Poisson in number with mean R t, each of mean charge q and scatter sigma_q.
    """

    ny: int = 96
    nx: int = 96
    b0_adu: float = 3200.0
    alpha_adu_per_krad: float = 8.0
    dc0_adu_per_s: float = 40.0
    beta_adu_per_s_krad: float = 2.0
    q_adu_per_krad: float = 4000.0
    sigma_q_adu: float = 2500.0
    read_noise_adu: float = 32.0
    gain_e_per_adu: float = 0.125
    level_rms_adu: float = 40.0  # fixed pattern of the bias
    spread: float = 0.05  # of alpha, DC0 and beta between pixels, relative
    hot_before: float = 1e-3  # part of the pixels
    hot_per_krad: float = 2e-4
    hot_least_adu_per_s: float = 120.0
    hot_scale_adu_per_s: float = 150.0  # of the exponential tail above the least
    flat_adu: float = 20_000.0
    healing: float = 0.0  # part of beta x dose that heals after the beam
    healing_time_s: float = 3000.0
    step_adu: int = 16


@dataclass(frozen=True, kw_only=True)
class CampaignPlan:
    """A campaign: doses at the end of each step (kRad), rates of the beam in each (kRad/s), exposures (s), frames a group."""

    sensor: DamagedSensor = field(default_factory=DamagedSensor)
    doses_krad: tuple[float, ...] = (5.0, 10.0, 20.0, 40.0)
    rates_krad_per_s: tuple[float, ...] = (0.002, 0.004)  # taken in turn
    dark_exposures_s: tuple[float, ...] = (1.0, 10.0)
    bias_exposure_s: float = 1.2e-5
    flat_exposure_s: float = 0.5
    frames: int = 6
    flats: int = 0
    stages: tuple[str, ...] = ("pre", "radiating", "post")
    post_visits: int = 1  # times after the beam at which frames are taken
    visit_apart_s: float = 2000.0
    layout: CampaignLayout = "irr"
    logs: LogStyle = "complete"
    numbering_restarts: bool = True
    converted: bool = False  # FITS instead of raw frames
    temperature_c: float = 20.0
    jitter_c: float = 0.05  # of what the thermometer reads; the sensor does not feel it
    operation_frames: int = 0  # frames of an operation sequence at each dose
    operation_exposure_s: float = 1.0
    log_step_s: float = 20.0
    start_s: float = 1_780_000_000.0


PRESETS: dict[str, CampaignPlan] = {
    "tiny": CampaignPlan(sensor=DamagedSensor(ny=40, nx=48), doses_krad=(5.0, 10.0, 20.0), frames=4, flats=2, operation_frames=6),
    "short": CampaignPlan(frames=6, flats=2, operation_frames=10),
    # 350 frames of 256 x 256 and 60 of 2048 x 2048, for the benchmark
    "bench": CampaignPlan(
        sensor=DamagedSensor(ny=256, nx=256),
        doses_krad=(5.0, 10.0, 20.0, 30.0, 40.0),
        dark_exposures_s=(0.1, 1.0, 10.0),
        frames=10,
        flats=10,
    ),
    "large": CampaignPlan(sensor=DamagedSensor(ny=2048, nx=2048), doses_krad=(5.0, 10.0, 20.0), dark_exposures_s=(1.0, 10.0), frames=4),
}


def campaign_plan(
    preset: str, *, layout: str = "irr", logs: str = "complete", restarts: bool = True, converted: bool = False
) -> CampaignPlan:
    """A preset with the wanted layout and logs; ``Refused`` for words that are none."""
    if preset not in PRESETS:
        raise Refused(f"there is no preset {preset!r}; there are {', '.join(PRESETS)}")
    if layout not in get_args(CampaignLayout):
        raise Refused(f"there is no layout {layout!r}; there are {', '.join(get_args(CampaignLayout))}")
    if logs not in get_args(LogStyle):
        raise Refused(f"there is no kind of logs {logs!r}; there are {', '.join(get_args(LogStyle))}")
    plan = PRESETS[preset]
    return replace(plan, layout=layout, logs=logs, numbering_restarts=restarts, converted=converted)  # type: ignore[arg-type]  # checked above
