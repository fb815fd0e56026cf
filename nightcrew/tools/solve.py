"""Copies of frames with a plate solution in their header; the frames themselves are never touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightcrew.astrometry.cards import cards_of, facts_of
from nightcrew.astrometry.hints import Hint, hint_of
from nightcrew.astrometry.program import Solver
from nightcrew.astrometry.solve import Solution, solve
from nightcrew.astrometry.sources import sources_of
from nightcrew.errors import NightcrewError, Refused, RejectedInput
from nightcrew.frames.geometry import geometry_of
from nightcrew.frames.lookup import Lookup
from nightcrew.frames.pointing import position_of
from nightcrew.frames.profiles import load_profiles
from nightcrew.frames.wcs import ANY_CARD, sky_of
from nightcrew.io.headers import Hdu, HeaderValue, choose_image, read_hdus
from nightcrew.tools.frame import read_frame, with_cards
from nightcrew.tools.tables import SmallTable
from nightcrew.tools.writing import check_output, write_frame

COLUMNS = ("FileName", "ra_deg", "dec_deg", "arcsec_per_px", "matched", "rms_arcsec", "how")
_COMPRESSED = (".gz", ".fz", ".bz2", ".Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is asked: a folder for the copies, what is known beforehand (None: the header's), ``again`` for frames that have a WCS."""

    folder: Path
    scale_low: float | None = None
    scale_high: float | None = None
    ra_deg: float | None = None
    dec_deg: float | None = None
    radius_deg: float = 5.0
    extension: int | str | None = None
    again: bool = False


def solve_copies(
    paths: Sequence[Path], wanted: Wanted, solver: Solver, *, complain: Callable[[str], None], tell: Callable[[str], None]
) -> SmallTable:
    """Solve each frame and write its copy; one that cannot be solved is told to ``complain`` with the reason and has no row."""
    rows: list[tuple[str | float, ...]] = []
    for path in paths:
        try:
            rows.append(_solved(path, wanted, solver, tell))
        except NightcrewError as error:
            text = str(error)
            complain(text if path.name in text else f"{path}: {text}")
    return SmallTable(COLUMNS, tuple(rows))


def _solved(path: Path, wanted: Wanted, solver: Solver, tell: Callable[[str], None]) -> tuple[str | float, ...]:
    copy = _copy_of(path, wanted.folder)
    hdus = read_hdus(path)
    image = choose_image(hdus, extension=wanted.extension)
    if not wanted.again and sky_of(image).valid:
        raise RejectedInput("its header has a valid WCS already (--again solves it all the same)")
    frame = read_frame(path, wanted.extension)
    stars = sources_of(frame.operand.pixels, frame.operand.mask)
    tell(f"{path}: {len(stars)} stars")
    found = solve(stars, (frame.shape[0], frame.shape[1]), _hint(hdus, image, frame.cards, wanted), solver)
    if not isinstance(found, Solution):
        raise RejectedInput(f"no plate solution: {found.reason}")
    stale = {key for key in frame.cards if ANY_CARD.fullmatch(key) or key.startswith("NCWCS")}
    header = with_cards(with_cards(frame.header, [], stale), cards_of(facts_of(found)))
    write_frame(copy, frame.operand, header, unit=frame.unit)
    place = (round(found.ra_deg, 6), round(found.dec_deg, 6), round(found.scale_arcsec_per_px, 5))
    return (str(copy), *place, found.matched, round(found.rms_arcsec, 3), found.how)


def _copy_of(path: Path, folder: Path) -> Path:
    if folder.resolve() == path.parent.resolve():
        raise Refused(f"{folder} is the folder of {path.name} itself: name another with -o, nothing is written beside frames")
    name = path.name
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    copy = folder / name
    check_output(copy)
    return copy


def _hint(hdus: Sequence[Hdu], image: Hdu, cards: Mapping[str, HeaderValue], wanted: Wanted) -> Hint:
    """What is known of a frame beforehand: what was asked for, else what its header says."""
    lookup, profile = Lookup.of(tuple(hdus), image), load_profiles(None)["generic"]
    asked = wanted.ra_deg is not None or wanted.dec_deg is not None
    ra_deg, dec_deg = (wanted.ra_deg, wanted.dec_deg) if asked else position_of(lookup, profile)
    return hint_of(
        cards,
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        radius_deg=wanted.radius_deg,
        scale_low=wanted.scale_low,
        scale_high=wanted.scale_high,
        binning=max(geometry_of(lookup, profile, image.shape).binning),
    )
