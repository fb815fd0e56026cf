"""What frames were taken with: a detector model serves only frames of the camera and settings that it was measured with.

Bias and dark signal depend on the camera, its gain, black level and readout mode, on binning and window, and on how the words of 12 bits
are stored.  Nothing is assumed equal: a value that only one side states is a difference, until somebody states it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache

from nightcrew.frames.electronics import electronics_of
from nightcrew.frames.geometry import geometry_of
from nightcrew.frames.lookup import Lookup
from nightcrew.frames.model import FrameHeader
from nightcrew.frames.profiles import KeywordList, Profile, choose_profile, load_profiles
from nightcrew.frames.text import clean_text
from nightcrew.io.headers import Hdu

_WORDS = {
    "camera": "camera",
    "detector": "detector",
    "gain_setting": "gain setting",
    "offset_setting": "offset setting",
    "readout_mode": "readout mode",
    "binning": "binning",
    "window": "window",
    "shift_bits": "shift of the stored bits",
}

_SHORT = {"gain_setting": "gain", "offset_setting": "offset", "binning": "bin", "window": "at", "shift_bits": "shift"}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SetUp:
    """Texts that must be equal; "" where nothing states the value.

    ``binning`` as ``2x2``, ``window`` as ``+x0+y0`` (0-based, binned pixels); ``shift_bits``: bits that the samples were shifted down by.
    """

    camera: str = ""
    detector: str = ""
    gain_setting: str = ""
    offset_setting: str = ""
    readout_mode: str = ""
    binning: str = "1x1"
    window: str = "+0+0"
    shift_bits: str = "0"

    def as_dict(self) -> dict[str, str]:
        """Plain values."""
        return asdict(self)


def set_up_of_header(header: FrameHeader) -> SetUp:
    """Set-up of a frame of a night, whose samples are as the camera stored them."""
    return SetUp(
        camera=header.camera,
        detector=header.detector,
        gain_setting=header.gain_setting,
        offset_setting=header.offset_setting,
        readout_mode=header.readout_mode,
        binning=f"{header.binning_x}x{header.binning_y}",
        window=f"+{header.window_x0}+{header.window_y0}",
    )


def set_up_of_cards(hdu: Hdu, shape: tuple[int, ...]) -> SetUp:
    """Set-up of a laboratory frame by its header, read as that of a night's frame is: by the profile that fits the header."""
    profile = choose_profile((hdu,), _profiles(), None)
    lookup = Lookup.of((hdu,), hdu)
    keywords = profile.keywords
    electronics, geometry = electronics_of(lookup, profile, hdu), geometry_of(lookup, profile, shape)
    shift = hdu.cards.get("BITSHIFT")
    return SetUp(
        camera=" ".join(filter(None, (_text(lookup, keywords.camera), _text(lookup, keywords.serial)))),
        detector=_text(lookup, keywords.detector),
        gain_setting=electronics.gain_setting,
        offset_setting=electronics.offset_setting,
        readout_mode=_text(lookup, keywords.readout_mode),
        binning=f"{geometry.binning[0]}x{geometry.binning[1]}",
        window=f"+{geometry.window[0]}+{geometry.window[1]}",
        shift_bits=str(shift) if isinstance(shift, int) and not isinstance(shift, bool) else "0",
    )


@lru_cache(maxsize=1)
def _profiles() -> Mapping[str, Profile]:
    return load_profiles(None)


def _text(lookup: Lookup, keywords: KeywordList) -> str:
    return next((text for found in lookup.all(keywords) if (text := clean_text(found.value))), "")


def differs(model: Mapping[str, str], frame: SetUp, stated: Mapping[str, str]) -> str:
    """Why a model of the set-up ``model`` cannot serve a frame; "" when everything is equal.

    ``stated``: what a person says of the laboratory's frames (the profile's ``laboratory_setup``); it wins over what they say themselves.
    """
    for field in fields(SetUp):
        theirs, ours = str(stated.get(field.name, model.get(field.name, ""))), str(getattr(frame, field.name))
        if theirs == ours:
            continue
        word = _WORDS[field.name]
        if not theirs:
            return f"its frames do not state their {word}, the light has {ours!r} (laboratory_setup in the camera's profile can state it)"
        if not ours:
            return f"the light does not state its {word}, the model's frames have {theirs!r} (laboratory_setup in the camera's profile)"
        return f"{word} differs: the light has {ours!r}, the model's frames {theirs!r}"
    return ""


def not_compared(model: Mapping[str, str], frame: SetUp, stated: Mapping[str, str]) -> str:
    """A sentence when neither side states its camera or its gain setting: two empty values are equal, and prove nothing; else ""."""
    unsaid = [name for name in ("camera", "gain_setting") if not (stated.get(name, model.get(name, "")) or getattr(frame, name))]
    if not unsaid:
        return ""
    return f"{' and '.join(_WORDS[name] for name in unsaid)}: stated neither by the frame nor by the model's frames, so not compared"


def short_names(set_ups: Iterable[SetUp]) -> dict[SetUp, str]:
    """A short word for each of several set-ups, of what differs between them; "" for a single one."""
    distinct = sorted(set(set_ups))
    changing = [field.name for field in fields(SetUp) if len({getattr(one, field.name) for one in distinct}) > 1]
    return {one: "-".join(f"{_SHORT.get(name, '')}{getattr(one, name) or 'none'}" for name in changing) for one in distinct}
