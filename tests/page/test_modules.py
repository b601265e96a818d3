"""The page's pure modules, run by the browser that runs the page."""

from __future__ import annotations

from random import Random

import pytest

from gateway.http.page_files import PAGE_DIRECTORY
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

LINK = '<a href="http://a.example" target="_blank" rel="noopener noreferrer">'
TITLED_LINK = LINK.replace(" target", ' title="t" target')
HOSTILE_LENGTH = 100_000
HOSTILE = [
    "~",
    "`",
    "` `` ",
    "[",
    "![",
    "](",
    "[]",
    "[a](b",
    '[a](b "',
    "*",
    "*a ",
    "*_",
    "**a *a ",
    "~~a ",
    ">",
    "- ",
    "1. ",
]
HOSTILE += [
    "|",
    "<",
    "<a ",
    "&",
    "\\",
    "\n",
    "a\n",
    "`\n",
    "- a\n",
    "> a\n",
    "a|b\n-|-\n",
    "\t",
    "http://",
    "https://a.b/((",
]
WHOLE = "# A **list**:\n\n1. one\n   - `two`\n2. three\n\na|b\n-|-\n1|2\n\n```sh\nconch serve\n```\n\nThe *end*."
PIECES = [
    "#",
    "# ",
    "a",
    "b\n",
    "\n",
    "\n\n",
    "- ",
    "* ",
    "1. ",
    "2) ",
    "> ",
    "|",
    "|-|-",
    "-",
    "---\n",
    "===",
    "```",
    "~~~",
]
PIECES += [
    "`",
    "**",
    "*",
    "_",
    "    ",
    "  ",
    "[x](http://a.b)",
    "<b>",
    "http://c.d ",
    "\r\n",
    "x|y\n",
    "[x]: http://e.f",
    "\t",
]

# What any growth of a text shows, against what the whole text shows.
GROW = """
const [text, step, done] = arguments;
import("/markdown.js").then(({ render }) => {
  const box = document.createElement("div");
  for (let end = 0; end < text.length + step; end += step) render(box, text.slice(0, end));
  done(box.innerHTML);
});
"""
FIRST_DIFFERENCE = """
const [texts, done] = arguments;
import("/markdown.js").then(({ render }) => {
  for (const text of texts) {
    const [grown, once] = [document.createElement("div"), document.createElement("div")];
    for (let end = 0; end <= text.length; end += 1) render(grown, text.slice(0, end));
    render(once, text);
    if (grown.innerHTML !== once.innerHTML) return done([text, grown.innerHTML, once.innerHTML]);
  }
  done(null);
});
"""
COUNT_PARSED = """
const [text, step, done] = arguments;
Promise.all([import("/markdown.js"), import("/markdown-it.js")]).then(([{ render }, { default: MarkdownIt }]) => {
  let parsed = 0;
  const parse = MarkdownIt.prototype.parse;
  MarkdownIt.prototype.parse = function (source, env) {
    parsed += source.length;
    return parse.call(this, source, env);
  };
  const box = document.createElement("div");
  for (let end = step; end <= text.length; end += step) render(box, text.slice(0, end));
  MarkdownIt.prototype.parse = parse;
  done(parsed);
});
"""
VERSION = """
const done = arguments[0];
fetch("/markdown-it.js")
  .then((response) => response.text())
  .then((text) => done(/markdown-it ([\\d.]+)/.exec(text)[1]));
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
        ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"),
        ("one\ntwo\r\n\r\nthree", "<p>one<br>\ntwo</p><p>three</p>"),
        ("# One\n### *Three* ###", "<h1>One</h1><h3><em>Three</em></h3>"),
        ("> a\n> b", "<blockquote>\n<p>a<br>\nb</p>\n</blockquote>"),
        ("**bold `x`** and `**code**`", "<p><strong>bold <code>x</code></strong> and <code>**code**</code></p>"),
        ("2 ** 3 ** 4, a * b * c, `open", "<p>2 ** 3 ** 4, a * b * c, `open</p>"),
        (
            "- a\n  - b\n- c",
            "<ul>\n<li>a\n<ul>\n<li>b</li>\n</ul>\n</li>\n<li>c</li>\n</ul>",
        ),
        ("3. a\n- b", '<ol start="3">\n<li>a</li>\n</ol><ul>\n<li>b</li>\n</ul>'),
        (
            "|a|b|\n|:-:|-:|\n|`x`|2|",
            '<table>\n<thead>\n<tr>\n<th data-align="center">a</th>\n<th data-align="right">b</th>\n</tr>\n</thead>\n'
            '<tbody>\n<tr>\n<td data-align="center"><code>x</code></td>\n<td data-align="right">2</td>\n</tr>\n'
            "</tbody>\n</table>",
        ),
        ("```py\n<i>\n\n- x", '<pre data-language="py" dir="ltr" tabindex="0"><code>&lt;i&gt;\n\n- x</code></pre>'),
        ("~~~\n```\n~~~\nend", '<pre dir="ltr" tabindex="0"><code>```</code></pre><p>end</p>'),
        (
            "  ~~~~  c++  old\nx\n~~~~ y\n~~~~~ ",
            '<pre data-language="c++" dir="ltr" tabindex="0"><code>x\n~~~~ y</code></pre>',
        ),
        ('```"&\nx\n```', '<pre data-language="&quot;&amp;" dir="ltr" tabindex="0"><code>x</code></pre>'),
        ("[x](javascript:alert(1)) ![y](z)", "<p>[x](javascript:alert(1)) ![y](z)</p>"),
        (
            "[x](/v1/models) [y](data:text/html,z) <ftp://z>",
            "<p>[x](/v1/models) [y](data:text/html,z) &lt;ftp://z&gt;</p>",
        ),
        ("[x]: http://a.example\n\n[x]", f"<p>[x]: {LINK}http://a.example</a></p><p>[x]</p>"),
        ('[x](http://a.example "t")', f"<p>{TITLED_LINK}x</a></p>"),
    ],
)
def test_markdown_becomes_nodes_and_never_markup(page: ChatPage, text: str, html: str) -> None:
    assert page.driver.execute_async_script(RENDER, [text]) == html


@pytest.mark.parametrize("piece", HOSTILE)
def test_no_answer_hangs_the_page(page: ChatPage, piece: str) -> None:
    """Of ten times as much text the parser makes ten times the tokens, not a hundred times the work."""
    text = piece * (HOSTILE_LENGTH // len(piece))
    assert isinstance(page.driver.execute_async_script(RENDER, [text, text + "`"]), str)


def test_what_an_answer_had_is_not_parsed_again(page: ChatPage) -> None:
    parsed = page.driver.execute_async_script(COUNT_PARSED, "A paragraph.\n\n" * 2000, 20)
    assert parsed < 10 * len("A paragraph.\n\n" * 2000)


def test_an_answer_rendered_token_by_token_ends_as_if_rendered_once(page: ChatPage) -> None:
    assert page.driver.execute_async_script(GROW, WHOLE, 1) == page.driver.execute_async_script(RENDER, [WHOLE])


def test_any_answer_rendered_in_pieces_ends_as_if_rendered_once(page: ChatPage) -> None:
    random = Random(8)
    texts = ["".join(random.choices(PIECES, k=random.randint(2, 14))) for _ in range(1500)]
    assert page.driver.execute_async_script(FIRST_DIFFERENCE, texts) is None


def test_the_parser_is_the_published_one(page: ChatPage) -> None:
    note = (PAGE_DIRECTORY / "markdown-it.md").read_text(encoding="utf-8")
    version = page.driver.execute_async_script(VERSION)
    assert f"markdown-it@{version}" in note
