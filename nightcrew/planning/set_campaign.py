"""What should exist of an irradiation campaign: one analysis of all that has arrived, made anew whenever the set is quiet again.

So the page follows the campaign dose step by dose step: what arrives makes the analysis stale, and once nothing more comes for the folder's
``quiet_s`` it is made of everything there is.  Until then the last one stands.
"""

from __future__ import annotations

from nightcrew.planning.sets import SetBuilder, SetFile

RECIPE = "campaign_analysis"
KEY = "all"
_LOGS = ("radiationlog", "temperaturelog", "powerlog")


def is_frame(file: SetFile) -> bool:
    """A raw or a FITS frame."""
    return file.kind in ("fits", "raw")


def is_note(file: SetFile) -> bool:
    """A configuration or a log, on which the analysis depends."""
    name = file.relative.rpartition("/")[2].lower()
    return name in ("configfile.txt", "config.txt") or (name.endswith(".csv") and name.startswith(_LOGS))


def keeps_copies(file: SetFile) -> bool:
    """Configurations and logs are copied from folder to folder, raw frames without a header may be equal; a FITS file is one exposure."""
    return file.kind != "fits"


def plan(builder: SetBuilder) -> None:
    """Frames, configurations and logs go into one product; whatever else there is, is set aside."""
    used = [file for file in builder.snapshot.files if is_frame(file) or is_note(file)]
    chosen = {file.id for file in used}
    for file in builder.snapshot.files:
        if file.id not in chosen:
            builder.set_aside([file], "neither a frame nor a configuration nor a log of a campaign")
    if not any(is_frame(file) for file in used):
        builder.wait(used, "waits for the first frame")
        return
    if not builder.quiet():
        builder.wait(used, "waits until no more files come")
        return
    builder.add(RECIPE, KEY, files=used, parameters=dict(builder.parameters.values))
