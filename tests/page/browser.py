"""A real Chromium, headless and quiet, for tests of the page."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # containers run tests as root
    "--disable-dev-shm-usage",  # containers have a small /dev/shm
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the browser; `body` is the JSON that it sent, or None."""

    url: str
    body: Any


def chrome_path() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome")


def can_open_chrome() -> bool:
    return chrome_path() is not None and shutil.which("chromedriver") is not None


@contextmanager
def open_chrome() -> Iterator[Chrome]:
    """A Chromium with a fresh profile that records its console and its requests; ended on every way out."""
    options = ChromeOptions()
    options.binary_location = chrome_path() or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Both are named, because selenium would otherwise look for downloads.
    service = ChromeService(executable_path=shutil.which("chromedriver"))
    with tempfile.TemporaryDirectory(prefix="conch-chrome-", ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = Chrome(options=options, service=service)
        driver.set_script_timeout(240)
        try:
            yield driver
        finally:
            driver.quit()


def show_as(driver: Chrome, width: int, height: int, scheme: str = "light") -> None:
    """Lays the page out in a viewport of `width` x `height` CSS pixels; a window cannot be as narrow as a phone."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def take_console(driver: Chrome) -> list[str]:
    """Warnings and errors that the console has shown since the last call."""
    return [entry["message"] for entry in _take_log(driver, "browser") if entry["level"] in ("WARNING", "SEVERE")]


def take_requests(driver: Chrome) -> list[Request]:
    """What the browser has asked for since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in _take_log(driver, "performance")]
    sent = [event["params"]["request"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [Request(one["url"], json.loads(one.get("postData", "null"))) for one in sent]


def _take_log(driver: Chrome, kind: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = driver.get_log(kind)  # type: ignore[no-untyped-call]
    return entries
