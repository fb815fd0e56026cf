"""From the headers of a file to the one :class:`FrameHeader` that every later step knows.

Pure: headers, path (for its name only), profile and site in, values out.  Nothing is guessed silently: what had to be
assumed, and what contradicted itself, stands in ``notes``.
"""

from __future__ import annotations

from collections.abc import Sequence

from nightcrew.errors import RejectedInput
from nightcrew.frames.electronics import electronics_of
from nightcrew.frames.geometry import geometry_of
from nightcrew.frames.kinds import Kind, bias_removed, kind_of, not_raw, own_product
from nightcrew.frames.layout import image_of, spectral_axis
from nightcrew.frames.lookup import Lookup
from nightcrew.frames.measures import exposure_of, temperatures_of
from nightcrew.frames.model import FrameHeader
from nightcrew.frames.pointing import airmass_of, position_of
from nightcrew.frames.profiles import KeywordList, Profile
from nightcrew.frames.site import Site
from nightcrew.frames.text import clean_text, slug
from nightcrew.frames.times import start_of
from nightcrew.io.headers import Hdu

_WITHOUT_FILTER = ("bias", "dark", "thermal")
_LONGEST_BIAS_S = 1.0


def normalise(hdus: Sequence[Hdu], path: str, profile: Profile, site: Site, instrument: str | None) -> FrameHeader:
    """The normalised header of the frame that the file holds.

    ``path`` is used for its name and the name of its folder alone.  ``instrument`` names the instrument; None takes the
    profile's name for it, else the camera's.  Raises :class:`RejectedInput` with the cause when the file holds no single
    image, or values that no frame can have.  A kind of ``other`` has its cause in ``other_reason``.
    """
    headers = tuple(hdus)
    if not headers:
        raise RejectedInput("the file has no header")
    image = image_of(headers, profile.layout.extension)
    lookup = Lookup.of(headers, image)
    kind = _kind(lookup, profile, path, image)
    exposure_s = exposure_of(lookup, profile, path)
    _check_exposure(lookup, kind, exposure_s)
    start = start_of(lookup, profile, site, exposure_s)
    temperature_c, set_temperature_c = temperatures_of(lookup, profile)
    geometry = geometry_of(lookup, profile, image.shape)
    electronics = electronics_of(lookup, profile, image)
    keywords = profile.keywords
    camera = " ".join(filter(None, (_text(lookup, keywords.camera), _text(lookup, keywords.serial))))
    ra_deg, dec_deg = position_of(lookup, profile)
    return FrameHeader(
        kind=kind.kind,
        other_reason=kind.reason,
        instrument=slug(instrument or profile.instrument or camera) or profile.name,
        profile=profile.name,
        camera=camera,
        detector=_text(lookup, keywords.detector),
        nx=geometry.nx,
        ny=geometry.ny,
        hdu=image.index,
        window_x0=geometry.window[0],
        window_y0=geometry.window[1],
        binning_x=geometry.binning[0],
        binning_y=geometry.binning[1],
        gain_setting=electronics.gain_setting,
        offset_setting=electronics.offset_setting,
        readout_mode=_text(lookup, keywords.readout_mode),
        exposure_s=exposure_s,
        temperature_c=temperature_c,
        set_temperature_c=set_temperature_c,
        filter=_filter(lookup, profile, kind),
        target=_text(lookup, keywords.target) if kind.kind in ("light", "other") else "",
        time_utc=start.time_utc,
        time_is_date_only=start.date_only,
        night=start.night,
        sequence=_text(lookup, keywords.sequence),
        gain_e_per_adu=electronics.gain_e_per_adu,
        read_noise_e=electronics.read_noise_e,
        saturation_adu=electronics.saturation_adu,
        trim=geometry.trim,
        overscan=geometry.overscan,
        bayer=electronics.bayer,
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        airmass=airmass_of(lookup, profile),
        bias_subtracted=bias_removed(lookup, profile),
        notes=_notes(lookup, profile),
    )


def _kind(lookup: Lookup, profile: Profile, path: str, image: Hdu) -> Kind:
    """The kind; spectra and frames that are no longer raw are ``other``, whatever the header calls them."""
    if ours := own_product(lookup):
        return Kind("other", ours)
    kind = kind_of(lookup, profile, path)
    if kind.kind == "other":
        return kind
    if axis := spectral_axis(image):
        return Kind("other", f"{axis}: the image is a spectrum")
    reason = not_raw(lookup, profile)
    return Kind("other", reason) if reason else kind


def _check_exposure(lookup: Lookup, kind: Kind, exposure_s: float | None) -> None:
    if exposure_s is None:
        if kind.kind in ("dark", "thermal"):
            raise RejectedInput(f"a {kind.kind} frame without a usable exposure time in its header{_detail(lookup)}")
        if kind.kind in ("light", "flat"):
            lookup.note("no usable exposure time in the header")
    elif kind.kind == "bias" and exposure_s > _LONGEST_BIAS_S:
        lookup.note(f"a bias frame with an exposure of {exposure_s:g} s")


def _detail(lookup: Lookup) -> str:
    """What was wrong with the exposure, when a card was there."""
    told = [note for note in lookup.notes if "exposure" in note and note.endswith("ignored")]
    return f" ({told[0]})" if told else ""


def _filter(lookup: Lookup, profile: Profile, kind: Kind) -> str:
    """The filter's name; none for frames that no light reached, whatever stood in the wheel."""
    if kind.kind in _WITHOUT_FILTER:
        return ""
    name = _text(lookup, profile.keywords.filter)
    if not name and kind.kind in ("light", "flat"):
        lookup.note("no filter in the header")
    return profile.values.filter.get(name, name)


def _text(lookup: Lookup, keywords: KeywordList) -> str:
    """The first value that is more than blanks and control characters, as clean text."""
    for found in lookup.all(keywords):
        if text := clean_text(found.value):
            return text
    return ""


def _notes(lookup: Lookup, profile: Profile) -> tuple[str, ...]:
    """The notes, with a word on keywords that stand twice where it may matter."""
    repeated = {key for hdu in lookup.headers for key in hdu.duplicates}
    if repeated:
        used = sorted(repeated & profile.used_keywords)
        if used:
            lookup.note(f"{', '.join(used[:5])} stand{'s' if len(used) == 1 else ''} more than once in the header: the first counts")
    return tuple(lookup.notes)
