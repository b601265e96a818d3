from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome

from tests.page.browser import can_open_chrome, open_chrome
from tests.page.chat_page import ChatPage


@pytest.fixture(scope="session")
def chrome() -> Iterator[Chrome]:
    if not can_open_chrome():
        pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    with open_chrome() as driver:
        yield driver


@pytest.fixture
def page(chrome: Chrome, gateway_url: str) -> ChatPage:
    """The chat page as a newcomer opens it: nothing remembered, nothing said."""
    page = ChatPage(chrome, gateway_url)
    page.open_anew()
    return page
