"""``nightcrew lab models`` and ``nightcrew lab synthesize``: detector models of a campaign, and frames made from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from deployments.cli.common import say
from deployments.cli.lab_words import DepthOption, VerboseOption, numbers_of, one_of

if TYPE_CHECKING:
    from nightcrew.lab.options import LabOptions


def models(
    roots: Annotated[list[Path], typer.Argument(help="Folders with attempts, raw or converted, or an index.csv.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything that is made.")],
    only: Annotated[
        list[str] | None, typer.Option("--only", help="bias, dark, flat, structure or degradation (may be repeated); without it all.")
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            help="With --only dark: full, synthetic_only, evaluation_only, evaluate_dark_current, fit_2d_model, evaluate_2d_model, "
            "synthetic_2d, synthetic_2d_single. With --only flat: full, full_no_vignetting, reduce_only, normalize_only, vignetting_only, "
            "make_master, fit_model, evaluate_model.",
        ),
    ] = "full",
    temps: Annotated[str, typer.Option("--temps", help="Temperatures of synthetic frames, as '15.0 20.0', C.")] = "",
    temp_single: Annotated[float, typer.Option("--temp-single", help="Of synthetic_2d_single, C.")] = 20.0,
    exptime_single: Annotated[float, typer.Option("--exptime-single", min=0, help="Of synthetic_2d_single, s.")] = 10.0,
    model_dir: Annotated[Path | None, typer.Option("--model-dir", help="Folder of a dark model that synthetic darks are made of.")] = None,
    bias_model: Annotated[Path | None, typer.Option("--bias-model", help="Folder of a bias model, instead of bias frames.")] = None,
    law: Annotated[str, typer.Option("--law", help="Of the dark rate: exponential or arrhenius.")] = "exponential",
    gamma: Annotated[bool, typer.Option("--gamma/--no-gamma", help="Look for a power of the exposure in the dark signal.")] = True,
    flat_type: Annotated[str, typer.Option("--flat-type", help="lab, sky (stars are masked) or satellite.")] = "lab",
    norm_method: Annotated[str, typer.Option("--norm-method", help="What flats are divided by: robust, mean or max.")] = "robust",
    master_method: Annotated[str, typer.Option("--master-method", help="Of master flats: median or mean.")] = "median",
    lensfun_json: Annotated[Path | None, typer.Option("--lensfun-json", help="Vignetting k1, k2, k3 of lensfun, applied.")] = None,
    radial_json: Annotated[Path | None, typer.Option("--radial-json", help="Radial polynomial with centre, applied.")] = None,
    empirical_json: Annotated[Path | None, typer.Option("--empirical-json", help="Table of r and response, applied.")] = None,
    t_ref: Annotated[float | None, typer.Option("--t-ref", help="Reference temperature, C; darks choose theirs, flats have 0.")] = None,
    exp_ref: Annotated[
        float | None, typer.Option("--exp-ref", min=0, help="Reference exposure, s; darks have the median, flats 0.")
    ] = None,
    dark_files_json: Annotated[Path | None, typer.Option("--dark-files-json", help="List of darks for the flats.")] = None,
    hot_pixel_mask: Annotated[Path | None, typer.Option("--hot-pixel-mask", help="FITS mask: pixels left out of the bias model.")] = None,
    reduce: Annotated[bool, typer.Option("--reduce/--no-reduce", help="Subtract darks before changes of flats are looked for.")] = True,
    save_eval_fits: Annotated[bool, typer.Option("--save-eval-fits", help="Write maps of the evaluation as FITS.")] = False,
    plots: Annotated[bool, typer.Option("--save-plots/--no-save-plots", help="Draw figures.")] = True,
    saturation: Annotated[
        float, typer.Option("--saturation", min=0, help="Stored value from which a pixel is saturated; 0: by the form of the numbers.")
    ] = 0.0,
    hot_sigma: Annotated[float, typer.Option("--hot-sigma", min=1, help="Hot: median rate + so many robust deviations.")] = 10.0,
    gap: Annotated[float, typer.Option("--gap", min=0, help="Temperatures are one where no gap is larger than this, K.")] = 0.5,
    search_depth: DepthOption = 6,
    verbose: VerboseOption = False,
) -> None:
    """Models of bias, dark and flats, new structures and degradation."""
    from deployments.cli.lab import finish
    from nightcrew.lab.options import PARTS, LabOptions
    from tasks.lab_flats import FlatInputs
    from tasks.lab_run import campaign, models_of

    wanted = [one_of(part, PARTS, "--only") for part in only or PARTS]
    dark_mode, flat_mode = _modes(mode, wanted)
    options = LabOptions(
        gap_k=gap,
        law=cast(Literal["exponential", "arrhenius"], one_of(law, ("exponential", "arrhenius"), "--law")),
        free_gamma=gamma,
        saturation_adu=saturation,
        hot_sigma=hot_sigma,
        t_ref=t_ref,
        exp_ref=exp_ref,
        temps=numbers_of(temps, "--temps"),
        temp_single=temp_single,
        exptime_single=exptime_single,
        save_eval_fits=save_eval_fits,
        save_plots=plots,
        flat_type=cast(Literal["sky", "lab", "satellite"], one_of(flat_type, ("lab", "sky", "satellite"), "--flat-type")),
        norm_method=cast(Literal["robust", "mean", "max"], one_of(norm_method, ("robust", "mean", "max"), "--norm-method")),
        master_method=cast(Literal["median", "mean"], one_of(master_method, ("median", "mean"), "--master-method")),
        reduce=reduce,
    )
    if model_dir is not None and dark_mode in ("synthetic_2d", "synthetic_2d_single"):
        _synthetic_from(model_dir, out, options, dark_mode)
        return
    inputs = FlatInputs(darks=dark_files_json, lensfun=lensfun_json, radial=radial_json, empirical=empirical_json)
    made = campaign(roots, out, search_depth=search_depth)
    models_of(
        made,
        out,
        options,
        only=wanted,
        dark_mode=dark_mode,
        flat_mode=flat_mode,
        inputs=inputs,
        hot_pixel_mask=hot_pixel_mask,
        bias_model=bias_model,
    )
    finish(made, out, verbose=verbose)


def _modes(mode: str, wanted: list[str]) -> tuple[str, str]:
    """Mode of the darks and of the flats; one that only darks or flats have needs no more than these."""
    from nightcrew.errors import Refused
    from nightcrew.lab.options import DARK_MODES, FLAT_MODES

    if mode == "full":
        return "full", "full"
    if mode in DARK_MODES and "dark" in wanted and "flat" not in wanted:
        return mode, "full"
    if mode in FLAT_MODES and "flat" in wanted and "dark" not in wanted:
        return "full", mode
    raise Refused(f"--mode {mode} goes with --only dark ({', '.join(DARK_MODES)}) or --only flat ({', '.join(FLAT_MODES)})")


def _synthetic_from(model_dir: Path, out: Path, options: LabOptions, mode: str) -> None:
    from tasks.lab_dark import dark_step

    made = dark_step([], None, out, options, mode=mode, models=model_dir)
    for warning in [*made.warnings, *made.notes]:
        say(f"warning: {warning}")
    say(f"wrote synthetic darks below {out}")


def synthesize(
    what: Annotated[str, typer.Argument(help="bias or dark.")],
    temperature: Annotated[float, typer.Option("--temperature", "-T", help="C.")],
    model: Annotated[Path, typer.Option("--model", "-m", help="Folder of the model, or of a campaign that holds it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File (.fits) or folder.")],
    exposure: Annotated[float | None, typer.Option("--exposure", "-t", min=0, help="s; darks need it.")] = None,
) -> None:
    """A synthetic bias or dark with its error, from a model.  Outside of what was measured: grade D and a warning."""
    from nightcrew.detector.model_files import load_bias, load_dark
    from nightcrew.errors import Refused
    from tasks.lab_bias import synthetic_bias
    from tasks.lab_dark import synthetic_dark

    if one_of(what, ("bias", "dark"), "WHAT") == "bias":
        found = _model_folder(model, "bias_model.json", ("", "bias_model", "bias/bias_model"))
        path = _target(out, f"synthetic_bias_{temperature:g}C.fits")
        outside = synthetic_bias(path, load_bias(found), temperature)
    else:
        if exposure is None:
            raise Refused("a synthetic dark needs --exposure")
        found = _model_folder(model, "dark_model.json", ("", "dark_model_2d", "dark/dark_model_2d"))
        path = _target(out, f"synthetic_2d_dark_T{temperature:g}_E{exposure:g}.fits")
        outside = synthetic_dark(path, load_dark(found), temperature, exposure)
    if outside:
        say(f"warning: {outside} (grade D)")
    say(f"wrote {path}")


def _target(out: Path, name: str) -> Path:
    return out if out.suffix.lower() in (".fits", ".fit") else out / name


def _model_folder(folder: Path, name: str, places: tuple[str, ...]) -> Path:
    from nightcrew.errors import Refused

    for place in places:
        if (folder / place / name).is_file():
            return folder / place
    raise Refused(f"{folder} holds no {name}, here or in {', '.join(filter(None, places))}")
