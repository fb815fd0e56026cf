"""From readout files to a photon table."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nightcrew.errors import RejectedInput
from nightcrew.io.atomic import PART_PREFIX, explain, write_new
from nightcrew.mkid.beam_map import BeamMap
from nightcrew.mkid.packets import Photons
from nightcrew.mkid.stream import Account, PhotonStream
from nightcrew.mkid.table_writer import Attribute, TableHead, write_table
from nightcrew.mkid.unheard import find_unheard, silences_of, unheard_in_words

_PIECE = 1 << 22


@dataclass(frozen=True)
class Converted:
    """A table that was written, and what is to be said about it."""

    path: Path
    n_photons: int
    start_us: int
    stop_us: int
    account: Account
    report: Mapping[str, object]  # as it stands in the table


def report_of(beam_map: BeamMap, account: Account) -> dict[str, object]:
    """What a table says of itself, for JSON: the account of its files, and everything a person should know in ``sentences``."""
    found = find_unheard(beam_map, account)
    return {
        **account.plain(),
        "placed_pixels": int((beam_map.resid > 0).sum()),
        "unheard_pixels": int(found.pixels.sum()),
        "untold_pixels": int(found.untold.sum()),
        "sentences": [*beam_map.sentences(), *unheard_in_words(beam_map, account), *account.sentences()],
    }


def convert_window(
    files: Mapping[int, Path],
    beam_map: BeamMap,
    start_us: int,
    stop_us: int,
    out: Path,
    *,
    data_path: str = "",
    exposure: Mapping[str, Attribute] | None = None,
    expected: tuple[int, int] | None = None,
    work: Path | None = None,
) -> Converted:
    """Write the photons of ``[start_us, stop_us)`` (Unix microseconds) as the table ``out``; memory does not grow with the window.

    ``expected`` are the seconds that should have a file (half-open), those of the window when None.  With ``work``, a folder that may lie
    on another file system, the table is built there and then copied: a table is written in many small pieces.

    Raises :class:`RejectedInput` when not a single frame of the window can be read (then nothing is written), and the errors of
    :class:`~nightcrew.mkid.stream.PhotonStream` and :func:`~nightcrew.mkid.table_writer.write_table`.
    """
    stream = PhotonStream(files, beam_map.shape, start_us, stop_us, expected=expected)
    head = TableHead(start_us=start_us, stop_us=stop_us, beam_map=beam_map, data_path=data_path, exposure=exposure or {})
    account = stream.account
    place = out if work is None else work / f"{PART_PREFIX}{secrets.token_hex(8)}-{out.name}"
    n_photons = write_table(
        place,
        head,
        _checked(stream),
        report=lambda: report_of(beam_map, account),
        silences=lambda: silences_of(beam_map, account, (start_us, stop_us)),
        inputs=lambda: [(one.second, one.size, one.sha256) for one in account.files],
        expected_per_s=stream.stored_bytes() / 8 / ((stop_us - start_us) / 1e6),
    )
    if work is not None:
        _bring(place, out)
    return Converted(out, n_photons, start_us, stop_us, account, report_of(beam_map, account))


def _bring(built: Path, out: Path) -> None:
    try:
        with built.open("rb") as source:
            write_new(out, lambda file: shutil.copyfileobj(source, file, _PIECE))
    except OSError as error:
        raise explain(error, out) from error
    finally:
        built.unlink(missing_ok=True)


def _checked(stream: PhotonStream) -> Iterator[Photons]:
    yield from stream.blocks()
    if not stream.account.files:
        reasons = "; ".join(one.reason for one in stream.account.rejected) or "there is no file of these seconds"
        raise RejectedInput(f"no table: {reasons}")
    if not stream.account.tally.frames:
        raise RejectedInput("no table: there is no frame in the files of these seconds")
