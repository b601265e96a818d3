"""The page's pure modules, run by the browser that runs the page."""

from __future__ import annotations

import pytest

from tests.page.chat_page import ChatPage

# Comments, fields that are not data, data of two lines, all three line ends, and text of two and four bytes.
STREAM = (
    ': ping\r\n\r\ndata: {"a": "é🐚"}\r\n\r\n'
    "event: x\nid: 1\ndata:one\r\ndata: two\n\n\r"
    "data: [DONE]\r\rdata: cut off\n"
)
EVENTS = ['{"a": "é🐚"}', "one\ntwo", "[DONE]"]

READ_ALL = """
const [bytes, sizes, done] = arguments;
import("/sse.js").then(async ({ readEvents }) => {
  const results = [];
  for (const size of sizes) {
    const body = new ReadableStream({ start(controller) {
      for (let at = 0; at < bytes.length; at += size) {
        controller.enqueue(new Uint8Array(bytes.slice(at, at + size)));
      }
      controller.close();
    } });
    const events = [];
    for await (const data of readEvents(body)) events.push(data);
    results.push(events);
  }
  done(results);
});
"""

RENDER = """
const [texts, done] = arguments;
import("/markdown.js").then(({ render }) => {
  const box = document.createElement("div");
  for (const text of texts) render(box, text);
  done(box.innerHTML);
});
"""


def test_events_are_the_same_however_the_stream_is_cut_into_reads(page: ChatPage) -> None:
    raw = list(STREAM.encode())
    sizes = list(range(1, len(raw) + 1))
    assert page.driver.execute_async_script(READ_ALL, raw, sizes) == [EVENTS] * len(sizes)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain & <b>text</b>", "<p>plain &amp; &lt;b&gt;text&lt;/b&gt;</p>"),
        ("one\ntwo\n\nthree", "<p>one\ntwo</p><p>three</p>"),
        ("**bold `x`** and `**code**`", "<p><strong>bold <code>x</code></strong> and <code>**code**</code></p>"),
        ("2 ** 3 ** 4, a * b * c, `open", "<p>2 ** 3 ** 4, a * b * c, `open</p>"),
        ("- a\n  - b\n- c", "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>"),
        ("3. a\n   on\n- b\n4. c", '<ol start="3"><li>a\non</li></ol><ul><li>b</li></ul><ol start="4"><li>c</li></ol>'),
        ("```py\n<i>\n\n- x", '<pre data-language="py" dir="ltr" tabindex="0"><code>&lt;i&gt;\n\n- x</code></pre>'),
        ("~~~\n```\n~~~\nend", '<pre dir="ltr" tabindex="0"><code>```</code></pre><p>end</p>'),
        (
            "  ~~~~  c++  old\nx\n~~~~ y\n~~~~~ ",
            '<pre data-language="c++" dir="ltr" tabindex="0"><code>x\n~~~~ y</code></pre>',
        ),
        ("~~~ a ` b", "<p>~~~ a ` b</p>"),
        ("[x](javascript:alert(1)) ![y](z)", "<p>[x](javascript:alert(1)) ![y](z)</p>"),
    ],
)
def test_markdown_becomes_nodes_and_never_markup(page: ChatPage, text: str, html: str) -> None:
    assert page.driver.execute_async_script(RENDER, [text]) == html


@pytest.mark.parametrize("line", ["~" * 10**6 + "`", "- " + " " * 10**6 + "x\u2028y"])
def test_a_line_that_is_almost_a_fence_or_an_item_does_not_hang_the_page(page: ChatPage, line: str) -> None:
    html = page.driver.execute_async_script(RENDER, [line])
    assert html == f"<p>{line}</p>"


def test_an_answer_rendered_token_by_token_ends_as_if_rendered_once(page: ChatPage) -> None:
    whole = "A **list**:\n\n1. one\n   - `two`\n2. three\n\n```sh\nconch serve\n```\n\nThe end."
    growing = [whole[:end] for end in range(len(whole) + 1)]
    grown = page.driver.execute_async_script(RENDER, growing)
    assert grown == page.driver.execute_async_script(RENDER, [whole])
