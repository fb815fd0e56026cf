"""A photon table in a few lines."""

from __future__ import annotations

from typing import Any

import numpy as np

from nightcrew.mkid import flags as f
from nightcrew.mkid.photon_table import PhotonTable


def describe(table: PhotonTable) -> dict[str, Any]:
    """Plain values: size, counts by pixel, flags, attributes, inputs and the report of losses."""
    report = table.report
    counts, duration_s, seen_s = table.counts(), (table.stop_us - table.start_us) / 1e6, table.live_s
    rate_cps = np.where(table.seen_s > 0, counts / np.where(table.seen_s > 0, table.seen_s, 1.0), 0.0)
    lit = rate_cps[counts > 0]
    brightest = np.unravel_index(int(rate_cps.argmax()), counts.shape)
    return {
        "photons": table.n_photons,
        "columns": table.shape[1],
        "rows": table.shape[0],
        "duration_s": duration_s,
        "seen_s": seen_s,
        "pixels_lit": int(lit.size),
        "median_cps_of_lit": float(np.median(lit)) if lit.size and seen_s > 0 else None,
        "brightest": {"x": int(brightest[1]), "y": int(brightest[0]), "cps": float(rate_cps.max()) if seen_s > 0 else None},
        "flags": {name: int(np.count_nonzero(table.flag & np.uint32(f.bit(name)))) for name in f.FLAGS},
        "attributes": table.attributes,
        "files": len(table.inputs),
        "words": report.pop("words"),
        "report": report,
    }
