"""The pages as a browser shows them: on a phone and a desk, light and dark, with nothing from the network."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.publish import publish_index, publish_night
from reports.server import PageServer
from tests.reports import samples
from tests.reports.test_render import HOSTILE, hostile_page
from tests.support.chromium import open_chromium
from tests.support.undrawn import undrawn

pytestmark = pytest.mark.browser

DANGEROUS = tuple(bad for bad in HOSTILE if "alert" in bad)

PAGES = ("index.html", *(f"night/2026-03-{day}/index.html" for day in (14, 13, 12, 11)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """Published pages of all kinds of night, served on loopback."""
    root = tmp_path_factory.mktemp("pages")
    nights = (samples.good_night(), samples.troubled_night(), samples.empty_night(), samples.failed_night())
    for day, page in zip((14, 13, 12, 11), nights, strict=True):
        publish_night(dataclasses.replace(page, night=f"2026-03-{day}"), root)
    publish_night(dataclasses.replace(samples.big_night(500), night="2026-02-10"), root)
    with undrawn():  # the words are in the page
        for place, bad in enumerate(DANGEROUS):
            publish_night(dataclasses.replace(hostile_page(bad), night=f"hostile-{place}"), root)
    publish_index(root, "Hill Observatory", "2026-03-15T08:00:00", "America/Santiago")
    made = PageServer(root, port=0)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless chromium that reports its console and every request."""
    made = open_chromium(tmp_path_factory.mktemp("profile"), "hide-scrollbars")
    yield made
    made.quit()


def show(browser: Any, server: PageServer, path: str, width: int = 1200, *, dark: bool = False) -> None:
    """Open a page at ``width`` CSS pixels with an empty log."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(server.url + path)


def asked_for(browser: Any) -> list[str]:
    """Addresses that the page asked for, data URIs left out."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith("data:")]


@pytest.mark.parametrize("path", PAGES)
def test_a_phone_scrolls_down_only(browser: Any, server: PageServer, path: str) -> None:
    show(browser, server, path, width=360)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    wide = browser.execute_script(
        """const wide = [];
        for (const element of document.querySelectorAll('main *, header *')) {
            if (element.closest('.scroll') || element.closest('nav')) continue;
            const box = element.getBoundingClientRect();
            if (box.width && (box.right > 361 || box.left < -1)) wide.push(element.tagName + '.' + element.className);
        }
        return wide"""
    )
    assert wide == []


@pytest.mark.parametrize("path", PAGES)
def test_no_table_hides_columns_on_a_phone(browser: Any, server: PageServer, path: str) -> None:
    show(browser, server, path, width=360)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    hidden = browser.execute_script(
        "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.ariaLabel)"
    )
    assert hidden == []


@pytest.mark.parametrize("path", PAGES)
def test_no_complaint_in_the_console_and_no_other_request(browser: Any, server: PageServer, path: str) -> None:
    show(browser, server, path)
    assert browser.get_log("browser") == []
    assert asked_for(browser) == [server.url + path]


def test_every_picture_is_painted(browser: Any, server: PageServer) -> None:
    for dark in (False, True):
        show(browser, server, PAGES[1], dark=dark)
        state = browser.execute_async_script(
            """const done = arguments[arguments.length - 1];
            Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth, () => 0))).then(done)"""
        )
        assert len(state) > 50
        assert min(state) >= 100


def test_dark_pages_are_dark_and_readable(browser: Any, server: PageServer) -> None:
    grounds = set()
    for dark in (False, True):
        show(browser, server, PAGES[2], dark=dark)
        grounds.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
        ratios = browser.execute_script(CONTRAST)
        assert len(ratios) > 20
        low = [entry for entry in ratios if entry[0] < 4.5]
        assert low == []
    assert len(grounds) == 2


CONTRAST = """
const parse = text => text.match(/[\\d.]+/g).map(Number);
const light = rgb => { const [r, g, b] = rgb.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);

  return .2126 * r + .7152 * g + .0722 * b };
const ground = element => { for (let e = element; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
  if (c.length < 4 || c[3] > .99) return c } return [255, 255, 255] };
const found = [];
const wanted = '.word, .sentence, .tag, .grade, .note, .lead, .cell b, .cell .dt, dt, dd, td, th, a, .cap, figcaption';
for (const element of document.querySelectorAll(wanted)) {
  if (!element.textContent.trim() || !element.offsetParent) continue;
  const a = light(parse(getComputedStyle(element).color)), b = light(ground(element));
  found.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), element.tagName + '.' + element.className]);
}
return found"""


def test_the_verdict_is_on_the_first_screen(browser: Any, server: PageServer) -> None:
    for width in (360, 1200):
        show(browser, server, PAGES[1], width=width)
        bottom = browser.execute_script("return document.querySelector('.sentence').getBoundingClientRect().bottom")
        assert bottom < 420


def test_all_links_of_a_page_lead_somewhere(browser: Any, server: PageServer) -> None:
    show(browser, server, PAGES[1])
    links = browser.execute_script("return [...document.links].map(a => a.href.split('#')[0])")
    assert len(set(links)) > 1
    for link in sorted(set(links)):
        path = link.removeprefix(server.url)
        assert (server.root / (path or "index.html")).is_file(), link


@pytest.mark.parametrize("place", range(len(DANGEROUS)))
def test_hostile_values_do_nothing_in_a_browser(browser: Any, server: PageServer, place: int) -> None:
    path = f"campaign/hostile-{place}/index.html"
    show(browser, server, path)
    assert browser.get_log("browser") == []  # an alert would raise, a blocked script would be logged
    assert asked_for(browser) == [server.url + path]
    assert (
        browser.execute_script("return document.querySelectorAll('script, iframe, object, [onerror], [onload], [onmouseover]').length") == 0
    )


def test_500_lights_open_quickly(browser: Any, server: PageServer) -> None:
    show(browser, server, "night/2026-02-10/index.html", width=360)
    loaded = browser.execute_script("const t = performance.getEntriesByType('navigation')[0]; return t.loadEventEnd - t.startTime")
    assert 0 < loaded < 10_000
    assert browser.execute_script("return document.images.length") > 500


def test_a_page_opens_from_the_file_system_alone(browser: Any, server: PageServer, tmp_path: Path) -> None:
    alone = tmp_path / "alone.html"
    shutil.copy(server.root / PAGES[1], alone)
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(alone.as_uri())
    assert browser.get_log("browser") == []
    assert asked_for(browser) == [alone.as_uri()]
