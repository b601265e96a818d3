from __future__ import annotations

import json
import re

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.page.browser import show_as, take_console, take_requests
from tests.page.chat_page import ChatPage

CUT_STREAM = 'data: {"choices": [{"index": 0, "delta": {"content": "half an ans"}}]}\r\n\r\n'
ERROR_EVENT = (
    'data: {"error": {"message": "The engine failed.", "type": "server_error", "param": null, "code": null}}\n\n'
)
UNAUTHORIZED = (
    '{"error": {"message": "A key is needed.", "type": "invalid_request_error", "param": null, "code": null}}'
)


def words(text: str) -> set[str]:
    """The words of an answer, be it markdown or what the page makes of it."""
    return set(re.findall(r"\w+", text))


def test_a_question_is_answered_with_its_figures(page: ChatPage) -> None:
    page.pick_model("demo")
    answer = page.ask("What is Conch?")
    assert page.messages("user")[0].text == "What is Conch?"
    assert page.last_text().strip()
    stats = answer.find_element("css selector", ".stats")
    assert float(stats.get_attribute("data-ttft-ms") or -1) >= 0
    assert int(stats.get_attribute("data-tokens") or 0) > 0
    assert float(stats.get_attribute("data-tokens-per-second") or 0) > 0
    assert "tokens/s" in stats.text
    page.screenshot("answer")


def test_an_answer_grows_while_it_is_streamed(page: ChatPage) -> None:
    page.pick_model("replay")
    page.set_fields(max_tokens="200")
    page.driver.execute_script(
        "window.lengths = new Set();"
        "new MutationObserver(() => lengths.add(document.querySelector('#messages').textContent.length))"
        ".observe(document.querySelector('#messages'), { childList: true, subtree: true, characterData: true })"
    )
    page.ask("Count the waves")
    lengths = page.driver.execute_script("return [...window.lengths]")
    assert len(lengths) > 3


def test_an_answer_cut_at_the_token_limit_says_so(page: ChatPage) -> None:
    page.pick_model("replay")
    page.set_fields(max_tokens="5")
    stats = page.ask("Count the waves").find_element("css selector", ".stats")
    assert stats.get_attribute("data-tokens") == "5"
    assert stats.get_attribute("data-finish-reason") == "length"
    assert "length" in stats.text


def test_stop_keeps_what_was_said_and_the_next_question_goes_on(page: ChatPage) -> None:
    page.pick_model("replay")
    page.send("Count the waves")
    page.wait(lambda: page.last_text() != "")
    page.find("#stop").click()
    page.wait_for_end()
    stopped = page.messages("assistant")[0]
    assert stopped.get_attribute("data-state") == "stopped"
    assert "stopped" in stopped.text
    said = page.last_text()
    page.set_fields(max_tokens="5")
    page.chats()
    page.ask("Go on")
    (chat,) = page.chats()
    assert [message["role"] for message in chat.body["messages"]] == ["user", "assistant", "user"]
    assert words(said)
    assert words(said) <= words(chat.body["messages"][1]["content"])


def test_the_conversation_settings_and_system_prompt_are_sent(page: ChatPage) -> None:
    page.pick_model("demo")
    page.set_fields(system="Be brief.", temperature="0", max_tokens="20")
    first = page.ask("Hello!").find_element("css selector", ".text").text
    page.ask("And then?")
    chat = page.chats()[-1].body
    assert [message["role"] for message in chat["messages"]] == ["system", "user", "assistant", "user"]
    assert words(first)
    assert words(first) <= words(chat["messages"][2]["content"])
    assert (chat["model"], chat["stream"], chat["temperature"], chat["max_tokens"]) == ("demo", True, 0, 20)


def test_reset_ends_the_answer_and_empties_the_conversation(page: ChatPage) -> None:
    page.pick_model("replay")
    page.send("Count the waves")
    page.wait(lambda: page.last_text() != "")
    page.find("#reset").click()
    assert page.messages("user") == page.messages("assistant") == []
    assert page.find("#welcome").is_displayed()
    page.set_fields(max_tokens="5")
    page.chats()
    page.ask("Anew")
    (chat,) = page.chats()
    assert chat.body["messages"] == [{"role": "user", "content": "Anew"}]


def test_the_picked_model_is_remembered(page: ChatPage) -> None:
    page.pick_model("replay")
    page.open()
    assert Select(page.find("#model")).first_selected_option.text == "replay"


def test_a_starter_question_is_asked_at_a_click(page: ChatPage) -> None:
    page.pick_model("demo")
    page.find("#welcome button").click()
    page.wait_for_end()
    assert page.messages("user")[0].text == "What is Conch?"
    assert not page.find("#welcome").is_displayed()


def test_shift_enter_makes_a_new_line(page: ChatPage) -> None:
    page.find("#prompt").send_keys("one", Keys.SHIFT, Keys.ENTER, Keys.NULL, "two")
    assert page.find("#prompt").get_attribute("value") == "one\ntwo"
    assert page.messages("user") == []


def test_a_refused_request_shows_one_sentence_and_can_be_sent_again(page: ChatPage) -> None:
    page.pick_model("demo")
    page.set_fields(max_tokens="10000000")
    page.ask("Hello!")
    assert page.find("#error").is_displayed()
    assert "max_tokens" in page.find("#error").text
    assert "{" not in page.find("#error").text
    assert page.find("#prompt").get_attribute("value") == "Hello!"
    page.screenshot("error")
    page.set_fields(max_tokens="20")
    page.ask("Hello!")
    assert not page.find("#error").is_displayed()
    assert len(page.messages("user")) == 1


def test_a_setting_out_of_range_is_pointed_at_and_not_sent(page: ChatPage) -> None:
    page.set_fields(temperature="3")
    page.find("#settings summary").click()
    page.send("Hello!")
    assert page.messages("user") == []
    assert page.find("#temperature").is_displayed()


def test_an_error_inside_the_stream_takes_the_place_of_the_answer(page: ChatPage) -> None:
    page.script_answer(200, ERROR_EVENT)
    answer = page.ask("Hello!")
    assert answer.text == page.find("#error").text == "The engine failed."


def test_reasoning_is_folded_away_above_the_answer_and_calls_stand_below(page: ChatPage) -> None:
    first = {"index": 0, "id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": '}}
    deltas: list[dict[str, object]] = [
        {"reasoning_content": "It is ", "reasoning": "It is "},
        {"reasoning_content": "<b>Bonn</b>.", "reasoning": "<b>Bonn</b>."},
        {"content": "I look."},
        {"tool_calls": [first]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Bonn"}'}}]},
    ]
    chunks = [json.dumps({"choices": [{"index": 0, "delta": delta}]}) for delta in deltas]
    page.script_answer(200, "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"]))
    answer = page.ask("Hello!")
    assert [part.get_attribute("class") for part in answer.find_elements("xpath", "*")][:3] == [
        "reasoning",
        "text",
        "calls",
    ]
    reasoning = answer.find_element("css selector", ".reasoning")
    assert "Bonn" not in reasoning.text
    reasoning.find_element("tag name", "summary").click()
    assert "It is <b>Bonn</b>." in reasoning.text
    assert page.last_text() == "I look."
    call = answer.find_element("css selector", ".calls pre")
    assert (call.text, call.get_attribute("data-language")) == ('{"city": "Bonn"}', "calls weather")


def test_a_stream_that_breaks_off_keeps_its_text_and_says_so(page: ChatPage) -> None:
    page.script_answer(200, CUT_STREAM)
    answer = page.ask("Hello!")
    assert page.last_text() == "half an ans"
    assert "closed before" in answer.find_element("css selector", "#error").text


def test_a_server_that_wants_a_key_is_given_one_for_this_tab(page: ChatPage) -> None:
    page.script_answer(401, UNAUTHORIZED)
    page.ask("Hello!")
    page.find("#key").send_keys("a-key", Keys.ENTER)
    page.wait(lambda: not page.find("#key-form").is_displayed())
    assert page.driver.execute_script("return Object.values(sessionStorage)") == ["a-key"]
    assert "a-key" not in page.driver.execute_script("return JSON.stringify(localStorage)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1200, 800), (360, 740)])
def test_nothing_overflows(page: ChatPage, width: int, height: int, scheme: str) -> None:
    show_as(page.driver, width, height, scheme)
    page.screenshot(f"{width}-{scheme}-empty")
    assert page.overflow_px() == 0
    text = "Word " * 40 + "x" * 200 + "\n```sh\n" + "long line " * 40 + "\n```\n- item\n"
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]}
    page.script_answer(200, f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n")
    page.ask("y" * 200)
    page.set_fields()
    page.screenshot(f"{width}-{scheme}-chat")
    assert page.overflow_px() == 0


def test_a_reader_who_scrolled_up_is_not_pulled_down(page: ChatPage) -> None:
    show_as(page.driver, 360, 400)
    page.pick_model("replay")
    page.send("Count the waves")
    page.wait(lambda: page.scroll_px() > 100)  # further than what still counts as the end
    page.driver.execute_script("document.querySelector('#messages').scrollTop = 0")
    said = page.last_text()
    page.wait(lambda: len(page.last_text()) > len(said) + 50)
    assert page.scroll_px() == 0
    page.find("#stop").click()
    page.wait_for_end()


def test_a_right_to_left_answer_reads_from_the_right(page: ChatPage) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "مرحبا"}, "finish_reason": "stop"}]}
    page.script_answer(200, f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n")
    page.ask("שלום")
    for text in page.driver.find_elements("css selector", ".text"):
        assert text.value_of_css_property("direction") == "rtl"


def test_the_console_stays_clean_and_no_request_leaves_the_origin(page: ChatPage) -> None:
    page.pick_model("demo")
    page.ask("Hello!")
    assert take_console(page.driver) == []
    urls = [request.url for request in take_requests(page.driver)]
    assert urls
    assert [url for url in urls if not url.startswith(page.url)] == []
