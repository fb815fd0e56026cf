"""The quick look served to this machine: the page, and exact answers for pixels from the photons themselves."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from nightcrew.errors import NightcrewError, Refused
from nightcrew.mkid.calibrated import CalibratedTable
from nightcrew.mkid.image import window_us
from nightcrew.mkid.lightcurve_files import samples
from nightcrew.mkid.quicklook import histograms
from nightcrew.mkid.speckle import SpeckleRules
from nightcrew.mkid.speckle_binned import fit_counts

_LONGEST_ANSWER = 4096  # steps of a stream; longer ones are added up
_LONGEST_QUERY = 400
_MOST_BINS = 1 << 20
_MOST_PHOTONS = 1 << 22
_MOST_FITTED = 1024  # photons in a step: the work of a fit grows with them
_LONGEST_WAIT_S = 10.0  # for the answers that others wait for
_SOCKET_S = 30.0


def pixel_answer(table: CalibratedTable, wanted: Mapping[str, str]) -> dict[str, Any]:
    """Stream, histogram and fit of one pixel: ``x``, ``y``, and ``start``, ``stop`` and ``step`` in seconds; ``Refused`` for nonsense.

    A step in which the pixel was not read out all the time counts nowhere, and is null in the stream; ``read_s`` is that of the others.
    """
    x, y = (_number(wanted, name, 0, limit - 1) for name, limit in (("x", table.shape[1]), ("y", table.shape[0])))
    window = window_us(table, wanted.get("start", ""), wanted.get("stop", ""))
    step_us = round(_number(wanted, "step", 1e-6, 1e5) * 1e6)
    if (window[1] - window[0]) // step_us > _MOST_BINS:
        raise Refused(f"steps of {step_us / 1e6} s are too many for this window")
    pixel = int(y) * table.shape[1] + int(x)
    photons = int(table.table.counts(*window).ravel()[pixel])
    if photons > _MOST_PHOTONS:
        raise Refused(f"{photons} photons are too many for an answer, which takes up to {_MOST_PHOTONS}: take a shorter window")
    counts = samples(table, pixel, window, step_us)
    seen = counts[counts >= 0]
    per = max(-(-counts.size // _LONGEST_ANSWER), 1)
    begins = np.arange(0, counts.size, per)
    shown, unread = np.add.reduceat(np.maximum(counts, 0), begins), np.add.reduceat(counts < 0, begins, dtype=np.int64) > 0
    edges_s = np.minimum(np.arange(shown.size + 1) * per, counts.size) * (step_us / 1e6) + window[0] / 1e6
    fitted, words = _fit(counts, step_us)
    cells, width, moments = histograms(counts[None])
    return {
        "pixel": pixel,
        "photons": int(seen.sum()),
        "start_s": window[0] / 1e6,
        "stop_s": window[1] / 1e6,
        "step_s": per * step_us / 1e6,
        "edges_s": edges_s.tolist(),
        "counts": [None if lost else count for count, lost in zip(shown.tolist(), unread.tolist(), strict=True)],
        "read_s": seen.size * step_us / 1e6,
        "histogram": cells[0].tolist(),
        "histogram_width": int(width[0]),
        "moments": moments[0].tolist() if seen.size else None,
        "rician": fitted,
        "words": words,
    }


def _number(wanted: Mapping[str, str], name: str, low: float, high: float) -> float:
    try:
        value = float(wanted.get(name, ""))
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise Refused(f"{name} has to be a number from {low:g} to {high:g}")
    return value


def _fit(counts: np.ndarray[tuple[int, ...], np.dtype[np.int32]], step_us: int) -> tuple[list[float] | None, str]:
    if int(counts.max(initial=0)) > _MOST_FITTED:
        return None, f"no fit: a step holds more than {_MOST_FITTED} photons, take shorter ones"
    rules = SpeckleRules(bin_s=step_us / 1e6, errors="curvature", correct_bin=False)
    fits = fit_counts(counts[None], rules)
    ic, is_, _ = (fits.parameters_cps[0] * rules.bin_s).tolist()
    ic_error, is_error, _ = (fits.errors_cps[0] * rules.bin_s).tolist()
    if not math.isfinite(ic):
        return None, "too few photons for a fit"
    said = [
        f"{name} {value:.4g}" + (f" +- {error:.2g}" if math.isfinite(error) else " (at its bound)")
        for name, value, error in (("Ic", ic, ic_error), ("Is", is_, is_error))
    ]
    return [ic, is_], f"{' and '.join(said)} counts a bin"


class QuickLookServer(ThreadingHTTPServer):
    """Listens on loopback alone; answers ``/`` and ``/pixel``."""

    daemon_threads = True

    def __init__(self, page: str, table: CalibratedTable, port: int = 0) -> None:
        self.page, self.table = page.encode(), table
        self.reading = threading.Lock()  # HDF5 is not for several threads at once
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    server: QuickLookServer
    server_version, sys_version = "quicklook", ""
    timeout = _SOCKET_S

    def do_GET(self) -> None:
        """The page, an answer, or nothing."""
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        from_elsewhere = self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        if from_elsewhere or host not in ("127.0.0.1", "localhost"):  # another page or name led here: not this page by itself
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"")
            return
        asked = urlsplit(self.path)
        if asked.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)
        elif asked.path == "/pixel" and len(asked.query) <= _LONGEST_QUERY:
            self._answer({name: values[0] for name, values in parse_qs(asked.query).items()})
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"")

    def _answer(self, wanted: Mapping[str, str]) -> None:
        if not self.server.reading.acquire(timeout=_LONGEST_WAIT_S):
            found, status = {"problem": "busy with other answers: ask again"}, HTTPStatus.SERVICE_UNAVAILABLE
        else:
            try:
                found, status = pixel_answer(self.server.table, wanted), HTTPStatus.OK
            except NightcrewError as error:
                found, status = {"problem": str(error)}, HTTPStatus.BAD_REQUEST
            finally:
                self.server.reading.release()
        self._send(status, "application/json", json.dumps(found, allow_nan=False).encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
            ("X-Frame-Options", "DENY"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def serve_quicklook(page: str, table: CalibratedTable, port: int, tell: Callable[[str], None]) -> None:
    """Serve until interrupted; ``tell`` is given the address.  ``Refused`` when the port is taken."""
    try:
        server = QuickLookServer(page, table, port)
    except OSError as error:
        raise Refused(f"port {port} cannot be listened on ({error.strerror})") from error
    tell(server.url)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return
    finally:
        server.server_close()
