"""What should exist of a laboratory set: the frames of each attempt as soon as it is whole, then one joint analysis when the set is quiet.

An attempt is whole when its configuration, its log and all frames that the log names are there; when nothing more comes it is taken
as it is, and what is missing is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nightcrew.errors import RejectedInput
from nightcrew.lab.attempts import CONFIG_NAMES, FITS_FOLDER, FRAMES_FOLDER
from nightcrew.lab.config import parse_config
from nightcrew.lab.logs import FRAME_LOGS, parse_log
from nightcrew.lab.names import tokens_of
from nightcrew.lab.raw import RawLayout, size_problem
from nightcrew.planning.sets import SetBuilder, SetFile

ATTEMPT, MODELS, KEY = "lab_attempt", "lab_models", "all"
LAYOUT = ("byte_order", "header_bytes", "shift_bits", "pad")
_LOGS = tuple(name.lower() for name in FRAME_LOGS)


@dataclass(slots=True)
class Found:
    """The files of one attempt; ``folder`` is its name below the set, "" for the set's own."""

    folder: str
    raws: list[SetFile] = field(default_factory=list)
    fits: list[SetFile] = field(default_factory=list)
    config: SetFile | None = None
    log: SetFile | None = None

    @property
    def files(self) -> list[SetFile]:
        """All of them."""
        return [*self.raws, *self.fits, *(file for file in (self.config, self.log) if file is not None)]


def keeps_copies(_file: SetFile) -> bool:
    """Every file counts: configurations are copied from attempt to attempt, and raw frames without a header may be equal."""
    return True


def attempt_folder(relative: str) -> str:
    """The attempt that a frame belongs to: its folder, or the folder above ``frames/`` and ``fits/``."""
    folder = relative.rpartition("/")[0]
    above, _, last = folder.rpartition("/")
    return above if last.lower() in (FRAMES_FOLDER, FITS_FOLDER) else folder


def attempts_of(files: list[SetFile]) -> dict[str, Found]:
    """Attempts of a set by their folders, in the order of their names."""
    found: dict[str, Found] = {}
    for file in files:
        if file.kind in ("raw", "fits") or file.relative.lower().endswith(".raw"):
            one = found.setdefault(attempt_folder(file.relative), Found(attempt_folder(file.relative)))
            (one.fits if file.kind == "fits" else one.raws).append(file)
    for folder, one in found.items():
        beside = {f.relative.rpartition("/")[2].lower(): f for f in files if f.relative.rpartition("/")[0] == folder}
        one.config = next((beside[name] for name in CONFIG_NAMES if name in beside), None)
        one.log = next((beside[name] for name in _LOGS if name in beside), None)
    return dict(sorted(found.items()))


def lacks(builder: SetBuilder, one: Found) -> str:
    """What an attempt with raws still waits for; "" when it is whole."""
    if one.config is None:
        return "waits for its configuration (configFile.txt)"
    if one.log is None:
        return "waits for its log"
    try:
        named = set(parse_log(builder.text(one.log)).by_frame)
    except RejectedInput as error:
        return f"waits for a log that can be read: {error}"
    there = {tokens_of(file.relative.rpartition("/")[2]).frame for file in one.raws}
    missing = sorted(named - {number for number in there if number is not None})
    return f"waits for {len(missing)} frames that its log names (first: {missing[0]})" if missing else ""


def wrong_sizes(builder: SetBuilder, one: Found, layout: Mapping[str, object]) -> dict[SetFile, str]:
    """Raws whose size does not fit the configuration, unless they are to be padded; none where there is no usable configuration.

    A configuration that cannot be used is the fault of all frames that need it.
    """
    if one.config is None:
        return {}
    try:
        config = parse_config(builder.text(one.config), one.config.relative)
    except RejectedInput as error:
        builder.reject([one.config], str(error))
        return dict.fromkeys(one.raws, f"its configuration cannot be used: {error}")
    if layout.get("pad"):
        return {}
    how = RawLayout(header_bytes=int(str(layout.get("header_bytes", 0))))
    return {file: problem for file in one.raws if (problem := size_problem(file.size, config, how))}


def plan(builder: SetBuilder) -> None:
    """Attempts one by one, then the models of all of them."""
    files = list(builder.snapshot.files)
    attempts = attempts_of(files)
    taken = {file.id for one in attempts.values() for file in one.files}
    builder.set_aside([file for file in files if file.id not in taken], "a note or a log of the campaign beside its frames")
    quiet = builder.quiet()
    values = builder.parameters.values
    layout = {name: values[name] for name in LAYOUT if name in values}
    made = []
    for folder, one in attempts.items():
        waits = lacks(builder, one) if one.raws else ""
        if waits and not quiet:
            builder.wait(one.files, waits)
            continue
        if one.raws:
            facts = {"folder": folder, "lacking": waits}
            wrong = wrong_sizes(builder, one, layout)
            for file, problem in wrong.items():
                builder.reject([file], problem)
            one.raws = [file for file in one.raws if file not in wrong]
        if one.raws:
            key = "frames/" if folder == "frames" else folder or "frames"  # no folder's name ends so: two attempts, two keys
            made.append(builder.add(ATTEMPT, key, files=one.files, parameters=layout, facts=facts))
    # FITS beside raws may be those that an attempt uses instead of them: its unit reads their headers and decides.
    loose = [file for one in attempts.values() for file in one.fits]
    notes = [f for one in attempts.values() if not one.raws for f in one.files if f.kind != "fits" and f.id not in builder.rejected]
    builder.set_aside(notes, "a note beside frames that are converted already, or cannot be used")
    if not quiet:
        builder.wait([file for file in loose if not attempts[attempt_folder(file.relative)].raws], "waits until no more frames come")
        return
    usable = [product.fingerprint for product in made if product.status != "failed"]
    if usable or loose:
        rest = {name: value for name, value in values.items() if name not in LAYOUT}
        builder.add(MODELS, KEY, files=loose, products=usable, parameters=rest)
