"""The chat page as a test drives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.page.browser import Request, show_as, take_console, take_requests

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
TIMEOUT_S = 240

# Answers every later chat completion with scripted bytes instead of the gateway's.
SCRIPT_ANSWER = """
const [status, text] = arguments, fetched = window.fetch;
window.fetch = (path, init) => path.endsWith("chat/completions")
  ? Promise.resolve(new Response(text, { status, headers: { "Content-Type": "text/event-stream" } }))
  : fetched(path, init);
"""


@dataclass(frozen=True, slots=True)
class ChatPage:
    driver: Chrome
    url: str

    def open_anew(self) -> None:
        self.driver.get(self.url)
        self.driver.execute_script("localStorage.clear(); sessionStorage.clear()")
        take_console(self.driver)
        take_requests(self.driver)
        show_as(self.driver, 1200, 800)
        self.open()

    def open(self) -> None:
        self.driver.get(self.url)
        self.wait(lambda: self.find("#send").is_enabled())

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def messages(self, role: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, f'.message[data-role="{role}"]')

    def wait(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.driver, TIMEOUT_S, poll_frequency=0.02).until(lambda _: condition())

    def pick_model(self, name: str) -> None:
        Select(self.find("#model")).select_by_value(name)

    def set_fields(self, **values: str) -> None:
        """Fills settings by id, with `_` for `-`; "" empties one."""
        if self.find("#settings").get_attribute("open") is None:
            self.find("#settings summary").click()
        for name, value in values.items():
            field = self.find(f"#{name.replace('_', '-')}")
            field.clear()
            field.send_keys(value)

    def send(self, text: str) -> None:
        """Types a question, sends it and goes on at once."""
        self.find("#prompt").clear()
        self.find("#prompt").send_keys(text, Keys.ENTER)

    def ask(self, text: str) -> WebElement:
        """Sends a question; the answer's message once it is whole, stopped or failed."""
        self.send(text)
        self.wait_for_end()
        return self.messages("assistant")[-1]

    def wait_for_end(self) -> None:
        self.wait(lambda: self.find("#send").is_displayed())

    def last_text(self) -> str:
        return str(self.driver.execute_script("return [...document.querySelectorAll('.text')].at(-1).textContent"))

    def scroll_px(self) -> int:
        return int(self.driver.execute_script("return document.querySelector('#messages').scrollTop"))

    def script_answer(self, status: int, body: str) -> None:
        self.driver.execute_script(SCRIPT_ANSWER, status, body)

    def chats(self) -> list[Request]:
        """The chat completions that were asked for since the last look."""
        return [request for request in take_requests(self.driver) if request.body is not None]

    def overflow_px(self) -> int:
        """How far the page or the conversation reaches beyond its width."""
        boxes = "[document.documentElement, document.querySelector('#messages')]"
        widths = f"return Math.max(...{boxes}.map((box) => box.scrollWidth - box.clientWidth))"
        return int(self.driver.execute_script(widths))

    def screenshot(self, name: str) -> None:
        ARTIFACTS.mkdir(exist_ok=True)
        self.driver.save_screenshot(str(ARTIFACTS / f"page-{name}.png"))
