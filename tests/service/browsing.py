"""A headless chromium as a person uses it: click on words, wait for words, look."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
import pytest

from tests.support.chromium import open_chromium

T = TypeVar("T")

_CANDIDATES = """
const bare = text => text.replace(/\\s+/g, '').toLowerCase();
return [...document.querySelectorAll(arguments[0])].filter(e => bare(e.textContent).includes(bare(arguments[1])));
"""


def open_browser(profile: Path, shots: Path) -> Browser:
    """A fresh chromium that writes down its console and every request; skips the test where there is none."""
    made = Browser(open_chromium(profile, "window-size=1400,1000"), shots)
    made.driver.get("about:blank")
    made.forget()
    return made


class Browser:
    """One window."""

    def __init__(self, driver: Any, shots: Path) -> None:
        self.driver = driver
        self.shots = shots

    def forget(self) -> None:
        """Empty the logs of requests and console."""
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)

    def resize(self, width: int, height: int = 900) -> None:
        """The window as a phone's (below 600 CSS pixels) or a desk's."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def requests(self) -> list[str]:
        """Addresses asked for since the last call; what is inside of the page (data, blob) left out."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        sockets = [event["params"]["url"] for event in events if event["method"] == "Network.webSocketCreated"]
        return [url for url in sent + sockets if not url.startswith(("data:", "blob:"))]

    def wait(self, condition: Callable[[], T | None], what: str, limit_s: float = 30.0) -> T:
        """Wait until ``condition`` gives something true; pages that change under our hands are looked at again."""
        from selenium.common.exceptions import StaleElementReferenceException

        end = time.monotonic() + limit_s
        while True:
            try:
                found = condition()
                if found:
                    return found
            except StaleElementReferenceException:
                pass
            if time.monotonic() > end:
                self.shot("gave-up")
                console = [entry["message"] for entry in self.driver.get_log("browser")]
                pytest.fail(f"not on the page within {limit_s:.0f} s: {what}; it shows: {self.text[:2000]!r}; console: {console}")
            time.sleep(0.1)

    @property
    def text(self) -> str:
        """What a reader sees."""
        return str(self.driver.find_element("tag name", "body").text)

    def read(self, words: str, limit_s: float = 30.0) -> None:
        """Wait until these words are on the page."""
        self.wait(lambda: words in self.text, words, limit_s)

    def find(self, css: str, words: str = "", limit_s: float = 30.0) -> Any:
        """The first visible element of a CSS selector whose text contains ``words``."""
        return self.wait(
            lambda: next((e for e in self._candidates(css, words) if e.is_displayed() and words in e.text), None),
            f"{css} {words!r}",
            limit_s,
        )

    def _candidates(self, css: str, words: str) -> list[Any]:
        """Elements that may be the wanted one, in one question: to ask each of a page's elements takes longer than it stays the same."""
        found: list[Any] = self.driver.execute_script(_CANDIDATES, css, words)
        return found

    def click(self, css: str, words: str = "", limit_s: float = 30.0) -> None:
        """Click it, as soon as nothing covers it."""
        from selenium.common.exceptions import ElementClickInterceptedException

        def tried() -> bool:
            try:
                self.find(css, words, limit_s).click()
            except ElementClickInterceptedException:
                return False
            return True

        self.wait(tried, f"a click on {css} {words!r}", limit_s)

    def shot(self, name: str) -> Path:
        """A picture of the window."""
        path = self.shots / f"{name}.png"
        self.driver.save_screenshot(str(path))
        return path

    def long_shot(self, name: str, longest_px: int = 12_000) -> Path:
        """A picture of the whole page, scrolled through once so that everything is painted."""
        height = int(self.driver.execute_script("return document.documentElement.scrollHeight"))
        width = int(self.driver.execute_script("return window.innerWidth"))
        self.resize(width, min(height, longest_px))
        time.sleep(0.5)
        path = self.shots / f"{name}.png"
        picture = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        path.write_bytes(base64.b64decode(picture["data"]))
        return path


def is_painted(element: Any) -> bool:
    """Does an element show more than one colour?"""
    from PIL import Image

    with Image.open(io.BytesIO(element.screenshot_as_png)) as picture:
        grey = np.asarray(picture.convert("L"), dtype=float)
    return float(grey.std()) > 5.0


def is_loopback(url: str) -> bool:
    """Does an address stay on this machine?"""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
