"""The quick-look page: one HTML file with its data inside, which asks nothing of any network.

Everything that comes from files goes into a JSON block and is put on the page as text by the script, never as HTML.  The content
security policy lets run this one script, by its hash, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.io import atomic
from nightcrew.io.source import shown
from nightcrew.mkid.flags import PROBLEM
from nightcrew.mkid.live_time import joined
from nightcrew.mkid.quicklook import NOTES, QuickLook
from reports.text import visible

_HERE = Path(__file__).parent / "templates"
_KINDS = {"u1": np.uint8, "u2": np.uint16, "u4": np.uint32, "f4": np.float32}


def _packed(values: NDArray[Any], kind: str = "") -> dict[str, str]:
    """An array for the page: little-endian bytes, deflated, in base64; counts as narrow as they fit."""
    if not kind:
        top = int(values.max(initial=0))
        kind = "u1" if top < 1 << 8 else "u2" if top < 1 << 16 else "u4"
    data = np.ascontiguousarray(values, dtype=np.dtype(_KINDS[kind]).newbyteorder("<")).tobytes()
    return {"kind": kind, "data": base64.b64encode(zlib.compress(data, 1)).decode("ascii")}


def page_data(look: QuickLook, *, live: bool = False) -> dict[str, Any]:
    """What the script is given; ``live`` where a server answers for pixels."""
    rows, columns = look.flag.shape
    return {
        "title": visible(look.title),
        "facts": [[visible(name), visible(value)] for name, value in look.facts if value],
        "rows": rows,
        "columns": columns,
        "steps": look.cube.shape[0],
        "colours": look.cube.shape[1],
        "streamSteps": look.stream.shape[1],
        "histogramSize": look.histogram.shape[1],
        "phaseBins": look.phase.shape[1],
        "phaseLow": float(look.phase_edges_deg[0]),
        "phaseHigh": float(look.phase_edges_deg[-1]),
        "stepSeconds": look.step_us / 1e6,
        "streamSeconds": look.stream_us / 1e6,
        "spanSeconds": look.span_us / 1e6,
        "edgesNm": [] if look.wavelengths is None else look.wavelengths.edges_nm.tolist(),
        "flags": [
            {"bit": bit, "name": name, "about": about, "kind": "problem" if name in PROBLEM else "note" if name in NOTES else "flag"}
            for bit, (name, about) in enumerate(look.flags_known.items())
        ],
        "live": live,
        "unread": _unread(look),
        "arrays": {
            "flag": _packed(look.flag, "u4"),
            "resid": _packed(look.resid, "u4"),
            "hot": _packed(look.hot, "u1"),
            "cube": _packed(look.cube),
            "stream": _packed(look.stream),
            "histogram": _packed(look.histogram),
            "width": _packed(look.histogram_width, "u4"),
            "moments": _packed(look.moments, "f4"),
            "phase": _packed(look.phase),
            "coefficients": _packed(look.coefficients, "f4"),
            "rician": _packed(look.rician_per_bin, "f4"),
            "reader": _packed(_readers(look)),
        },
    }


def _unread(look: QuickLook) -> list[list[list[float]]]:
    """Stretches in seconds in which pixels were not read out: those of all pixels, and for each board that was silent its own and those."""
    every = [look.lost, *(joined(look.lost, look.silences.of_board(board)) for board in look.silences.boards)]
    return [(joined(np.clip(one, 0, look.span_us)) / 1e6).tolist() for one in every]


def _readers(look: QuickLook) -> NDArray[np.uint32]:
    """For each pixel the place of its stretches in :func:`_unread`."""
    place = np.zeros(look.silences.board.size, dtype=np.uint32)
    for number, board in enumerate(look.silences.boards, 1):
        place[look.silences.board.ravel() == board] = number
    return place


def quicklook_html(look: QuickLook, *, live: bool = False) -> str:
    """The page, complete in itself; the same look gives the same text."""
    script, style, form = ((_HERE / f"mkid_quicklook.{kind}").read_text(encoding="utf-8") for kind in ("js", "css", "html"))
    data = json.dumps(page_data(look, live=live), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for mark in "<>&":
        data = data.replace(mark, f"\\u{ord(mark):04x}")
    digests = {
        name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for name, text in (("js", script), ("css", style))
    }
    ask = "'self'" if live else "'none'"
    policy = (
        f"default-src 'none'; script-src 'sha256-{digests['js']}'; style-src 'sha256-{digests['css']}'; "
        f"img-src data: blob:; connect-src {ask}; base-uri 'none'; form-action 'none'"
    )
    facts = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in look.facts if value)
    remarks = "".join(f"<li>{_text(remark)}</li>" for remark in look.remarks)
    body = form.format(
        title=_text(look.title),
        facts=facts,
        remarks=f'<ul class="remarks">{remarks}</ul>' if remarks else "",
        hot=_text(look.hot_rule),
        step=f"{look.step_us / 1e6:g}",
        bin=f"{look.bin_us / 1e6:g}",
        stop=f"{look.span_us / 1e6:g}",
    )
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">'
        f'<link rel="icon" href="data:,"><title>Quick look: {_text(look.title)}</title><style>{style}</style>'
    )
    end = f'<script type="application/json" id="data">{data}</script><script>{script}</script>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}{end}</body></html>\n'


def _text(value: str) -> str:
    return escape(visible(value))


def refuse_place(out: Path, inputs: Iterable[Path]) -> None:
    """``Refused`` where the page would take the place of what it was made from, or of anything that is no page."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise Refused(f"{shown(out)}: a page ends with .html")
    for one in inputs:
        if out.resolve() == one.resolve() or (out.exists() and one.exists() and out.samefile(one)):
            raise Refused(f"{shown(out)}: is what the page is made from")


def write_quicklook(look: QuickLook, out: Path, *, overwrite: bool = True) -> Path:
    """Write the page as one file; :func:`refuse_place` says where it may not be."""
    return atomic.write_text(out, quicklook_html(look), overwrite=overwrite, durable=False)
