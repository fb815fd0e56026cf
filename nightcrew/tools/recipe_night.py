"""A folder of raw frames reduced by the GODO recipe: headers read, set-ups reduced, a summary written, all of it or nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightcrew.errors import Refused, RejectedInput
from nightcrew.frames.normalise import normalise
from nightcrew.frames.profiles import choose_profile, load_profiles
from nightcrew.frames.site import Site
from nightcrew.io.atomic import explain, make_folder, write_text
from nightcrew.io.headers import read_hdus
from nightcrew.tools.darkline import DarkLine
from nightcrew.tools.recipe import KINDS, NightFrame, SetUp, disagreements, set_ups
from nightcrew.tools.recipe_run import Options, Outcome, Reduction

Say = Callable[[str], None]


@dataclass(slots=True)
class NightResult:
    """What became of every file: products by set-up, and everything left out with its reason."""

    groups: list[SetUp]
    outcomes: list[Outcome]
    left_out: dict[str, str] = field(default_factory=dict)
    disagreements: list[str] = field(default_factory=list)

    @property
    def written(self) -> int:
        """Number of images made."""
        return sum(len(outcome.written) for outcome in self.outcomes)


def read_night(paths: Sequence[Path], profile: str, left_out: dict[str, str]) -> list[NightFrame]:
    """Normalised headers of ``paths``; files that are no frame of this recipe go to ``left_out`` with the reason."""
    profiles = load_profiles(None)
    frames = []
    for path in paths:
        try:
            hdus = read_hdus(path)
            header = normalise(hdus, str(path), choose_profile(hdus, profiles, profile or None), Site(), None)
        except RejectedInput as error:
            left_out[path.name] = str(error)
            continue
        if header.kind not in KINDS:
            left_out[path.name] = f"it is neither bias, dark, flat nor light ({header.other_reason or header.kind})"
        elif header.bias_subtracted:
            left_out[path.name] = "its bias was taken off already"
        else:
            frames.append(NightFrame(path, header))
    return frames


def reduce_night(
    paths: Sequence[Path], out: Path, options: Options, *, say: Say, profile: str = "", temperature_gap_c: float = 1.5
) -> NightResult:
    """Reduce ``paths`` into the new folder ``out``; with several set-ups each has a folder of its own in it.

    ``summary.json`` tells the dark line, the factors, what was left out and why.  :class:`Refused` when ``out`` exists,
    :class:`RejectedInput` when nothing could be made; then nothing is left behind.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refused(f"{out} exists already and is not empty: choose another folder with -o")
    left_out: dict[str, str] = {}
    frames = read_night(paths, profile, left_out)
    for name, reason in left_out.items():
        say(f"left out: {name}: {reason}")
    groups = set_ups(frames, temperature_gap_c=temperature_gap_c)
    told = disagreements(groups)
    for sentence in told:
        say(f"another set-up: {sentence}")
    with _whole_folder(out) as folder:
        outcomes = []
        for group in groups:
            say(group.describe())
            own = folder if len(groups) == 1 else folder / f"setup_{group.number}"
            own.mkdir(exist_ok=True)
            outcomes.append(Reduction(group, own, options, say).run())
            for remark in outcomes[-1].remarks:
                say(remark)
        result = NightResult(groups, outcomes, left_out, told)
        if not result.written:
            reasons = [*left_out.values(), *(reason for outcome in outcomes for reason in outcome.left_out.values())]
            raise RejectedInput(f"nothing could be made of {len(paths)} files: {reasons[0] if reasons else 'no frame is left'}")
        write_text(folder / "summary.json", summary(result, [path.name for path in paths]))
    return result


def summary(result: NightResult, inputs: Sequence[str]) -> str:
    """The run in the form that every summary of the project has."""
    quantities: list[dict[str, Any]] = []
    for group, outcome in zip(result.groups, result.outcomes, strict=True):
        where: dict[str, Any] = {"set_up": group.number}
        for point in outcome.points:
            here = {**where, "exposure_s": point["exposure_s"]}
            note = f"mean dark of {point['n_frames']} frames; error from pixel noise"
            quantities.append(_quantity("dark_counts", point["counts_adu"], point["noise_adu"], "adu", here, note))
        if outcome.line is not None:
            quantities += _line(outcome.line, where)
        for exposure_s, factor in sorted(outcome.factors.items()):
            quantities.append(
                _quantity("dark_scale_factor", factor, None, "", {**where, "exposure_s": exposure_s}, "of the longest mean dark")
            )
    left_out = dict(result.left_out)
    for outcome in result.outcomes:
        left_out |= outcome.left_out
    warnings = [f"{name} was left out: {reason}" for name, reason in sorted(left_out.items())]
    warnings += [f"another set-up: {sentence}" for sentence in result.disagreements]
    warnings += [remark for outcome in result.outcomes for remark in outcome.remarks]
    scaled = any(outcome.factors for outcome in result.outcomes)
    products = [
        name if len(result.groups) == 1 else f"setup_{group.number}/{name}"
        for group, outcome in zip(result.groups, result.outcomes, strict=True)
        for name in outcome.written
    ]
    content = {"format": 1, "recipe": "frames_recipe", "inputs": sorted(inputs), "grade": "C" if scaled else "A"}
    reason = "darks of some exposures are scaled" if scaled else "every dark has the exposure of its frames"
    return (
        json.dumps({**content, "grade_reason": reason, "quantities": quantities, "warnings": warnings, "products": products}, indent=1)
        + "\n"
    )


def _line(line: DarkLine, where: dict[str, Any]) -> list[dict[str, Any]]:
    """Offset and slope, each with the adopted error and both kinds beside it."""
    rows = []
    for name, value, errors, unit in (
        ("dark_offset", line.offset_adu, line.offset_errors, "adu"),
        ("dark_slope", line.slope_adu_per_s, line.slope_errors, "adu / s"),
    ):
        note = "error: scatter of the points and their noise, added in squares"
        rows.append(_quantity(name, value, errors.adopted, unit, where, note))
        rows.append(_quantity(f"{name}_error_unit", errors.unit, None, unit, where, "formal error for points uncertain by 1 count each"))
        why = "formal error scaled by the residuals" if errors.scatter is not None else "two points have no residuals"
        rows.append(_quantity(f"{name}_error_scatter", errors.scatter, None, unit, where, why))
    return rows


def _quantity(name: str, value: float | None, error: float | None, unit: str, where: dict[str, Any], note: str) -> dict[str, Any]:
    return {"name": name, "value": value, "error": error, "unit": unit, "where": where, "note": note}


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """A hidden folder beside ``out`` that gets its name when everything in it is done, and vanishes otherwise."""
    try:
        make_folder(out.parent)
        folder = Path(tempfile.mkdtemp(prefix=".nightcrew-", suffix=".part", dir=out.parent))
    except OSError as error:
        raise explain(error, out) from error
    try:
        yield folder
        folder.chmod(0o755)
        folder.rename(out)
    except OSError as error:
        raise explain(error, out) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
