"""What should exist of a sensor set: one characterisation of all its frames, once the set is quiet."""

from __future__ import annotations

from nightcrew.errors import Refused
from nightcrew.planning.sets import SetBuilder
from nightcrew.sensor.words import options_of

RECIPE = "sensor_characterisation"
KEY = "all"
_NOTES = frozenset({"txt", "log", "json", "csv", "md", "toml", "yaml", "yml", "pdf", "html", "xlsx"})


def plan(builder: SetBuilder) -> None:
    """Frames wait until nothing more comes, then go into one product; whatever is no frame is set aside.

    Which frames are of use is the unit's decision, since it reads their headers; it names those that it left out.
    """
    files = builder.snapshot.files
    frames = [file for file in files if file.kind == "fits"]
    for file in files:
        if file.kind != "fits":
            what = "a note beside the frames" if file.kind in _NOTES else "not a FITS file"
            builder.set_aside([file], f"{what}: a sensor is characterised from FITS frames")
    if not frames:
        return
    values = dict(builder.parameters.values)
    try:
        options_of(values)
    except Refused as error:
        builder.wait(frames, f"the configuration's table [sensor] cannot be used: {error}")
        return
    if not builder.quiet():
        builder.wait(frames, "waits until no more frames come")
        return
    builder.add(RECIPE, KEY, files=frames, parameters=values)
