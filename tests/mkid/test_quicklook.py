"""The arrays of a quick look are the photons of the table, and raw seconds need no table."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from deployments.cli.mkid import app
from nightcrew.errors import NightcrewError, Refused, RejectedInput
from nightcrew.mkid import quicklook, quicklook_raw
from nightcrew.mkid.calibrated import Calibrations, open_calibrated
from nightcrew.mkid.mask_solution import HOT, PixelMasks
from nightcrew.mkid.quicklook import histograms, hot_pixels, look_at_table, steps_of, with_masked
from nightcrew.mkid.quicklook_raw import look_at_seconds
from reports import mkid_quicklook_server
from reports.mkid_quicklook import page_data, quicklook_html
from reports.mkid_quicklook_server import QuickLookServer, pixel_answer
from tests.mkid.made_tables import START_US, beam_map, linear_solution, table
from tests.mkid.streams import make, write
from tests.mkid.test_image_cube import random_table

MAP = beam_map()
SECOND = 1_606_000_000


def test_the_arrays_are_the_photons(tmp_path: Path) -> None:
    with open_calibrated(random_table(tmp_path / "t.h5", 6, n=9000), Calibrations(wavelength=linear_solution(MAP, bad=[3]))) as opened:
        look = look_at_table(opened, "t", bin_s=0.05)
        photons = opened.photons()
    assert look.cube.sum() == look.stream.sum() == look.phase.sum() == 9000
    assert look.cube.shape == (10, 9, *MAP.shape)
    for step in (0, 6):
        inside = photons.time_us // 1_000_000 == step
        assert np.array_equal(look.cube[step].sum(axis=0).ravel(), np.bincount(photons.pixel[inside], minlength=20))
    assert look.cube[:, :-1, 0, 3].sum() == 0  # without a solution every photon is in the last colour
    assert np.isnan(look.coefficients[3]).all()
    edges = look.wavelengths.edges_nm if look.wavelengths else np.empty(0)
    wanted = (photons.pixel == 7) & (photons.wavelength_nm >= edges[2]) & (photons.wavelength_nm < edges[3])
    assert look.cube[:, 2, 1, 2].sum() == wanted.sum()
    assert look.histogram.sum(axis=1).tolist() == [180] * 20  # bins of 50 ms in nine seconds
    assert "1 second is missing." in look.remarks


def test_masked_pixels_show_what_they_counted(tmp_path: Path) -> None:
    """Otherwise there would be nothing to hide with the hot mask on, and nothing to see with it off."""
    bits = np.zeros((1, *MAP.shape), dtype=np.uint8)
    bits[0, 1, 2] = HOT
    masks = PixelMasks(edges_us=START_US + np.array([0, 10_000_000]), resid=MAP.resid, bits=bits)
    with open_calibrated(random_table(tmp_path / "t.h5", 6, n=9000), Calibrations(masks=masks)) as opened:
        look = look_at_table(opened, "t", bin_s=0.05)
        answer = pixel_answer(with_masked(opened), {"x": "2", "y": "1", "step": "1"})
    assert look.cube.sum() == 9000
    assert np.argwhere(look.hot).tolist() == [[1, 2]]
    assert answer["photons"] == look.stream[7].sum() - look.cube[7, :, 1, 2].sum() > 100  # of the missing second nobody knows
    kinds = {flag["name"]: flag["kind"] for flag in page_data(look)["flags"]}
    assert (kinds["pixcal.hot"], kinds["beammap.double"], kinds["wavecal.quadratic"]) == ("problem", "flag", "note")


@pytest.mark.parametrize(("span_us", "step_us"), [(1_000_000, 100_000), (10_000_000, 1_000_000), (61_000_000, 2_000_000), (5, 1)])
def test_there_are_sixty_steps_at_most(span_us: int, step_us: int) -> None:
    assert steps_of(span_us) == step_us


def test_raw_seconds_are_looked_at_without_a_table(tmp_path: Path) -> None:
    made = make(4, start_us=SECOND * 1_000_000, span_us=1_000_000, n_photons=20_000)
    write(tmp_path, made)
    look = look_at_seconds([tmp_path / f"{SECOND}.bin"], made.shape)
    rows = made.rows()
    assert np.array_equal(look.cube.sum(axis=(0, 1)).ravel(), np.bincount(rows[:, 1], minlength=look.flag.size))
    assert look.cube.shape[0] == 10
    assert dict(look.facts)["photons"] == "20000"
    with pytest.raises(Refused, match="one contiguous run"):
        look_at_seconds([], made.shape)
    (tmp_path / f"{SECOND + 9}.bin").write_bytes(b"no stream at all" * 4000)
    with pytest.raises(RejectedInput):
        look_at_seconds([tmp_path / f"{SECOND + 9}.bin"], made.shape)


def test_a_bright_pixel_among_dark_ones_is_hot() -> None:
    counts = np.random.default_rng(1).poisson(30, (20, 16))
    counts[4, 7] = 900
    assert np.argwhere(hot_pixels(counts)).tolist() == [[4, 7]]
    assert not hot_pixels(np.zeros((4, 4), dtype=int)).any()


def test_the_page_holds_no_markup_from_files(tmp_path: Path) -> None:
    bad = "</script><img src=x onerror=alert(1)>"
    path = table(tmp_path / "t.h5", MAP, [0, 1], [1, 2], exposure={"exposure": bad, "type": "<b>"})
    with open_calibrated(path, []) as opened:
        page = quicklook_html(look_at_table(opened, bad))
        assert page == quicklook_html(look_at_table(opened, bad))
    assert "<img" not in page
    assert page.count("</script>") == 2
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page)[0])
    assert data["title"] == bad
    assert ["exposure", bad] in data["facts"]
    assert "http" not in page.replace("http-equiv", "")


def ask(url: str, host: str | None = None, other: dict[str, str] | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers={**(other or {}), **({} if host is None else {"Host": host})})  # noqa: S310  our own server
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  our own server
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def test_the_server_answers_this_machine_exactly(tmp_path: Path) -> None:
    with open_calibrated(random_table(tmp_path / "t.h5", 6), []) as opened:
        photons = opened.photons()
        server = QuickLookServer("<p>page</p>", opened)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            assert server.server_address[0] == "127.0.0.1"
            assert ask(server.url) == (200, b"<p>page</p>")
            status, body = ask(f"{server.url}pixel?x=2&y=1&start=1&stop=5&step=0.5")
            found = json.loads(body)
            inside = photons.time_us[(photons.pixel == 7) & (photons.time_us >= 1_000_000) & (photons.time_us < 5_000_000)]
            assert status == 200
            assert found["photons"] == inside.size
            assert found["counts"] == np.bincount((inside - 1_000_000) // 500_000, minlength=8).tolist()
            assert found["edges_s"][:2] == [1.0, 1.5]
            for query in ("x=9&y=1&step=1", "x=nan&y=1&step=1", "x=1&y=1", "x=1&y=1&step=1&start=no", "x=1&y=1&step=1e-6"):
                status, body = ask(f"{server.url}pixel?{query}")
                assert status == 400
                assert json.loads(body)["problem"]
            assert ask(f"{server.url}etc/passwd")[0] == 404
            assert ask(server.url, "evil.example:80")[0] == 403
        finally:
            server.shutdown()
            server.server_close()
            thread.join(10)


def test_bright_pixels_have_wider_cells_and_the_same_moments() -> None:
    """Nothing is added up in a last bar that looks like a peak."""
    counts = np.random.default_rng(2).poisson([[5.0], [300.0], [0.0]], (3, 400)).astype(np.int32)
    counts[0, :100] = -1
    bins, width, moments = histograms(counts)
    assert bins.sum(axis=1).tolist() == [300, 400, 400]
    assert width[0] == width[2] == 1
    assert width[1] * 48 > counts[1].max() >= (width[1] - 1) * 48
    for pixel in range(3):
        seen = counts[pixel][counts[pixel] >= 0]
        assert bins[pixel].tolist() == np.bincount(seen // width[pixel], minlength=48).tolist()
        assert moments[pixel] == pytest.approx([seen.mean(), seen.var()])
    assert np.isnan(histograms(np.full((1, 3), -1, np.int32))[2]).all()


def test_what_is_too_much_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(4, start_us=SECOND * 1_000_000, span_us=1_000_000, n_photons=5000)
    write(tmp_path, made)
    path = tmp_path / f"{SECOND}.bin"
    chunked = [look_at_seconds([path], made.shape, bin_s=bin_s) for bin_s in (0.01, 0.0005)]
    monkeypatch.setattr(quicklook_raw, "_CHUNK_BINS", 20_000)
    again = look_at_seconds([path], made.shape, bin_s=0.0005)
    assert np.array_equal(again.histogram, chunked[1].histogram)
    assert np.array_equal(again.cube, chunked[0].cube)
    monkeypatch.setattr(quicklook, "_MOST_BINS", 100_000)
    with pytest.raises(Refused, match="take longer ones"):
        look_at_seconds([path], made.shape, bin_s=1e-6)
    monkeypatch.setattr(quicklook_raw, "_MOST_WORDS", 1000)
    monkeypatch.setattr(quicklook_raw, "PhotonStream", None)  # it is never opened
    with pytest.raises(Refused, match="take fewer seconds"):
        look_at_seconds([path], made.shape)


def test_answers_have_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_calibrated(random_table(tmp_path / "t.h5", 6), []) as opened:
        asked = {"x": "2", "y": "1", "step": "1"}
        monkeypatch.setattr(mkid_quicklook_server, "_MOST_FITTED", 3)
        assert "no fit" in pixel_answer(opened, asked)["words"]
        monkeypatch.setattr(mkid_quicklook_server, "_MOST_PHOTONS", 10)
        with pytest.raises(Refused, match="shorter window"):
            pixel_answer(opened, asked)
        server = QuickLookServer("", opened)
        monkeypatch.setattr(mkid_quicklook_server, "_LONGEST_WAIT_S", 0.05)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            with server.reading:
                assert ask(f"{server.url}pixel?x=2&y=1&step=1")[0] == 503
            assert ask(server.url, other={"Sec-Fetch-Site": "cross-site"})[0] == 403
        finally:
            server.shutdown()
            server.server_close()
            thread.join(10)


def test_a_page_never_takes_the_place_of_its_photons(tmp_path: Path) -> None:
    path = random_table(tmp_path / "t.h5", 6)
    made = make(4, start_us=SECOND * 1_000_000, span_us=1_000_000, n_photons=500)
    write(tmp_path, made)
    second = tmp_path / f"{SECOND}.bin"
    (tmp_path / "link.html").symlink_to(path)
    before = path.read_bytes(), second.read_bytes()
    for source, out in ((path, path), (second, second), (path, second), (path, tmp_path / "link.html"), (second, tmp_path / "x.bin")):
        words = ["quicklook", str(source), "--size", f"{made.shape[1]}x{made.shape[0]}", "-o", str(out)]
        assert isinstance(CliRunner().invoke(app, words).exception, Refused)
    assert (path.read_bytes(), second.read_bytes()) == before
    assert (tmp_path / "link.html").is_symlink()


def test_the_command_looks_at_tables_and_seconds(tmp_path: Path) -> None:
    random_table(tmp_path / "t.h5", 6)
    made = make(4, start_us=SECOND * 1_000_000, span_us=1_000_000, n_photons=5000)
    write(tmp_path, made)
    out, binary = str(tmp_path / "q.html"), str(tmp_path / f"{SECOND}.bin")
    size = f"{made.shape[1]}x{made.shape[0]}"
    for words in ([str(tmp_path / "t.h5")], [binary, "--size", size]):
        result = CliRunner().invoke(app, ["quicklook", *words, "-o", out])
        assert result.exit_code == 0, result.output
        assert Path(out).read_text(encoding="utf-8").startswith("<!doctype html>")
    for words in ([binary, "--size", size, "--serve"], [str(tmp_path / "t.h5"), str(tmp_path / "t.h5")]):
        assert isinstance(CliRunner().invoke(app, ["quicklook", *words, "-o", out]).exception, NightcrewError)


def test_pixels_that_were_not_read_out_are_no_neighbours() -> None:
    """With zeros for them a heard pixel beside many of them is above five times a median of 0."""
    counts = np.random.default_rng(4).poisson(400.0, (25, 20))
    read_s = np.zeros(counts.shape)
    read_s[:, 8:10] = 10.0
    counts[read_s == 0] = 0
    assert not hot_pixels(counts, read_s).any()
    counts[12, 8] = 4000
    assert np.argwhere(hot_pixels(counts, read_s)).tolist() == [[12, 8]]
    assert not hot_pixels(np.zeros((4, 5), dtype=int), np.zeros((4, 5))).any()


def test_a_quick_look_says_that_dark_pixels_may_not_have_been_read_out(tmp_path: Path) -> None:
    path = random_table(tmp_path / "t.h5", 6, n=900)
    with h5py.File(path, "r+") as file:
        report = json.loads(file["report"][()])
        del file["report"]
        file["report"] = json.dumps({**report, "untold_pixels": 7})
    with open_calibrated(path, Calibrations()) as opened:
        assert any("the board of 7 dark pixels" in remark for remark in look_at_table(opened, "t").remarks)
