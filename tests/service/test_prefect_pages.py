"""Prefect's pages in a browser: find the night's run, see its artifacts, retry one, start another from the form."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.service.browsing import Browser, is_loopback, is_painted
from tests.service.running import Running

pytestmark = [pytest.mark.server, pytest.mark.browser, pytest.mark.xdist_group("service")]
CAMERA = "EVENING"
TITLE = "2025-05-16/EVENING"


def run_that_made(service: Running, what: str) -> str:
    """The id of the night's run whose log tells that it made this: others may have looked again since and made nothing."""
    assert service.endpoints is not None
    query = {"flow_runs": {"name": {"any_": [f"night {TITLE}"]}}, "sort": "START_TIME_DESC"}

    def found() -> str:
        runs = httpx.post(f"{service.api}/flow_runs/filter", json=query, timeout=10).json()
        return next((str(run["id"]) for run in runs if what in " ".join(service.log_of(run["id"]))), "")

    return service.wait(found, f"a run of {TITLE} tells that it made {what}")


def run_that_reported(service: Running) -> str:
    """The id of the newest run that linked to the night's report."""
    query = {"artifacts": {"key": {"like_": "report-2025-05-16%"}}, "sort": "CREATED_DESC"}

    def found() -> str:
        artifacts = httpx.post(f"{service.api}/artifacts/filter", json=query, timeout=10).json()
        return next((str(artifact["flow_run_id"]) for artifact in artifacts if artifact["flow_run_id"]), "")

    return service.wait(found, "a run linked to the report")


def open_newest_run(service: Running, browser: Browser, run_id: str = "") -> None:
    """From the list of runs, by the night's name, to its newest run, or to the one of that id."""
    assert service.endpoints is not None
    browser.driver.get(f"{service.endpoints.ui_url}/runs")
    browser.find("input[placeholder='Search by flow run name']").send_keys(TITLE)
    browser.wait(
        lambda: (
            [link.text for link in browser.driver.find_elements("css selector", "a[href*='/runs/flow-run/']") if link.is_displayed()]
            and all(TITLE in link.text for link in browser.driver.find_elements("css selector", "a[href*='/runs/flow-run/']") if link.text)
        ),
        "only runs of the night are listed",
    )
    browser.shot("runs")
    browser.click(f"a[href*='/runs/flow-run/{run_id}']", TITLE)
    browser.wait(lambda: "/runs/flow-run/" in browser.driver.current_url, "the run's own page")
    browser.find("a", "night")


def test_the_nights_run_is_found_by_its_name_and_its_artifacts_are_painted(night: Running, browser: Browser) -> None:
    browser.resize(1400, 1000)
    browser.forget()
    open_newest_run(night, browser, run_that_made(night, "made 2025-05-16/EVENING/lights/light_"))
    browser.find(".state-badge", "Completed")
    browser.shot("run")
    words = " ".join(night.log_of(browser.driver.current_url.rpartition("/")[2].partition("?")[0]))
    assert "of crew-1-B-001.fit" in words
    browser.click(".p-tab", "Artifacts")
    for kind in ("masters", "products", "rejected"):
        card = browser.find("a[href*='/artifacts/']", f"{kind}-2025-05-16-evening")
        assert is_painted(card)
    browser.shot("artifacts")
    browser.click("a[href*='/artifacts/artifact/']", "masters-")
    browser.read("flat master")
    table = browser.find("table")
    assert is_painted(table)
    assert len(table.find_elements("css selector", "tbody tr")) == 7
    browser.shot("masters")
    link = f"{night.endpoints.pages_url}/night/2025-05-16/index.html" if night.endpoints else ""
    open_newest_run(night, browser, run_that_reported(night))  # the night may have closed after its lights were made
    browser.click(".p-tab", "Artifacts")
    browser.click("a[href*='/artifacts/artifact/']", "report-")
    assert browser.find(f"a[href='{link}']").text == "Report of 2025-05-16"
    browser.shot("link")
    asked = browser.requests()
    assert len(asked) > 20
    assert [url for url in asked if not is_loopback(url)] == []


@pytest.fixture
def undisturbed(night: Running) -> Iterator[Running]:
    """The service with its dispatcher held: what a person starts is all that runs."""
    with night.without_dispatcher():
        yield night
    night.wait(lambda: night.all_there(CAMERA), "the dispatcher has looked after what is missing")


def test_retry_of_a_failed_run_makes_exactly_what_is_missing(undisturbed: Running, browser: Browser) -> None:
    service = undisturbed
    lost = [service.lose(CAMERA, recipe) for recipe in ("flat_master", "reduce_light", "photometry")]
    token = service.last_claim(CAMERA)
    service.plant({"at": "scope", "of": CAMERA, "do": "raise"})
    run_id = service.start_run(CAMERA)
    service.wait(lambda: service.flow_run(run_id)["state_type"] == "FAILED", "the run failed")
    service.plant()
    browser.forget()
    open_newest_run(service, browser)
    assert run_id in browser.driver.current_url
    browser.find(".state-badge", "Failed")
    browser.shot("failed")
    browser.click("button", "Retry")
    browser.shot("retry")
    browser.click("[role=dialog] button.p-button--default, .p-modal button.p-button--default", "Retry")
    service.wait(lambda: service.flow_run(run_id)["state_type"] == "COMPLETED", "the retry completed")
    browser.find(".state-badge", "Completed")
    browser.shot("retried")
    assert service.flow_run(run_id)["run_count"] == 2
    assert service.made_since(CAMERA, token) == {(row.recipe, row.key): 1 for row in lost}
    assert service.all_there(CAMERA)
    assert [url for url in browser.requests() if not is_loopback(url)] == []


def submit(browser: Browser) -> None:
    """Press the button until the server took the run: a busy one answers 503, which the page calls "Something went wrong"."""
    browser.click("button", "Submit")

    def taken() -> bool:
        if "scheduled to start now" in browser.text:
            return True
        if "Something went wrong" in browser.text:
            time.sleep(3.0)
            browser.click("button", "Submit")
        return False

    browser.wait(taken, "the run is taken", 60)


def test_a_run_from_the_form_makes_what_its_parameters_wish(undisturbed: Running, browser: Browser) -> None:
    from selenium.webdriver.support.select import Select

    service = undisturbed
    kept, wished = service.lose(CAMERA, "reduce_light"), service.lose(CAMERA, "photometry", 1)
    token = service.last_claim(CAMERA)
    browser.forget()
    assert service.endpoints is not None
    browser.driver.get(f"{service.endpoints.ui_url}/deployments")
    row = browser.find("tr", "nightcrew\nnight")
    row.find_element("css selector", "a[href*='/deployments/deployment/']").click()
    browser.click("button", "Run")
    browser.click(".p-overflow-menu-item", "Custom run")
    browser.find("textarea").send_keys(TITLE)
    Select(browser.find("select.p-native-select__control")).select_by_visible_text("photometry")
    browser.shot("form")
    submit(browser)
    browser.shot("submitted")
    service.wait(lambda: service.made_since(CAMERA, token), "a product is made")
    open_newest_run(service, browser)
    run_id = browser.driver.current_url.rpartition("/")[2].partition("?")[0]
    service.wait(lambda: service.flow_run(run_id)["state_type"] == "COMPLETED", "the run completed")
    assert service.flow_run(run_id)["parameters"]["from_step"] == "photometry"
    assert {"2025-05-16", CAMERA, "nightcrew"} <= set(service.flow_run(run_id)["tags"])
    assert service.made_since(CAMERA, token) == {(wished.recipe, wished.key): 1}
    assert not (service.settings.products.root / kept.files[0].path).exists()
    browser.find(".state-badge", "Completed")
    browser.shot("from-the-form")
    assert [url for url in browser.requests() if not is_loopback(url)] == []
