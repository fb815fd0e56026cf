"""A simulated irradiation campaign on disk: frames, configurations and logs in any layout, and the truth about them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.io.atomic import write_new, write_text
from nightcrew.io.cardtext import Card
from nightcrew.lab.fits_frame import write_frame
from nightcrew.simulate.campaign_plan import CampaignPlan
from nightcrew.simulate.campaign_sensor import DamageMaps, expose_damaged, healed_part, make_damage
from nightcrew.simulate.randomness import generator

CAMPAIGN_FOLDER, TRUTH_NAME = "campaign", "truth.json"
_PLAIN = {"BIAS": "Bias", "DARK": "Darks", "FLAT": "Flats"}
_STAGE_FOLDERS = {"pre": "Preirradiation", "radiating": "Irradiation", "post": "Postirradiation"}
_LOG_COLUMNS = ("FrameNum", "TimeStamp", "ExpTime", "Temperature")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One frame to be taken: where it lies, when, and under what beam."""

    folder: str
    stage: str
    step: int  # -1 before, 0.. the steps, last + 1 after the beam
    kind: str
    exposure_s: float
    time_s: float
    dose_krad: float
    rate_krad_per_s: float
    since_end_s: float
    number: int


@dataclass(frozen=True, slots=True)
class Step:
    """A run of the beam: begin and end (s), doses there (kRad), rate (kRad/s)."""

    start_s: float
    stop_s: float
    before_krad: float
    dose_krad: float
    rate_krad_per_s: float


def steps_of(plan: CampaignPlan) -> list[Step]:
    """The runs of the beam, with a pause of 600 s between them."""
    made, now, before = [], plan.start_s + 2000.0, 0.0
    for place, dose in enumerate(plan.doses_krad):
        rate = plan.rates_krad_per_s[place % len(plan.rates_krad_per_s)]
        stop = now + (dose - before) / rate
        made.append(Step(now, stop, before, dose, rate))
        now, before = stop + 600.0, dose
    return made


def _wanted(plan: CampaignPlan) -> list[tuple[str, float, int]]:
    """(kind, exposure, frames) of every visit, exposures ascending."""
    kinds = [("BIAS", plan.bias_exposure_s, plan.frames), *(("DARK", t, plan.frames) for t in plan.dark_exposures_s)]
    return [*kinds, ("FLAT", plan.flat_exposure_s, plan.flats)] if plan.flats else kinds


def _interleaved(plan: CampaignPlan) -> list[tuple[str, float]]:
    """Frames of a visit: each kind in turn, so that all see the same mean dose."""
    wanted = _wanted(plan)
    most = max(n for _, _, n in wanted)
    return [(kind, t) for turn in range(most) for kind, t, n in wanted if turn * n // most != (turn + 1) * n // most]


def shots_of(plan: CampaignPlan) -> list[Shot]:
    """Every frame of a campaign in the order of time, without its operation sequences."""
    steps = steps_of(plan)
    visit = _interleaved(plan)
    made: list[Shot] = []
    if "pre" in plan.stages:
        made += _visit(plan, visit, "pre", -1, plan.start_s, 0.0, 0.0)
    if "radiating" in plan.stages:
        for place, step in enumerate(steps):
            made += list(_in_beam(plan, visit, step, place))
    if "post" in plan.stages:
        end = steps[-1]
        for turn in range(plan.post_visits):
            start = end.stop_s + 300.0 + turn * plan.visit_apart_s
            made += _visit(plan, visit, "post", len(steps), start, end.dose_krad, start - end.stop_s, name=f"attempt{turn}")
    return _numbered(plan, made)


def _visit(
    plan: CampaignPlan,
    visit: list[tuple[str, float]],
    stage: str,
    step: int,
    start_s: float,
    dose: float,
    since_s: float,
    name: str = "attempt0",
) -> list[Shot]:
    now, made = start_s, []
    for kind, exposure in visit:
        folder = _folder(plan, stage, None, kind, exposure, name)
        made.append(_shot(folder, stage, step, kind, exposure, now, dose, 0.0, now - start_s + since_s if stage == "post" else 0.0))
        now += exposure + 1.0
    return made


def _in_beam(plan: CampaignPlan, visit: list[tuple[str, float]], step: Step, place: int) -> Iterator[Shot]:
    apart = (step.stop_s - step.start_s) / len(visit)
    for turn, (kind, exposure) in enumerate(visit):
        now = step.start_s + (turn + 1) * apart  # the last one when the step's dose is reached
        folder = _folder(plan, "radiating", step.dose_krad, kind, exposure, "attempt0")
        dose = step.before_krad + step.rate_krad_per_s * (now - step.start_s)
        yield _shot(folder, "radiating", place, kind, exposure, now, dose, step.rate_krad_per_s, 0.0)


def _shot(folder: str, stage: str, step: int, kind: str, exposure: float, now: float, dose: float, rate: float, since: float) -> Shot:
    return Shot(
        folder=folder,
        stage=stage,
        step=step,
        kind=kind,
        exposure_s=exposure,
        time_s=round(now, 3),
        dose_krad=dose,
        rate_krad_per_s=rate,
        since_end_s=since,
        number=0,
    )


def _folder(plan: CampaignPlan, stage: str, dose: float | None, kind: str, exposure: float, attempt: str) -> str:
    if plan.layout == "krad":
        return f"{dose:g}kRads" if dose is not None else f"{_STAGE_FOLDERS[stage]}/{_PLAIN[kind]}/{attempt}"
    parts = [_STAGE_FOLDERS[stage], *([f"{dose:g}kRads"] if dose is not None else []), _PLAIN[kind]]
    return "/".join([*parts, *([f"{exposure:g}s"] if kind != "BIAS" else []), attempt])


def _numbered(plan: CampaignPlan, shots: list[Shot]) -> list[Shot]:
    counts: dict[str, int] = {}
    made = []
    for n, shot in enumerate(shots):
        number = counts.get(shot.folder, 0) if plan.numbering_restarts else n
        counts[shot.folder] = counts.get(shot.folder, 0) + 1
        made.append(dataclasses.replace(shot, number=number))
    return made


def operation_shots(plan: CampaignPlan) -> list[Shot]:
    """The operation sequences: one at each dose, frames evenly through the run of the beam."""
    made = []
    for place, step in enumerate(steps_of(plan)):
        apart = (step.stop_s - step.start_s) / max(plan.operation_frames, 1)
        for n in range(plan.operation_frames):
            now = step.start_s + (n + 0.25) * apart
            dose = step.before_krad + step.rate_krad_per_s * (now - step.start_s)
            folder = f"Operation/{step.dose_krad:g}kRads"
            shot = _shot(folder, "radiating", place, "OPER", plan.operation_exposure_s, now, dose, step.rate_krad_per_s, 0.0)
            made.append(dataclasses.replace(shot, number=n))
    return made


def make_irradiation(out: Path, plan: CampaignPlan, seed: int, *, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Write a campaign into the new folder ``out`` and return its truth; the same plan and seed give the same bytes.

    ``campaign/...`` as the camera's program leaves it, ``truth.json`` (plan, frames with dose and rate, hot pixels by dose).  ``Refused``
    when the folder holds something already.
    """
    if out.exists() and any(out.iterdir()):
        raise Refused(f"{out}: is not empty; name a new folder")
    roots = ["CampaignA", "CampaignB"] if plan.layout == "many" else [""]
    frames: list[dict[str, Any]] = []
    hot: dict[str, int] = {}
    for place, root in enumerate(roots):
        maps = make_damage(plan.sensor, seed + place)
        frames += write_campaign(out / CAMPAIGN_FOLDER / root, plan, seed + place, maps, progress)
        hot |= {f"{dose:g}": maps.hot_at(dose) for dose in (0.0, *plan.doses_krad)} if not place else {}
    truth = {"format": 1, "seed": seed, "plan": dataclasses.asdict(plan), "frames": frames, "hot_pixels": hot}
    truth["effective"] = effective_parameters(make_damage(plan.sensor, seed), plan)
    write_text(out / TRUTH_NAME, json.dumps(truth, indent=1, sort_keys=True, allow_nan=False) + "\n", durable=False)
    return truth


def write_campaign(
    root: Path,
    plan: CampaignPlan,
    seed: int,
    maps: DamageMaps,
    progress: Callable[[int, int], None] | None = None,
    *,
    wanted: Callable[[Shot], bool] = lambda shot: True,
) -> list[dict[str, Any]]:
    """Write the frames (those ``wanted``) and logs of one campaign below ``root``; what was written."""
    shots = ([] if plan.layout == "oper" else shots_of(plan)) + (operation_shots(plan) if plan.operation_frames else [])
    shots = [shot for shot in shots if wanted(shot)]
    made: list[dict[str, Any]] = []
    rows: dict[str, list[tuple[float, ...]]] = {}
    for done, shot in enumerate(shots):
        rng = generator(seed, "campaign frame", shot.stage, shot.step, shot.kind, f"{shot.time_s:.3f}")
        healed = healed_part(plan.sensor, shot.since_end_s) if shot.stage == "post" else 0.0
        pixels, hits = expose_damaged(maps, shot.kind, shot.dose_krad, shot.rate_krad_per_s, shot.exposure_s, rng, healed=healed)
        temperature = round(plan.temperature_c + float(rng.normal(0, plan.jitter_c)), 3) if plan.jitter_c else plan.temperature_c
        name = _write_frame(root, plan, shot, pixels, temperature)
        rows.setdefault(shot.folder, []).append((shot.number, shot.time_s, shot.exposure_s * 1e6, temperature))
        made.append({**dataclasses.asdict(shot), "file": name, "hits": hits})
        if progress:
            progress(done + 1, len(shots))
    if not plan.converted:
        for folder, lines in rows.items():
            _write_notes(root / folder, plan, lines)
    _write_logs(root, plan, shots)
    return made


def _write_frame(root: Path, plan: CampaignPlan, shot: Shot, pixels: NDArray[np.uint16], temperature: float) -> str:
    word = {"BIAS": "Bias", "DARK": "Dark", "FLAT": "Flat", "OPER": "Oper"}[shot.kind]
    stem = f"{word}T{plan.temperature_c:g}_exp{shot.exposure_s:g}sAt0f{shot.number}"
    if plan.layout == "krad" and not plan.numbering_restarts:
        stem = f"{word}_exp{shot.exposure_s:g}s_f{shot.number}"
    if plan.converted:
        name = f"{shot.folder}/fits/{stem}.fits"
        cards: list[Card] = [
            ("CALTYPE", shot.kind, ""),
            ("FRAMENUM", shot.number, ""),
            ("EXPTIME", shot.exposure_s, "s"),
            ("TEMP", temperature, "deg C"),
            ("TIMESTAMP", shot.time_s, "s"),
        ]
        write_frame(root / name, pixels, cards, durable=False)
        return name
    name = f"{shot.folder}/frames/{stem}.raw"

    def write(file: BinaryIO) -> None:
        file.write(pixels.astype("<u2").tobytes())

    write_new(root / name, write, durable=False)
    return name


def _write_notes(folder: Path, plan: CampaignPlan, rows: list[tuple[float, ...]]) -> None:
    text = f"WIDTH = {plan.sensor.nx}\nHEIGHT = {plan.sensor.ny}\nBIT_DEPTH = 16\n"
    write_text(folder / "configFile.txt", text, durable=False, overwrite=True)
    lines = [",".join(_LOG_COLUMNS), *(",".join(f"{value!r}" for value in row) for row in rows)]
    write_text(folder / "temperatureLog.csv", "\n".join(lines) + "\n", durable=False, overwrite=True)


def _write_logs(root: Path, plan: CampaignPlan, shots: list[Shot]) -> None:
    first: dict[str, float] = {}
    for shot in shots:
        first[shot.folder] = min(first.get(shot.folder, shot.time_s), shot.time_s)
    beam = [s for s in shots if s.stage == "radiating" and s.kind != "OPER"]
    beam.sort(key=lambda s: (s.step, first[s.folder], s.folder, s.number))
    if plan.operation_frames:
        _operation_logs(root, plan, shots)
    if plan.logs == "complete":
        write_text(
            root / "radiationLogCompleto.csv", _beam_log(plan, max((s.step for s in shots), default=-1)), durable=False, overwrite=True
        )
    elif plan.logs == "numbers":
        rows = [f"{s.number},{s.dose_krad!r}" for s in beam]
        write_text(root / "radiationLogCompleto.csv", "\n".join(["FrameNum,Dose", *rows]) + "\n", durable=False, overwrite=True)
    elif plan.logs in ("folders", "constant"):
        for folder in sorted({_dose_folder(s.folder) for s in beam}):
            inside = [s for s in beam if _dose_folder(s.folder) == folder]
            inside.sort(key=lambda s: (s.time_s, s.folder, s.number))
            if plan.logs == "constant":
                dose = max(plan.doses_krad[s.step] for s in inside)
                text = "FrameNum,Dose\n" + "".join(f"{s.number},{dose:g}\n" for s in inside)
            else:
                text = "TimeStamp,Dose\n" + "".join(f"{s.time_s!r},{s.dose_krad!r}\n" for s in inside)
            write_text(root / folder / "radiationLogDef.csv", text, durable=False, overwrite=True)


def _dose_folder(folder: str) -> str:
    parts = folder.split("/")
    place = next((i for i, part in enumerate(parts) if part.endswith("kRads")), len(parts) - 1)
    return "/".join(parts[: place + 1])


def _beam_log(plan: CampaignPlan, last_step: int) -> str:
    lines = ["TimeStamp,Dose,RadiationLevel"]
    for place, step in enumerate(steps_of(plan)):
        if place > last_step:
            break
        times = np.arange(step.start_s, step.stop_s, plan.log_step_s).tolist()
        for now in [step.start_s - 30.0, *times, step.stop_s, step.stop_s + 30.0]:
            dose = step.before_krad + step.rate_krad_per_s * (min(max(now, step.start_s), step.stop_s) - step.start_s)
            lines.append(f"{now!r},{dose!r},{step.rate_krad_per_s * 3600!r}")
    return "\n".join(lines) + "\n"


def _operation_logs(root: Path, plan: CampaignPlan, shots: list[Shot]) -> None:
    for place, step in enumerate(steps_of(plan)):
        inside = [s for s in shots if s.kind == "OPER" and s.step == place]
        if not inside:
            continue
        folder = root / inside[0].folder
        rows = [f"{s.number},{s.time_s!r},{s.dose_krad!r},{s.rate_krad_per_s * 3600!r},{plan.temperature_c}" for s in inside]
        write_text(
            folder / "radiationLog.csv",
            "\n".join(["FrameNum,TimeStamp,Dose,RadiationLevel,Temperature", *rows]) + "\n",
            durable=False,
            overwrite=True,
        )
        times = np.linspace(step.start_s, step.stop_s, 3 * len(inside)).tolist()
        power = [f"{t!r},{0.2 + 0.001 * (step.before_krad + step.rate_krad_per_s * (t - step.start_s))!r},5.0" for t in times]
        write_text(folder / "powerLog.csv", "\n".join(["TimeStamp,Amperage,Voltage", *power]) + "\n", durable=False, overwrite=True)


def effective_parameters(maps: DamageMaps, plan: CampaignPlan) -> dict[str, float]:
    """What the means over all pixels follow, hot pixels included: the parameters of the joint model, in adu, kRad and s.

    DC0 and beta are the line through the mean dark rates at the doses of the plan; read holds the converter's step.
    """
    sensor = plan.sensor
    doses = np.array([0.0, *plan.doses_krad])
    beta, dc0 = np.polyfit(doses, [float(maps.rate_at(float(dose)).mean(dtype=np.float64)) for dose in doses], 1)
    return {
        "B0": sensor.b0_adu,
        "alpha": sensor.alpha_adu_per_krad,
        "DC0": float(dc0),
        "beta": float(beta),
        "q": sensor.q_adu_per_krad,
        "sigma_q": sensor.sigma_q_adu,
        "read": float(np.hypot(sensor.read_noise_adu, sensor.step_adu / np.sqrt(12))),
        "k": 1 / sensor.gain_e_per_adu,
    }
