"""A real browser for the tests of Prefect's UI."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build/screenshots"
# The longest that a page may take on a busy machine, in seconds.
PAGE_LIMIT = 300

T = TypeVar("T")


class Browser:
    """Headless Chromium, which looks up no name, so that no part of a page waits for the internet."""

    def __init__(self, ui: str, profile: str) -> None:
        self._ui = ui
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--window-size=1400,900",
            f"--user-data-dir={profile}",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        self._driver = webdriver.Chrome(options=options, service=service)
        self._log: list[str] = []  # errors of the pages, and requests of them that failed
        self._network_changed = False

    def close(self) -> None:
        self._driver.quit()

    def open(self, path: str) -> None:
        self._driver.get(self._ui + path)

    def go_back(self) -> None:
        """By the browser's button, which loads a page of the UI no second time."""
        self._driver.back()

    def text(self) -> str:
        return self._driver.find_element(By.TAG_NAME, "body").text

    def wait_for_text(self, *texts: str) -> None:
        def there() -> bool:
            body = self.text()
            return all(text in body for text in texts)

        self._wait(there, f"{texts}")

    def click(self, selector: str, text: str) -> None:
        """The element of that selector whose text is `text`."""

        def find() -> WebElement | None:
            elements = self._driver.find_elements(By.CSS_SELECTOR, selector)
            return next((element for element in elements if element.text == text), None)

        self._wait(find, f"{selector} with {text!r}").click()

    def type_into(self, selector: str, text: str) -> None:
        """Replaces the content of the field."""

        def find() -> WebElement | None:
            return next(iter(self._driver.find_elements(By.CSS_SELECTOR, selector)), None)

        field = self._wait(find, selector)
        field.clear()
        field.send_keys(text)

    def _wait(self, look: Callable[[], T | None], what: str) -> T:
        def look_again(_: object) -> T | None:
            self._load_again_after_network_change()
            return look()

        try:
            return WebDriverWait(self._driver, PAGE_LIMIT).until(look_again)
        except TimeoutException:
            log = "\n".join(self._log)
            raise AssertionError(
                f"no {what} on {self._driver.current_url}, which shows:\n{self.text()}\nand has logged:\n{log}"
            ) from None

    def _load_again_after_network_change(self) -> None:
        """When an interface comes or goes, as with the containers of any other test, Chromium gives up all requests that are
        under way. Without one of its scripts Prefect's page stays empty, and a user would load it again."""
        new = [entry["message"] for entry in self._driver.get_log("browser")]
        self._log += new
        self._network_changed |= any("ERR_NETWORK_CHANGED" in message for message in new)
        if self._network_changed and not self.text():
            self._network_changed = False
            self._driver.refresh()

    def keep_screenshot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self._driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))


@contextmanager
def open_browser(ui: str) -> Iterator[Browser]:
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        it = Browser(ui, profile)
        try:
            yield it
        finally:
            it.close()
