"""Prefect's pages over the running service, in a browser: the run by its name, artifacts, Retry, and the form."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.running import NIGHT, Service

pytestmark = [pytest.mark.server, pytest.mark.browser, pytest.mark.xdist_group("server")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless chromium that reaches nothing but this machine."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium or chromedriver is not installed (Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1400,1200",
                 "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    one = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield one
    one.quit()


def shown(browser: Any, text: str) -> list[Any]:
    """Visible elements with exactly this text, outermost first."""
    found = browser.find_elements("xpath", f"//*[normalize-space(.)='{text}']")
    return [element for element in found if element.is_displayed()]


def wait(condition: Callable[[], Any], what: str, limit_s: float = 60.0) -> Any:
    end = time.monotonic() + limit_s
    while True:
        try:
            if answer := condition():
                return answer
        except Exception as error:  # noqa: BLE001  # the page redraws itself under our hands
            what = f"{what} ({type(error).__name__})"[:200]
        assert time.monotonic() < end, f"{what}: it did not appear"
        time.sleep(0.2)


def body(browser: Any) -> str:
    return str(browser.find_element("tag name", "body").text)


def test_the_nights_run_is_found_by_its_name_with_its_artifacts(service: Service, browser: Any, tmp_path: Path) -> None:
    browser.get(f"{service.endpoints.ui_url}/runs")
    link = wait(lambda: next((a for a in browser.find_elements("tag name", "a") if a.text == f"night {NIGHT}"), None), "the run")
    browser.execute_script("arguments[0].click()", link)
    wait(lambda: shown(browser, "Artifacts"), "the run's page")[-1].click()
    wait(lambda: "Masters of" in body(browser) and "masters-2026-05-16-ncsim" in body(browser), "artifacts")
    browser.save_screenshot(str(tmp_path / "artifacts.png"))
    assert (tmp_path / "artifacts.png").stat().st_size > 20_000


def test_retry_is_pressed_on_a_crashed_run(service: Service, browser: Any) -> None:
    row = service.crash_a_run()
    before = service.made()
    browser.get(f"{service.endpoints.ui_url}/runs/flow-run/{row.run_id}")
    wait(lambda: "Crashed" in body(browser) and shown(browser, "Retry"), "the crashed run")[-1].click()
    wait(lambda: len(buttons(browser, "Retry")) == 2, "the question")
    buttons(browser, "Retry")[-1].click()
    service.wait(lambda: (state := service.run(row.run_id).state) is not None and state.is_completed(), "the retry")
    assert service.made() == before


def buttons(browser: Any, text: str) -> list[Any]:
    return [button for button in browser.find_elements("tag name", "button") if button.text == text and button.is_displayed()]


def test_a_run_is_started_from_the_form_and_makes_what_is_missing(service: Service, browser: Any) -> None:
    before = service.made()
    lost = next(name for name in before if "flat_master_V" in name)
    (service.settings.products.root / lost).unlink()
    with service.client() as client:
        deployment = client.read_deployment_by_name("night/nightcrew")
        known = {run.id for run in client.read_flow_runs()}
    browser.get(f"{service.endpoints.ui_url}/deployments/deployment/{deployment.id}/run")
    wait(lambda: browser.find_elements("css selector", "textarea"), "the form")[0].send_keys(NIGHT)
    wait(lambda: "Make what is missing" in body(browser) or buttons(browser, "Submit"), "the button")
    buttons(browser, "Submit")[0].click()

    def ended() -> bool:
        with service.client() as client:
            new = [run for run in client.read_flow_runs() if run.id not in known and run.name == f"night {NIGHT}"]
        return bool(new) and all(run.state is not None and run.state.is_completed() for run in new)

    service.wait(ended, "the run")
    assert service.made() == before


def test_no_request_left_the_machine(browser: Any) -> None:
    asked = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
    far = [url for url in asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:", "chrome:"))]
    assert asked
    assert far == []
