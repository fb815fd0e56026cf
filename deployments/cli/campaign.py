"""``nightcrew campaign``: an irradiation campaign from its folder to report and tables.  Every import waits until it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.common import JsonOption, say, say_json


def campaign(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the campaign, or of several campaigns; it is only read.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for masters, tables, figures and report.html.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    dose_log: Annotated[
        Path | None, typer.Option("--dose-log", help="Log of the beam; without it radiationLogCompleto.csv in DIR.")
    ] = None,
    stages: Annotated[list[str] | None, typer.Option("--stages", help="pre, radiating (or during), post: one or several.")] = None,
    plan: Annotated[
        str, typer.Option("--plan", help="standard, irradiation, radiation, full, krad, variation or operation; by layout.")
    ] = "",
    datasets: Annotated[list[str] | None, typer.Option("--datasets", help="Dose folders or campaigns to analyse, such as 20kRads.")] = None,
    ignore_temp: Annotated[bool, typer.Option("--ignore-temp", help="One group for all temperatures.")] = False,
    group_by_dose: Annotated[bool, typer.Option("--group-by-dose", help="As --ignore-temp where the log has just one dose.")] = False,
    gain: Annotated[float | None, typer.Option("--gain", help="e-/adu; without it the darks' noise tells it, where it can.")] = None,
    predict: Annotated[list[float] | None, typer.Option("--predict", help="Dose in kRad to forecast the star at; may be repeated.")] = None,
    magnitude: Annotated[float, typer.Option("--magnitude", help="Magnitude of the star.")] = 13.0,
    zero_point: Annotated[float, typer.Option("--zero-point", help="Magnitude that gives 1 e-/s.")] = 20.0,
    exposure: Annotated[float, typer.Option("--exposure", help="Exposure of the star in s.")] = 10.0,
    aperture: Annotated[float, typer.Option("--aperture", help="Radius of the star's aperture in px.")] = 4.0,
    sky: Annotated[float, typer.Option("--sky", help="Sky in e-/s a pixel.")] = 1.0,
    beam_rate: Annotated[float, typer.Option("--beam-rate", help="Dose rate while the star is measured, kRad/s.")] = 0.0,
    memory_mb: Annotated[int, typer.Option("--memory-mb", help="Bounds the buffers of a stack.")] = 192,
    threads: Annotated[int, typer.Option("--threads", help="Threads for reading and converting.")] = 2,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is being done and every remark.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Dose, response, annealing, and what it costs in photometric precision."""
    from nightcrew.irradiation.discover import parse_stages
    from nightcrew.irradiation.star_noise import Star
    from nightcrew.irradiation.tokens import STAGES
    from reports.analysis import write_analysis
    from tasks.campaign import CampaignRequest, run_campaign

    words, names = _words(stages, datasets, more)
    request = CampaignRequest(
        root=folder,
        out=out,
        dose_log=dose_log,
        plan=plan,
        stages=parse_stages(words) if words else STAGES,
        datasets=tuple(names),
        ignore_temperature=ignore_temp,
        group_by_dose=group_by_dose,
        gain_e_per_adu=_positive("--gain", gain),
        star=Star(
            magnitude=magnitude,
            zero_point_mag=zero_point,
            exposure_s=_positive("--exposure", exposure) or exposure,
            aperture_radius_px=_positive("--aperture", aperture) or aperture,
            sky_e_per_s=sky,
            rate_krad_per_s=beam_rate,
        ),
        predict_krad=tuple(predict or ()),
        memory_bytes=max(memory_mb, 8) << 20,
        threads=threads,
    )
    result = run_campaign(request, told=say if verbose and not as_json else None)
    write_analysis(result.page, out)
    if as_json:
        say_json(
            {
                "verdict": result.page.verdict,
                "status": result.page.status,
                "plans": [part.plan for part in result.parts],
                "files": len(result.files),
            }
        )
        return
    say(result.page.verdict)
    for text in result.page.needs_person:
        say(f"  {text}")
    for part in result.parts if verbose else ():
        for text in part.absent:
            say(f"  {part.campaign.name}: {text}" if part.campaign.name else f"  {text}")
    say(f"Report: {out / 'report.html'}")


def _words(stages: list[str] | None, datasets: list[str] | None, more: list[str] | None) -> tuple[list[str], list[str]]:
    """Stages and datasets; words that follow the first of either option (``--stages pre post``) arrive as ``more``."""
    from nightcrew.errors import Refused
    from nightcrew.irradiation.tokens import stage_word

    words = [word for text in stages or [] for word in text.replace(",", " ").split()]
    names = [word for text in datasets or [] for word in text.replace(",", " ").split()]
    for word in more or []:
        if words and stage_word(word):
            words.append(word)
        elif names:
            names.append(word)
        else:
            raise Refused(f"{word!r} belongs to no option; name one folder, then --stages or --datasets")
    return words, names


def _positive(option: str, value: float | None) -> float | None:
    from nightcrew.errors import Refused

    if value is not None and not value > 0:
        raise Refused(f"{option} must be above 0, not {value}")
    return value
