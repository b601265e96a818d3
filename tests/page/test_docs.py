"""The API's description as a page, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.gateway.scripted_backend import ScriptedBackend
from tests.gateway.server import Running, serving
from tests.page.browser import take_console, take_requests

TIMEOUT_S = 60


@pytest.fixture
def gateway() -> Iterator[Running]:
    with serving(ScriptedBackend(), api_key="sk-secret") as running:
        yield running


def test_the_description_is_shown_without_a_key_and_without_another_host(chrome: Chrome, gateway: Running) -> None:
    take_console(chrome)
    take_requests(chrome)
    chrome.get(f"{gateway.url}/docs")
    WebDriverWait(chrome, TIMEOUT_S).until(lambda _: chrome.find_elements(By.TAG_NAME, "h3"))
    shown = chrome.find_element(By.TAG_NAME, "main").text
    assert "POST /v1/chat/completions" in shown
    assert "GET /v1/models/{model}" in shown
    assert "temperature" in shown
    assert "undefined" not in shown
    assert take_console(chrome) == []
    hosts = {urlsplit(request.url).netloc for request in take_requests(chrome) if request.url.startswith("http")}
    assert hosts == {f"127.0.0.1:{gateway.port}"}
