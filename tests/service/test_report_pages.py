"""The report of a real run and the index of nights, from the service's own page server, at a desk and on a phone."""

from __future__ import annotations

import pytest

from tests.service.browsing import Browser
from tests.service.running import Running

pytestmark = [pytest.mark.server, pytest.mark.browser, pytest.mark.xdist_group("service")]
PATHS = {"index": "/", "night": "/night/2025-05-16/index.html"}


@pytest.fixture(scope="module")
def pages(night: Running) -> str:
    """Address of the page server."""
    night.wait(lambda: night.idle("EVENING") and night.all_there("EVENING"), "nothing runs")
    assert night.endpoints is not None
    return night.endpoints.pages_url


@pytest.mark.parametrize("width", [1200, 360])
@pytest.mark.parametrize("page", ["index", "night"])
def test_a_page_reads_well_and_asks_for_nothing_else(browser: Browser, pages: str, page: str, width: int) -> None:
    browser.resize(width)
    browser.driver.get("about:blank")  # Prefect's pages ask on and on
    browser.forget()
    browser.driver.get(pages + PATHS[page])
    browser.read("Good night" if page == "night" else "2025-05-16")
    assert browser.driver.execute_script("return document.documentElement.scrollWidth") <= width
    browser.long_shot(f"page-{page}-{width}")
    assert browser.driver.get_log("browser") == []
    assert browser.requests() == [pages + PATHS[page]]
    loaded = browser.driver.execute_script("return [...document.images].filter(i => i.complete && i.naturalWidth === 0).length")
    assert loaded == 0


def test_the_report_names_every_troublemaker_and_leads_to_its_numbers(browser: Browser, pages: str) -> None:
    browser.resize(1200)
    browser.driver.get(pages + PATHS["night"])
    source = browser.driver.page_source
    for name in ("observing-notes.fits", "copy of crew-1-B-002.fit", "flat-V-004.fit", "crew-1-B-003.fit"):
        assert name in source
    browser.click("a", "summary.json")
    browser.wait(lambda: browser.driver.current_url.endswith("/summary.json"), "the summary opens")
    assert '"format": 1' in browser.text
    browser.driver.back()
    browser.click("a", "All nights")
    browser.read("May 2025")
    browser.click("a", "2025-05-16")
    browser.read("Night of 16 May 2025")
