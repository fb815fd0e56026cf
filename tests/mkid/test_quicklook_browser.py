"""The quick-look page in a real browser: windows, clicks and steps show the photons that are there, and nothing is asked of a network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.mkid.calibrated import Calibrations, open_calibrated
from nightcrew.mkid.quicklook import look_at_table
from nightcrew.mkid.quicklook_raw import look_at_seconds
from nightcrew.mkid.silences import Silences
from reports.mkid_quicklook import quicklook_html, write_quicklook
from reports.mkid_quicklook_server import QuickLookServer
from tests.mkid.made_tables import START_US, beam_map, linear_solution, table
from tests.mkid.streams import make, write
from tests.service.browsing import Browser, is_painted, open_browser

pytestmark = [pytest.mark.browser]
SHAPE = (12, 16)
MAP = beam_map(SHAPE)
HOSTILE = "</script><script>document.title='caught'</script><img src=http://evil.example/x>.h5"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("browser")
    opened = open_browser(folder / "profile", folder)
    yield opened
    opened.driver.quit()


@pytest.fixture(scope="module")
def photons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(7)
    n = 30_000
    pixel, time_us = rng.integers(0, MAP.n_pixels, n), np.sort(rng.integers(0, 5_000_000, n))
    extra = np.full(4000, 5 * 16 + 3)  # x = 3, y = 5 is hot
    phase = -1239.84 / rng.uniform(720, 1480, n + 4000) / 0.02
    path = tmp_path_factory.mktemp("photons") / "t.h5"
    log = {"exposure": HOSTILE, "type": "<i>science</i>"}
    return table(
        path, MAP, np.append(pixel, extra), np.append(time_us, rng.integers(0, 5_000_000, 4000)), phase, duration_s=5.0, exposure=log
    )


@pytest.fixture(scope="module")
def page(browser: Browser, photons: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "look.html"
    with open_calibrated(photons, Calibrations(wavelength=linear_solution(MAP, bad=[20]))) as opened:
        write_quicklook(look_at_table(opened, HOSTILE), out)
    browser.resize(1300)
    browser.driver.get(out.as_uri())
    browser.wait(lambda: browser.driver.execute_script("return document.body.dataset.ready") == "yes", "the page is drawn")
    return out


def counts_of(path: Path) -> NDArray[np.int64]:
    """Photons [second, pixel]."""
    with open_calibrated(path, []) as opened:
        found = opened.photons()
    return np.bincount(found.time_us // 1_000_000 * MAP.n_pixels + found.pixel, minlength=5 * MAP.n_pixels).reshape(5, -1)


def is_written(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def words(browser: Browser, name: str) -> str:
    return str(browser.driver.find_element("id", name).text)


def click_pixel(browser: Browser, x: int, y: int) -> None:
    from selenium.webdriver import ActionChains

    image = browser.driver.find_element("id", "image")
    box = image.rect
    dx = (x + 0.5) / SHAPE[1] * box["width"] - box["width"] / 2
    dy = (SHAPE[0] - 1 - y + 0.5) / SHAPE[0] * box["height"] - box["height"] / 2
    ActionChains(browser.driver).move_to_element_with_offset(image, round(dx), round(dy)).click().perform()


def test_flags_come_first_and_each_is_explained(browser: Browser, page: Path) -> None:
    assert browser.driver.find_element("css selector", "input[value=flags]").is_selected()
    legend = words(browser, "legend")
    assert "wavecal.bad" in legend
    assert "no wavelength solution" in legend
    assert legend.count("\n") >= len(legend.splitlines()) - 1
    assert len(browser.driver.find_elements("css selector", "#legend tr")) > 20
    assert is_painted(browser.driver.find_element("id", "image"))


def test_hostile_names_are_inert_and_nothing_is_asked_for(browser: Browser, page: Path) -> None:
    assert browser.driver.title.startswith("Quick look: </script>")
    assert browser.driver.find_element("tag name", "h1").text == HOSTILE
    assert browser.driver.find_elements("tag name", "img") == []
    assert "<i>science</i>" in browser.text
    assert [url for url in browser.requests() if not url.startswith("file://")] == []
    assert browser.driver.get_log("browser") == []


def test_clicking_a_pixel_shows_its_photons(browser: Browser, page: Path, photons: Path) -> None:
    counts = counts_of(photons)
    for x, y in ((3, 5), (0, 0), (15, 11), (4, 1)):
        click_pixel(browser, x, y)
        pixel = y * SHAPE[1] + x
        assert words(browser, "pixel-title").startswith(f"Pixel x {x}, y {y}: resonator {10_000 + pixel}")
        assert words(browser, "pixel-status").startswith(f"{counts[:, pixel].sum()} photons")
    assert "wavecal.bad" in words(browser, "pixel-title")  # x = 4, y = 1
    click_pixel(browser, 3, 5)
    assert "hot" in words(browser, "pixel-title")
    for name in ("stream", "histogram", "spectrum", "phase"):
        assert is_painted(browser.driver.find_element("id", name))


def test_stepping_and_windows_count_what_is_there(browser: Browser, page: Path, photons: Path) -> None:
    counts = counts_of(photons)
    browser.click("#next")
    assert words(browser, "status").startswith(f"{counts[0].sum()} photons in view: steps 0 to 0 of 5")
    browser.click("#next")
    assert words(browser, "status").startswith(f"{counts[1].sum()} photons in view: steps 1 to 1 of 5")
    browser.click("#previous")
    assert words(browser, "status").startswith(f"{counts[0].sum()} photons")
    for name, value in (("from", 2), ("to", 3)):
        browser.driver.execute_script(
            "const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('change'));", name, value
        )
    assert words(browser, "status").startswith(f"{counts[2:4].sum()} photons in view: steps 2 to 3 of 5")
    browser.click("#all")
    assert words(browser, "status").startswith(f"{counts.sum()} photons")


def test_the_window_of_wavelength_counts_what_is_there(browser: Browser, page: Path, photons: Path) -> None:
    from selenium.webdriver.support.select import Select

    browser.click("#all")
    Select(browser.driver.find_element("id", "wave-from")).select_by_index(2)
    Select(browser.driver.find_element("id", "wave-to")).select_by_index(4)
    with open_calibrated(photons, Calibrations(wavelength=linear_solution(MAP, bad=[20]))) as opened:
        bins = look_at_table(opened, "").wavelengths
        found = opened.photons().wavelength_nm
    assert bins is not None
    inside = (found >= bins.edges_nm[2]) & (found < bins.edges_nm[5])
    assert words(browser, "status").startswith(f"{inside.sum()} photons in view")
    Select(browser.driver.find_element("id", "wave-from")).select_by_index(0)
    Select(browser.driver.find_element("id", "wave-to")).select_by_visible_text("all photons")


def test_hot_pixels_are_hidden_and_shown(browser: Browser, page: Path) -> None:
    browser.click("#hot")
    assert "1 hot pixels hidden" in words(browser, "status")
    browser.click("#hot")
    assert "hidden" not in words(browser, "status")
    browser.click("#log")
    browser.click("#log")


def test_pictures_and_tables_are_saved(browser: Browser, page: Path, tmp_path: Path, photons: Path) -> None:
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    click_pixel(browser, 3, 5)
    for button, name in (("save-picture", "quicklook.png"), ("save-image", "quicklook_image.csv"), ("save-pixel", "quicklook_x3_y5.csv")):
        browser.click(f"#{button}")
        browser.wait(partial(is_written, tmp_path / name), name)
    rows = [line.split(",") for line in (tmp_path / "quicklook_image.csv").read_text().splitlines()[1:]]
    assert [int(row[3]) for row in rows] == counts_of(photons).sum(axis=0).tolist()
    assert (tmp_path / "quicklook.png").read_bytes().startswith(b"\x89PNG")


def test_a_phone_shows_it_without_scrolling_sideways(browser: Browser, page: Path) -> None:
    browser.resize(360)
    time.sleep(0.2)
    assert browser.driver.execute_script("return document.documentElement.scrollWidth") <= 360
    stream, meaning = (browser.driver.find_element("css selector", one) for one in ("#stream", "#legend tr:nth-child(2) td:nth-child(4)"))
    assert stream.get_property("width") == stream.get_property("clientWidth")  # words in plots keep their size
    assert meaning.rect["width"] > 250
    browser.resize(1300)


def test_counts_have_a_scale_of_their_colours_and_flags_none(browser: Browser, page: Path) -> None:
    scale = browser.driver.find_element("id", "scale")
    browser.click("#counts")
    assert scale.is_displayed()
    assert is_painted(scale)
    browser.click("input[value=flags]")
    assert not scale.is_displayed()
    first = [row.text.split()[0] for row in browser.driver.find_elements("css selector", "#legend tr")[:2]]
    assert first == ["good", "wavecal.bad"]  # what is set before what is not


def test_a_raw_second_is_looked_at_in_tenths(browser: Browser, tmp_path: Path) -> None:
    made = make(4, start_us=1_606_000_000_000_000, span_us=1_000_000, n_photons=20_000)
    write(tmp_path, made)
    write_quicklook(look_at_seconds([tmp_path / "1606000000.bin"], made.shape), tmp_path / "raw.html")
    browser.driver.get((tmp_path / "raw.html").as_uri())
    browser.wait(lambda: browser.driver.execute_script("return document.body.dataset.ready") == "yes", "the page is drawn")
    assert words(browser, "status").startswith("20000 photons in view: steps 0 to 9 of 10")
    browser.click("#next")
    tenth = int(((made.rows()[:, 0] - 1_606_000_000_000_000) < 100_000).sum())
    assert words(browser, "status").startswith(f"{tenth} photons in view: steps 0 to 0 of 10")
    assert not browser.driver.find_element("id", "wave-from").is_enabled()  # there is no solution
    assert [url for url in browser.requests() if not url.startswith("file://")] == []


def test_a_pixel_says_for_how_long_it_was_read_out(browser: Browser, tmp_path: Path) -> None:
    """Otherwise the seconds in which its board was silent would look like seconds without light."""
    board = np.repeat([[1] * 8 + [2] * 8], 12, axis=0).astype(np.int16)
    silent = Silences.of(board, {2: [(START_US + 1_000_000, START_US + 3_500_000)]})
    pixel, time_us = np.tile([5 * 16 + 3, 5 * 16 + 12], 500), np.repeat(np.arange(500) * 1000, 2)
    path = table(tmp_path / "t.h5", MAP, pixel, time_us, duration_s=5.0, silences=silent)
    with open_calibrated(path, []) as opened:
        write_quicklook(look_at_table(opened, "silent"), tmp_path / "look.html")
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    browser.driver.get((tmp_path / "look.html").as_uri())
    browser.wait(lambda: browser.driver.execute_script("return document.body.dataset.ready") == "yes", "the page is drawn")
    click_pixel(browser, 12, 5)
    assert words(browser, "pixel-status").startswith("500 photons in 2.5 of 5 s, the rest was not read out")
    click_pixel(browser, 3, 5)
    assert words(browser, "pixel-status").startswith("500 photons in 5 s;")
    browser.click("#next")
    browser.click("#next")
    browser.click("#save-image")
    browser.wait(partial(is_written, tmp_path / "quicklook_image.csv"), "the table")
    seconds = [float(line.split(",")[6]) for line in (tmp_path / "quicklook_image.csv").read_text().splitlines()[1:]]
    assert seconds == np.where(board.ravel() == 2, 0.0, 1.0).tolist()  # of the second in view


def test_the_served_page_asks_for_exact_streams(browser: Browser, photons: Path) -> None:
    with open_calibrated(photons, []) as opened:
        server = QuickLookServer(quicklook_html(look_at_table(opened, "served"), live=True), opened)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            browser.forget()
            browser.driver.get(server.url)
            browser.wait(lambda: browser.driver.execute_script("return document.body.dataset.ready") == "yes", "the page is drawn")
            click_pixel(browser, 3, 5)
            total = int(counts_of(photons)[:, 5 * 16 + 3].sum())
            browser.wait(lambda: f"{total} photons from 0 to 5 s; Ic" in words(browser, "pixel-status"), "the exact answer")
            assert all(url.startswith(server.url) for url in browser.requests())
            assert browser.driver.get_log("browser") == []
        finally:
            server.shutdown()
            server.server_close()
            thread.join(10)
